"""A llama model with random weights, written as GGUF in about a second: what the embedded engine serves.

The weights are N(0, 0.02) from a seeded generator, so text is nonsense while work per token (weight bytes, FLOPs, KV
traffic) is that of a real model of the shape. The tokenizer is byte-level BPE over 256 bytes with merges of two and
three letters, so that any prompt can be encoded. Tokens that spell no text alone (specials and the bytes of longer
characters) have a zero row in the output matrix: greedy decoding never picks them, so every token is a chunk.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.env import cache_dir
from wattlane.core.errors import UnknownNameError
from wattlane.core.extras import require
from wattlane.core.files import atomic

PRECISIONS = ("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0", "Q4_1")
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
FIRST_HIGH_BYTE_ID = len(SPECIAL_TOKENS) + 128
OUTPUT = "output.weight"
WEIGHT_STD = 0.02
LAYOUT_VERSION = 2  # part of the cache key: raise it when the written file changes
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a llama: widths are multiples of 32, as the quantised formats need."""

    embedding: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary_tokens: int = 4096
    context_tokens: int = 8192

    @property
    def kv_width(self) -> int:
        """Columns of the key and of the value projection."""
        return self.embedding // self.heads * self.kv_heads

    @property
    def parameters(self) -> int:
        """Number of weights, norms included."""
        return sum(int(np.prod(shape)) for _, shape in self.tensors())

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield every tensor as (GGUF name, shape), outermost dimension first; norms are the one-dimensional ones."""
        wide, deep, kv = self.embedding, self.feed_forward, self.kv_width
        yield "token_embd.weight", (self.vocabulary_tokens, wide)
        for layer in range(self.layers):
            for name, shape in (
                ("attn_norm", (wide,)),
                ("attn_q", (wide, wide)),
                ("attn_k", (kv, wide)),
                ("attn_v", (kv, wide)),
                ("attn_output", (wide, wide)),
                ("ffn_norm", (wide,)),
                ("ffn_gate", (deep, wide)),
                ("ffn_up", (deep, wide)),
                ("ffn_down", (wide, deep)),
            ):
                yield f"blk.{layer}.{name}.weight", shape
        yield "output_norm.weight", (wide,)
        yield OUTPUT, (self.vocabulary_tokens, wide)


SHAPES = {
    "tiny": Shape(embedding=256, feed_forward=768, layers=4, heads=4, kv_heads=2),
    "small": Shape(embedding=768, feed_forward=2048, layers=12, heads=12, kv_heads=4),
}


def random_gguf(size: str = "tiny", precision: str = "F16", seed: int = 0) -> Path:
    """Return the path of a random GGUF of `size` and `precision`, written on first use and cached afterwards.

    Raises:
        UnknownNameError: the size or the precision is not supported.
        MissingExtraError: `gguf` is not installed.
    """
    if size not in SHAPES:
        raise UnknownNameError("model size", size, SHAPES)
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    path = cache_dir() / "gguf" / f"random-{size}-{precision}-seed{seed}-v{LAYOUT_VERSION}.gguf"
    if not path.is_file():
        with atomic(path) as temporary:
            _write(temporary, size, precision, seed)
    return path


def _write(path: Path, size: str, precision: str, seed: int) -> None:
    gguf = require("gguf")
    shape = SHAPES[size]
    writer = gguf.GGUFWriter(str(path), "llama")
    _header(gguf, writer, shape, f"random-{size}-{precision}", precision)
    _tokenizer(gguf, writer, shape.vocabulary_tokens)
    generator = np.random.default_rng(seed)
    kind = gguf.GGMLQuantizationType[precision]
    for name, dimensions in shape.tensors():
        if len(dimensions) == 1:
            writer.add_tensor(name, np.ones(dimensions, np.float32))
            continue
        weight = generator.standard_normal(dimensions, dtype=np.float32) * np.float32(WEIGHT_STD)
        if name == OUTPUT:
            weight[: len(SPECIAL_TOKENS)] = 0
            weight[FIRST_HIGH_BYTE_ID : len(SPECIAL_TOKENS) + 256] = 0
        if precision == "F32":
            writer.add_tensor(name, weight)
        else:
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _header(gguf: Any, writer: Any, shape: Shape, name: str, precision: str) -> None:
    writer.add_name(name)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_vocab_size(shape.vocabulary_tokens)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if precision == "F32" else f"MOSTLY_{precision}"])


def _tokenizer(gguf: Any, writer: Any, vocabulary_tokens: int) -> None:
    tokens, merges = vocabulary(vocabulary_tokens)
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([control] * len(SPECIAL_TOKENS) + [normal] * (len(tokens) - len(SPECIAL_TOKENS)))
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(PAD_ID)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def vocabulary(count: int) -> tuple[list[str], list[str]]:
    """Return `count` tokens and the BPE merges that build them: specials, 256 bytes, then letter pairs and triples."""
    alphabet = byte_alphabet()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens, merges = [*SPECIAL_TOKENS, *alphabet], []
    heads = [alphabet[ord(" ")], *letters]
    while len(tokens) < count:
        pairs = [(head, letter) for head in heads for letter in letters][: count - len(tokens)]
        merges += [f"{head} {letter}" for head, letter in pairs]
        heads = [head + letter for head, letter in pairs]
        tokens += heads
    return tokens, merges


def byte_alphabet() -> list[str]:
    """Return the printable character that stands for each byte in byte-level BPE (GPT-2, 2019).

    Bytes that print stand for themselves; the others take code points from 256 on, in order.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    substitutes = iter(range(256, 512))
    return [chr(byte if byte in printable else next(substitutes)) for byte in range(256)]
