"""Count tokens of a batch: effective (useful) and computed (padding included), input and output apart.

    input:   effective = Σ n_i             computed = b · max n_i
    output:  effective = Σ m_i             computed = b · max m_i   (static batching runs until the last row ends)

m_i counts the generated tokens up to and including the first EOS. Padding is never counted, on either side and also
where the pad token is the EOS token. Measuring output as "decoded length minus own prompt length" counts the left
padding of short prompts as output: prompts of 683 and 1488 tokens and 45 steps give 895 instead of 90.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wattlane.core.errors import InputError

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of one or more batches. Effective counts are at most the computed ones."""

    requests: int
    input_effective_tokens: int
    input_computed_tokens: int
    output_effective_tokens: int
    output_computed_tokens: int

    def __add__(self, other: TokenCount) -> TokenCount:
        return TokenCount(
            self.requests + other.requests,
            self.input_effective_tokens + other.input_effective_tokens,
            self.input_computed_tokens + other.input_computed_tokens,
            self.output_effective_tokens + other.output_effective_tokens,
            self.output_computed_tokens + other.output_computed_tokens,
        )

    @property
    def input_waste(self) -> float:
        """Share of the computed input that is padding."""
        return 1.0 - self.input_effective_tokens / self.input_computed_tokens

    @property
    def output_waste(self) -> float:
        """Share of the computed output that comes after a row's end; 0 when nothing was generated."""
        if self.output_computed_tokens == 0:
            return 0.0
        return 1.0 - self.output_effective_tokens / self.output_computed_tokens

    @property
    def decode_tokens(self) -> int:
        """Effective output tokens after the first of each request, which prefill produces."""
        return max(self.output_effective_tokens - self.requests, 0)


def count_static(input_tokens: ArrayLike, output_tokens: ArrayLike) -> TokenCount:
    """Return the counts of one static batch.

    Args:
        input_tokens: n_i, own prompt length of each row, shape (b,).
        output_tokens: m_i, own generated length of each row, shape (b,), or one number for all rows.

    Raises:
        InputError: no rows, a prompt without tokens, or a negative output.
    """
    prompts = np.asarray(input_tokens, dtype=np.int64)
    answers = np.broadcast_to(np.asarray(output_tokens, dtype=np.int64), prompts.shape)
    problems = []
    if prompts.ndim != 1 or len(prompts) == 0:
        problems.append(f"input_tokens has shape {prompts.shape}; expected one length for each row of the batch")
    elif prompts.min() < 1:
        problems.append(f"input_tokens holds {prompts.min()}; expected at least 1 token a prompt")
    if answers.size and answers.min() < 0:
        problems.append(f"output_tokens holds {answers.min()}; expected at least 0")
    if problems:
        raise InputError.gathered("batch", problems)
    rows = len(prompts)
    return TokenCount(
        rows, int(prompts.sum()), rows * int(prompts.max()), int(answers.sum()), rows * int(answers.max())
    )


def answer_tokens(generated: ArrayLike, eos: Collection[int], pad: int | None = None) -> Counts:
    """Return how many tokens each row generated, its first EOS included and nothing after it.

    Args:
        generated: ids of the generated part alone, shape (b, steps); rows that ended early are padded on the right.
        eos: ids that end a row.
        pad: id that fills ended rows; counted neither when it is an EOS (only the first one is) nor otherwise.

    Raises:
        InputError: the ids do not have two dimensions.
    """
    ids = np.asarray(generated)
    if ids.ndim != 2:
        raise InputError(f"generated ids have shape {ids.shape}; expected (rows, steps): cut the prompt off first")
    steps = ids.shape[1]
    lengths = _first(np.isin(ids, list(eos)), steps - 1) + 1 if eos else np.full(len(ids), steps, dtype=np.int64)
    if pad is not None and pad not in eos:
        lengths = np.minimum(lengths, _first(ids == pad, steps))
    return lengths


def count_generated(
    sequences: ArrayLike, attention_mask: ArrayLike, eos: Collection[int], pad: int | None = None
) -> TokenCount:
    """Return the counts of one static batch from what `generate` returned.

    Args:
        sequences: prompt and answer ids, shape (b, width + steps).
        attention_mask: 1 where the padded prompt holds a token of its own, shape (b, width). The mask decides, because
            a prompt may hold the pad id as an ordinary token.
        eos: ids that end a row.
        pad: id that fills ended rows.

    Raises:
        InputError: the shapes do not fit each other.
    """
    ids, mask = np.asarray(sequences), np.asarray(attention_mask)
    if ids.ndim != 2 or mask.ndim != 2 or len(ids) != len(mask) or ids.shape[1] < mask.shape[1]:
        raise InputError(
            f"sequences have shape {ids.shape} and the mask {mask.shape}; expected (b, width + steps) and (b, width)"
        )
    width = mask.shape[1]
    steps = ids.shape[1] - width
    counted = count_static(mask.sum(axis=1), answer_tokens(ids[:, width:], eos, pad))
    # the engine computed the full width and every step, whatever the rows hold
    return TokenCount(
        counted.requests,
        counted.input_effective_tokens,
        len(ids) * width,
        counted.output_effective_tokens,
        len(ids) * steps,
    )


def total(counts: Sequence[TokenCount]) -> TokenCount:
    """Return the sum over batches."""
    return sum(counts, TokenCount(0, 0, 0, 0, 0))


def _first(found: NDArray[np.bool_], otherwise: int) -> Counts:
    """Return the column of the first True of each row, or `otherwise`."""
    if found.shape[1] == 0:
        return np.full(len(found), otherwise, dtype=np.int64)
    return np.where(found.any(axis=1), found.argmax(axis=1), otherwise).astype(np.int64)
