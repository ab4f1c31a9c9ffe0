"""Model geometry from a Hugging Face `config.json`.

A config is read in three parts: the shape every decoder has, the feed-forward part (dense, or experts in one of the
key dialects), and the attention (grouped heads, or a compressed KV cache). Model types that are not decoder-only
transformers or Mamba-2 hybrids of them are refused: their bytes and FLOPs follow another geometry.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.facts.models import Model, model
from wattlane.core.files import existing

Part = dict[str, Any]


@dataclass(slots=True)
class _Reader:
    """Reads keys of a config and gathers what is wrong with them, so that all of it is reported at once."""

    body: Part
    problems: list[str] = field(default_factory=list)

    def need(self, *keys: str) -> int:
        """Return the first of `keys` that is present; a problem is noted if none is, or it is no positive integer."""
        for key in keys:
            if key in self.body:
                return self.maybe(key, 0, least=1)
        self.problems.append(f"{' or '.join(keys)} is missing; expected a positive integer")
        return 1

    def maybe(self, key: str, default: int, least: int = 0) -> int:
        """Return the integer under `key`, or `default` where it is absent."""
        value = self.body.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.problems.append(f"{key} is {value!r}; expected an integer of at least {least}")
            return max(default, least)
        return int(value)


def model_from_config(path: Path) -> Model:
    """Return the geometry in a `config.json`, or in the one inside the folder `path`.

    Raises:
        FileFormatError: the file is not a JSON object.
        InputError: the architecture is not supported, or keys are missing or wrong; all of them are listed.
    """
    file = path / "config.json" if path.is_dir() else path
    whole = _load(file)
    body = whole.get("text_config") if isinstance(whole.get("text_config"), dict) else whole
    assert isinstance(body, dict)
    kind = str(body.get("model_type") or whole.get("model_type"))
    if kind not in FAMILIES or whole.get("is_encoder_decoder"):
        raise _refusal(file, whole, kind)
    given = {key: value for key, value in body.items() if value is not None}
    reader = _Reader(_CLASS_DEFAULTS.get(kind, {}) | given)
    parts: Part = {}
    for part in (_shape, *FAMILIES[kind]):
        parts |= part(reader, parts)
    precision = _precision(reader, whole)
    if reader.problems:
        raise InputError.gathered(str(file), reader.problems)
    name = str(whole.get("_name_or_path") or file.resolve().parent.name)
    block = _scale_block(reader, whole)
    return Model(name=name, native_precision=precision, scale_block=block, source=str(file), **parts)


def resolve_model(name_or_path: str | Path) -> Model:
    """Return a model of the catalogue by name, or read the `config.json` (or the folder that holds it) at a path.

    Raises:
        UnknownNameError: neither in the catalogue nor a path.
        InputError: the path is not a config that can be read.
    """
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, Path) or path.suffix == ".json" or (path / "config.json").is_file():
        return model_from_config(path)
    return model(name_or_path)


def _load(file: Path) -> Part:
    try:
        body = json.loads(existing(file).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{file}: not valid JSON ({error}); expected a Hugging Face config.json") from error
    if not isinstance(body, dict):
        raise FileFormatError(f"{file}: found a JSON {type(body).__name__}; expected a Hugging Face config.json")
    return body


def _refusal(file: Path, whole: Part, kind: str) -> InputError:
    found = ", ".join(str(name) for name in whole.get("architectures") or ()) or "no architecture"
    return InputError(
        f"{file}: found {found} (model_type {kind}); expected a decoder-only transformer with attention in every "
        f"layer, or a hybrid, one of {', '.join(sorted(FAMILIES))}. Other state-space and encoder-decoder models are "
        "not supported; where the geometry is that of a supported type, set model_type to it."
    )


def _shape(reader: _Reader, _parts: Part) -> Part:
    heads = reader.need("num_attention_heads")
    hidden = reader.need("hidden_size")
    return {
        "layers": reader.need("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": reader.maybe("num_key_value_heads", heads, least=1),
        "head_dim": reader.maybe("head_dim", max(1, hidden // heads), least=1),
        "vocab": reader.need("vocab_size"),
        "tied_embeddings": bool(reader.body.get("tie_word_embeddings", False)),
        "max_context_tokens": reader.maybe("max_position_embeddings", 0),
    }


def _dense(reader: _Reader, _parts: Part) -> Part:
    return {"intermediate": reader.need("intermediate_size")}


def _experts_of_mlp_width(reader: _Reader, _parts: Part) -> Part:
    width = reader.need("intermediate_size")
    return {
        "intermediate": width,
        "experts": reader.need("num_local_experts"),
        "experts_per_token": reader.need("num_experts_per_tok", "experts_per_token"),
        "expert_intermediate": width,
    }


def _experts_every_nth(reader: _Reader, parts: Part) -> Part:
    width = reader.need("moe_intermediate_size")
    shared_width = reader.maybe("shared_expert_intermediate_size", 0)
    if shared_width % width:
        reader.problems.append(f"shared_expert_intermediate_size is {shared_width}; expected a multiple of {width}")
    step = reader.maybe("decoder_sparse_step", 1, least=1)
    dense = set(reader.body.get("mlp_only_layers") or ())
    routed = sum((i + 1) % step == 0 and i not in dense for i in range(parts["layers"]))
    return {
        "intermediate": reader.need("intermediate_size"),
        "experts": reader.need("num_experts"),
        "experts_per_token": reader.need("num_experts_per_tok"),
        "shared_experts": shared_width // width,
        "expert_intermediate": width,
        "dense_layers": parts["layers"] - routed,
    }


def _experts_after_first(reader: _Reader, _parts: Part) -> Part:
    if reader.maybe("moe_layer_freq", 1) != 1:
        reader.problems.append(f"moe_layer_freq is {reader.body['moe_layer_freq']}; expected 1")
    return {
        "intermediate": reader.need("intermediate_size"),
        "experts": reader.need("n_routed_experts"),
        "experts_per_token": reader.need("num_experts_per_tok"),
        "shared_experts": reader.maybe("n_shared_experts", 0),
        "expert_intermediate": reader.need("moe_intermediate_size"),
        "dense_layers": reader.maybe("first_k_dense_replace", 0),
    }


def _experts_interleaved(reader: _Reader, parts: Part) -> Part:
    return {
        "intermediate": reader.need("intermediate_size_mlp"),
        "experts": reader.need("num_local_experts"),
        "experts_per_token": reader.need("num_experts_per_tok"),
        "shared_experts": 1,
        "expert_intermediate": reader.need("intermediate_size"),
        "dense_layers": parts["layers"] - parts["layers"] // reader.maybe("interleave_moe_layer_step", 1, least=1),
    }


def _hybrid(reader: _Reader, parts: Part) -> Part:
    pattern = str(reader.body.get("hybrid_override_pattern", ""))
    if len(pattern) != parts["layers"] or set(pattern) - set("M*-"):
        reader.problems.append(
            f"hybrid_override_pattern is {pattern!r}; expected {parts['layers']} letters, each M (state), "
            "* (attention) or - (feed-forward)"
        )
    return {
        "intermediate": reader.need("intermediate_size"),
        "mlp_matrices": 2,
        "attention_layers": max(1, pattern.count("*")),
        "mlp_layers": max(1, pattern.count("-")),
        "state_layers": pattern.count("M"),
        "state_heads": reader.need("mamba_num_heads"),
        "state_head_dim": reader.need("mamba_head_dim"),
        "state_groups": reader.need("n_groups"),
        "state_size": reader.need("ssm_state_size"),
    }


def _latent_attention(reader: _Reader, _parts: Part) -> Part:
    return {
        "attention": "mla",
        "head_dim": reader.need("qk_nope_head_dim"),
        "q_lora_rank": reader.maybe("q_lora_rank", 0),
        "kv_lora_rank": reader.need("kv_lora_rank"),
        "rope_head_dim": reader.need("qk_rope_head_dim"),
        "v_head_dim": reader.need("v_head_dim"),
    }


def _window_everywhere(reader: _Reader, parts: Part) -> Part:
    return _window(reader, parts, "sliding_window", parts["layers"])


def _window_on_top(reader: _Reader, parts: Part) -> Part:
    if not reader.body.get("use_sliding_window"):
        return {}
    full = min(parts["layers"], reader.maybe("max_window_layers", 0))
    return _window(reader, parts, "sliding_window", parts["layers"] - full)


def _window_alternating(reader: _Reader, parts: Part) -> Part:
    return _window(reader, parts, "sliding_window", (parts["layers"] + 1) // 2)


def _window_by_pattern(reader: _Reader, parts: Part) -> Part:
    every = reader.maybe("sliding_window_pattern", 6, least=1)
    return _window(reader, parts, "sliding_window", parts["layers"] - parts["layers"] // every)


def _window_where_rotary(reader: _Reader, parts: Part) -> Part:
    rotary = reader.body.get("no_rope_layers") or [(i + 1) % 4 != 0 for i in range(parts["layers"])]
    return _window(reader, parts, "attention_chunk_size", sum(map(bool, rotary)))


def _window(reader: _Reader, parts: Part, key: str, layers: int) -> Part:
    tokens = reader.maybe(key, 0)
    types = reader.body.get("layer_types")
    if isinstance(types, list):
        layers = sum(kind in {"sliding_attention", "chunked_attention"} for kind in types)
    if not tokens or not layers or tokens >= parts["max_context_tokens"] > 0:
        return {}
    return {"window_tokens": tokens, "window_layers": layers}


def _precision(reader: _Reader, whole: Part) -> str:
    quantized = whole.get("quantization_config") or reader.body.get("quantization_config")
    if isinstance(quantized, dict):
        return _quantized_precision(reader, quantized)
    named = str(reader.body.get("torch_dtype") or reader.body.get("dtype") or whole.get("torch_dtype") or "bfloat16")
    known = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    if named not in known:
        reader.problems.append(f"torch_dtype is {named!r}; expected one of {', '.join(known)}")
    return known.get(named, "bf16")


def _scale_block(reader: _Reader, whole: Part) -> int:
    quantized = whole.get("quantization_config") or reader.body.get("quantization_config")
    block = quantized.get("weight_block_size") if isinstance(quantized, dict) else None
    return int(block[0]) if isinstance(block, list) and block else 0


def _quantized_precision(reader: _Reader, quantized: Part) -> str:
    method = str(quantized.get("quant_method", "")).lower()
    algorithm = str(quantized.get("quant_algo", "")).lower()
    groups = quantized.get("config_groups")
    weights = next(iter(groups.values())).get("weights") if isinstance(groups, dict) and groups else None
    bits = quantized.get("bits")
    is_float = False
    if isinstance(weights, dict):
        bits, is_float = weights.get("num_bits"), weights.get("type") == "float"
    by_bits = {4: "nvfp4", 8: "fp8"} if is_float else {4: "int4", 8: "int8"}
    for name in ("nvfp4", "mxfp4", "fp8"):
        if name in method or name in algorithm:
            return name
    if bits in by_bits:
        return by_bits[bits]
    reader.problems.append(
        f"quantization_config has quant_method {method!r} with {bits} bits; expected fp8, mxfp4, nvfp4, or 4 or 8 bits"
    )
    return "bf16"


# Values that the architecture's configuration class fills in, and published configs therefore leave out.
_GEMMA3 = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}
_CLASS_DEFAULTS: dict[str, Part] = {
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True},
    "gemma3_text": _GEMMA3,
}

FAMILIES: dict[str, tuple[Callable[[_Reader, Part], Part], ...]] = {
    "llama": (_dense,),
    "mistral": (_dense, _window_everywhere),
    "ministral": (_dense, _window_everywhere),
    "qwen2": (_dense, _window_on_top),
    "qwen3": (_dense, _window_on_top),
    "olmo2": (_dense,),
    "granite": (_dense,),
    "gemma": (_dense,),
    "gemma2": (_dense, _window_alternating),
    "gemma3_text": (_dense, _window_by_pattern),
    "phi3": (_dense, _window_everywhere),
    "mixtral": (_experts_of_mlp_width, _window_everywhere),
    "gpt_oss": (_experts_of_mlp_width, _window_alternating),
    "qwen2_moe": (_experts_every_nth, _window_on_top),
    "qwen3_moe": (_experts_every_nth, _window_on_top),
    "llama4_text": (_experts_interleaved, _window_where_rotary),
    "glm4_moe": (_experts_after_first,),
    "nemotron_h": (_hybrid,),
    "deepseek_v2": (_experts_after_first, _latent_attention),
    "deepseek_v3": (_experts_after_first, _latent_attention),
    "kimi_k2": (_experts_after_first, _latent_attention),
}
