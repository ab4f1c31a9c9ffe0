"""What an engine without a server offers: a batch read, tokens written step by step, a batch answered as a whole.

Every answer carries the stretch of the monotonic clock in which it ran, taken after the device had finished, so that
telemetry recorded meanwhile can be charged to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from wattlane.measure.tokens import TokenCount

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start_s` to `end_s` on the monotonic clock, with the CPU seconds of the engine in it."""

    start_s: float
    end_s: float
    cpu_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Generated:
    """One batch answered: when, with which tokens, how many of them count, and when each was there (monotonic)."""

    stretch: Stretch
    outputs: tuple[tuple[int, ...], ...]
    tokens: TokenCount
    token_s: tuple[tuple[float, ...], ...] = ()


class InProcess(Protocol):
    """An engine for the length of a `with` block, called rather than sent requests."""

    @property
    def pid(self) -> int | None:
        """Process that computes, None outside the block."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def prefill(self, prompts: Prompts) -> Stretch:
        """Read a batch of prompts and choose the first token of each; the batch stays for `decode`."""
        ...

    def decode(self, steps: int) -> tuple[Stretch, ...]:
        """Write `steps` more tokens for every row of the batch last read, one stretch a step."""
        ...

    def generate(
        self,
        prompts: Prompts,
        output_tokens: int | Sequence[int],
        *,
        decoding: str = "greedy",
        batching: str = "static",
        batch: int = 0,
    ) -> Generated:
        """Answer the prompts by the library's loop with exactly `output_tokens` tokens, one number for all or one each.

        Continuous batching works on at most `batch` at a time (0: as many as its memory holds).
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return versions, the stored number type of the weights and the dtype of products."""
        ...
