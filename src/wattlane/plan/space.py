"""The knobs a plan may turn, their values, and which of them need privileges on the node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import Gpu

PRIVILEGED = frozenset({"clock_hz", "power_cap_w"})
# The clock prior is not asked below 800 MHz of an H100's 1,980: the range profiled by DynamoLLM (arXiv 2408.00741).
LOWEST_CLOCK_SHARE = 0.4
CLOCK_STEP_HZ = 15e6  # NVIDIA boards lock the SM clock in steps of 15 MHz


@dataclass(frozen=True, slots=True)
class Space:
    """Values of every knob; a clock of None is the GPU's maximum."""

    max_num_seqs: tuple[int, ...] = (16, 32, 64, 128, 256, 1024)
    max_num_batched_tokens: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    release_window_s: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    clock_hz: tuple[float | None, ...] = (None,)
    max_replicas: int = 64

    def __post_init__(self) -> None:
        problems = [
            f"{name} is empty; expected at least one value"
            for name in ("max_num_seqs", "max_num_batched_tokens", "release_window_s", "clock_hz")
            if not getattr(self, name)
        ]
        if not problems and min(self.max_num_seqs) > max(self.max_num_batched_tokens):
            problems.append(
                f"max_num_seqs starts at {min(self.max_num_seqs)}, above every max_num_batched_tokens (up to "
                f"{max(self.max_num_batched_tokens)}); every sequence needs a token"
            )
        if self.max_replicas < 1:
            problems.append(f"max_replicas is {self.max_replicas}; expected at least 1")
        if problems:
            raise InputError.gathered("search space", problems)

    def without_clocks(self) -> Space:
        """Return the same space at the maximum clock only."""
        return Space(self.max_num_seqs, self.max_num_batched_tokens, self.release_window_s, (None,), self.max_replicas)


def clock_grid(board: Gpu, steps: int, lowest_share: float = LOWEST_CLOCK_SHARE) -> tuple[float | None, ...]:
    """Return `steps` clocks from the maximum (None) down to `lowest_share` of it, in steps the board can lock."""
    if steps < 2:
        return (None,)
    low = max(board.clock_min_hz, lowest_share * board.clock_max_hz)
    grid = np.linspace(board.clock_max_hz, low, steps)[1:]
    rounded = dict.fromkeys(float(np.floor(hz / CLOCK_STEP_HZ) * CLOCK_STEP_HZ) for hz in grid)
    return (None, *(hz for hz in rounded if hz >= board.clock_min_hz))
