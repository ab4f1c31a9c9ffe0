"""A llama checkpoint with random weights in the Hugging Face layout: config, byte-level BPE tokenizer, safetensors.

It holds the same weights as the GGUF of the same size and seed, so that two engines can be compared on one model. GGUF
keeps the query and key rows of a head interleaved for its rotary layout; they are put back into halves here:

    row (head, half, i) of Hugging Face = row (head, i, half) of GGUF

Formats: https://github.com/huggingface/safetensors (8-byte header length, JSON header, tensors);
https://github.com/huggingface/tokenizers (tokenizer.json). Written with numpy alone: torch is not needed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.env import cache_dir
from wattlane.core.errors import UnknownNameError
from wattlane.measure.gguf_model import (
    BOS_ID,
    CHAT_TEMPLATE,
    EOS_ID,
    FIRST_HIGH_BYTE_ID,
    OUTPUT,
    PAD_ID,
    SHAPES,
    SPECIAL_TOKENS,
    WEIGHT_STD,
    Shape,
    vocabulary,
)

LAYOUT_VERSION = 1  # part of the cache key: raise it when the written files change
FIRST_PLAIN_TOKEN = len(SPECIAL_TOKENS) + 256
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    OUTPUT: "lm_head.weight",
}


def random_checkpoint(size: str = "tiny", seed: int = 0) -> Path:
    """Return the folder of a random checkpoint of `size` in float32, written on first use and cached afterwards.

    Raises:
        UnknownNameError: the size is not supported.
    """
    if size not in SHAPES:
        raise UnknownNameError("model size", size, SHAPES)
    folder = cache_dir() / "checkpoints" / f"random-{size}-seed{seed}-v{LAYOUT_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _write(made, SHAPES[size], seed)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # somebody else made it meanwhile
                    raise
    return folder


def _write(folder: Path, shape: Shape, seed: int) -> None:
    tokens, merges = vocabulary(shape.vocabulary_tokens)
    files: dict[str, dict[str, Any]] = {
        "config.json": _config(shape),
        "generation_config.json": {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID},
        "tokenizer.json": _tokenizer(tokens, merges),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL_TOKENS[BOS_ID],
            "eos_token": SPECIAL_TOKENS[EOS_ID],
            "pad_token": SPECIAL_TOKENS[PAD_ID],
            "model_max_length": shape.context_tokens,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, body in files.items():
        (folder / name).write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
    _write_weights(folder / "model.safetensors", shape, seed)


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary_tokens,
        "hidden_size": shape.embedding,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context_tokens,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "torch_dtype": "float32",
    }


def _tokenizer(tokens: list[str], merges: list[str]) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }


def _write_weights(path: Path, shape: Shape, seed: int) -> None:
    generator = np.random.default_rng(seed)
    header, offset_bytes, weights = {}, 0, []
    for name, dimensions in shape.tensors():
        weight = _weight(generator, name, dimensions, shape)
        header[_name(name)] = {
            "dtype": "F32",
            "shape": list(dimensions),
            "data_offsets": [offset_bytes, offset_bytes + weight.nbytes],
        }
        offset_bytes += weight.nbytes
        weights.append(weight)
    head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for weight in weights:
            file.write(np.ascontiguousarray(weight).tobytes())


def _weight(
    generator: np.random.Generator, name: str, dimensions: tuple[int, ...], shape: Shape
) -> NDArray[np.float32]:
    if len(dimensions) == 1:
        return np.ones(dimensions, np.float32)
    weight: NDArray[np.float32] = generator.standard_normal(dimensions, dtype=np.float32) * np.float32(WEIGHT_STD)
    if name == OUTPUT:
        weight[: len(SPECIAL_TOKENS)] = 0
        weight[FIRST_HIGH_BYTE_ID:FIRST_PLAIN_TOKEN] = 0
    heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(name.split(".")[-2])
    if heads:
        rows, columns = dimensions
        weight = weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return weight


def _name(gguf_name: str) -> str:
    if gguf_name in WHOLE:
        return WHOLE[gguf_name]
    _, layer, part, _ = gguf_name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"
