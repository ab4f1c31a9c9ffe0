"""Hugging Face configs give the geometry of the catalogue, or are refused saying everything that is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.facts.config import model_from_config, resolve_model
from wattlane.core.facts.models import model

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA2 = LLAMA | {
    "intermediate_size": 11008,
    "num_key_value_heads": None,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
QWEN25 = LLAMA | {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 131072,
    "max_window_layers": 28,
}
QWEN3_MOE = LLAMA | {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "sliding_window": None,
}
MIXTRAL = LLAMA | {
    "model_type": "mixtral",
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
}
GPT_OSS = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "num_local_experts": 32,
    "experts_per_token": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "quantization_config": {"quant_method": "mxfp4"},
}
MAVERICK = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "model_type": "llama4",
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1408},
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
    },
    "text_config": {
        "model_type": "llama4_text",
        "attention_chunk_size": 8192,
        "head_dim": 128,
        "hidden_size": 5120,
        "interleave_moe_layer_step": 2,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "max_position_embeddings": 1048576,
        "no_rope_layers": [],
        "num_attention_heads": 40,
        "num_experts_per_tok": 1,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "num_local_experts": 128,
        "vocab_size": 202048,
    },
}
GEMMA3 = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "sliding_window": 1024,
    },
}
GEMMA2 = LLAMA | {
    "model_type": "gemma2",
    "hidden_size": 3584,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "head_dim": 256,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
    "tie_word_embeddings": None,
}
NEMOTRON = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "hidden_size": 4480,
    "intermediate_size": 15680,
    "num_hidden_layers": 56,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 131072,
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    "mamba_num_heads": 128,
    "mamba_head_dim": 80,
    "n_groups": 8,
    "ssm_state_size": 128,
    "torch_dtype": "bfloat16",
}
PHI3 = LLAMA | {
    "model_type": "phi3",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_key_value_heads": 32,
    "vocab_size": 32064,
    "max_position_embeddings": 4096,
    "sliding_window": 2047,
}


def written(folder: Path, body: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(body))
    return path


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (LLAMA, "Llama-3.1-8B"),
        (LLAMA2, "Llama-2-7b-hf"),
        (QWEN25, "Qwen2.5-7B-Instruct"),
        (QWEN3_MOE, "Qwen3-30B-A3B"),
        (MIXTRAL, "Mixtral-8x7B-v0.1"),
        (DEEPSEEK, "DeepSeek-V3"),
        (GPT_OSS, "gpt-oss-20b"),
        (MAVERICK, "Llama-4-Maverick-17B-128E-Instruct-FP8"),
        (GEMMA3, "gemma-3-12b-it"),
        (GEMMA2, "gemma-2-9b"),
        (PHI3, "Phi-3-mini-4k-instruct"),
        (NEMOTRON, "NVIDIA-Nemotron-Nano-9B-v2"),
    ],
)
def test_config_gives_the_geometry_of_the_catalogue(tmp_path: Path, body: dict[str, Any], name: str) -> None:
    path = written(tmp_path, body)
    found, known = model_from_config(path), model(name)
    assert found.source == str(path)
    labels = {"name": "", "source": "", "date": ""}
    assert dataclasses.replace(found, **labels) == dataclasses.replace(known, **labels)


def test_hybrid_whose_pattern_does_not_fit_its_layers_is_refused(tmp_path: Path) -> None:
    for pattern in ("M-", "M-E*" * 14):
        with pytest.raises(InputError, match="expected 56 letters, each M"):
            model_from_config(written(tmp_path, NEMOTRON | {"hybrid_override_pattern": pattern}))


def test_name_is_that_of_the_config_or_of_its_folder(tmp_path: Path) -> None:
    assert model_from_config(written(tmp_path, LLAMA)).name == tmp_path.name
    assert model_from_config(written(tmp_path, LLAMA | {"_name_or_path": "own/model"})).name == "own/model"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "MambaForCausalLM"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "T5ForConditionalGeneration"),
        (LLAMA | {"is_encoder_decoder": True}, "LlamaForCausalLM"),
        ({}, "no architecture"),
    ],
)
def test_other_architectures_are_refused_by_name(tmp_path: Path, body: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"found {said}") as raised:
        model_from_config(written(tmp_path, body))
    assert "qwen3_moe" in str(raised.value)
    assert "Other state-space and encoder-decoder models are not supported" in str(raised.value)


def test_everything_missing_or_wrong_is_listed_together(tmp_path: Path) -> None:
    body = {"model_type": "deepseek_v3", "hidden_size": "wide", "num_hidden_layers": 0, "moe_layer_freq": 2}
    with pytest.raises(InputError) as raised:
        model_from_config(written(tmp_path, body))
    said = str(raised.value)
    assert "hidden_size is 'wide'; expected an integer of at least 1" in said
    assert "num_hidden_layers is 0" in said
    assert "moe_layer_freq is 2; expected 1" in said
    for key in ("num_attention_heads", "vocab_size", "n_routed_experts", "kv_lora_rank", "v_head_dim"):
        assert f"{key} is missing" in said
    with pytest.raises(InputError, match="num_experts_per_tok or experts_per_token is missing"):
        model_from_config(written(tmp_path, {**GPT_OSS, "experts_per_token": None}))


def test_shared_experts_are_counted_in_widths_of_one_expert(tmp_path: Path) -> None:
    body = QWEN3_MOE | {"model_type": "qwen2_moe", "moe_intermediate_size": 2560}
    assert model_from_config(written(tmp_path, body | {"shared_expert_intermediate_size": 20480})).shared_experts == 8
    with pytest.raises(InputError, match="expected a multiple of 2560"):
        model_from_config(written(tmp_path, body | {"shared_expert_intermediate_size": 100}))


def test_dense_layers_are_those_that_do_not_route(tmp_path: Path) -> None:
    body = QWEN3_MOE | {"decoder_sparse_step": 2, "mlp_only_layers": [1, 2]}
    assert model_from_config(written(tmp_path, body)).dense_layers == 25


def test_windows_follow_the_dialect_of_the_architecture(tmp_path: Path) -> None:
    def window(body: dict[str, Any]) -> tuple[int, int]:
        found = model_from_config(written(tmp_path, body))
        return found.window_tokens, found.window_layers

    mistral = LLAMA | {"model_type": "mistral", "max_position_embeddings": 32768}
    assert window(mistral | {"sliding_window": 4096}) == (4096, 32)
    assert window(mistral | {"sliding_window": None}) == (0, 0)
    assert window(mistral | {"sliding_window": 32768}) == (0, 0)
    assert window(QWEN25 | {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20}) == (4096, 8)
    assert window(GPT_OSS | {"layer_types": ["full_attention"] * 24}) == (0, 0)
    text = MAVERICK["text_config"]
    assert isinstance(text, dict)
    assert window(MAVERICK | {"text_config": text | {"no_rope_layers": [1, 0] * 24}}) == (8192, 24)


@pytest.mark.parametrize(
    ("quantized", "precision"),
    [
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}}, "int4"),
    ],
)
def test_precision_of_quantized_weights(tmp_path: Path, quantized: dict[str, Any], precision: str) -> None:
    assert (
        model_from_config(written(tmp_path, LLAMA | {"quantization_config": quantized})).native_precision == precision
    )


def test_precision_comes_from_the_dtype_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    assert model_from_config(written(tmp_path, LLAMA | {"torch_dtype": "float16"})).native_precision == "fp16"
    assert model_from_config(written(tmp_path, {**LLAMA, "torch_dtype": None})).native_precision == "bf16"
    with pytest.raises(InputError, match="torch_dtype is 'int3'"):
        model_from_config(written(tmp_path, LLAMA | {"torch_dtype": "int3"}))
    with pytest.raises(InputError, match="quant_method 'odd' with None bits"):
        model_from_config(written(tmp_path, LLAMA | {"quantization_config": {"quant_method": "odd"}}))


def test_file_that_is_no_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="found a JSON list"):
        model_from_config(written(tmp_path, [1]))
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(FileFormatError, match="not valid JSON"):
        model_from_config(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        model_from_config(tmp_path / "nowhere.json")


def test_model_is_resolved_by_name_by_file_and_by_folder(tmp_path: Path) -> None:
    path = written(tmp_path, LLAMA)
    assert resolve_model("llama-3.1-8b").name == "meta-llama/Llama-3.1-8B"
    assert resolve_model(str(path)) == resolve_model(path) == resolve_model(str(tmp_path))
    with pytest.raises(InputError, match="no such file"):
        resolve_model("nowhere/config.json")
    with pytest.raises(UnknownNameError, match="unknown model 'nowhere'"):
        resolve_model("nowhere")
