"""Where batches are static: how many requests a batch, given how unlike their lengths are.

A static batch of b requests pads every prompt to the longest and decodes until the longest answer is done. With lengths
drawn from the workload,

    E(b) = (prefill of b·max prompt + Σ over max answer steps of b sequences) / b        joules a request, by the law

Larger batches share the weights and waste more padding: the least lies in between (Delavande et al. 2026, D9, D10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.model import iteration as it

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCHES_DRAWN = 200


@dataclass(frozen=True, slots=True)
class StaticBatch:
    """One batch size: joules a request by phase, and the share of computed tokens that is padding."""

    batch: int
    prefill_j: float
    decode_j: float
    waste: float

    @property
    def energy_j(self) -> float:
        """Joules of one request."""
        return self.prefill_j + self.decode_j


def sizes(law: NDArray[np.float64], workload: Workload, in_order: bool = False, seed: int = 0) -> list[StaticBatch]:
    """Return each batch size under `law`; with `in_order` batches are of neighbours by length (sorted batching)."""
    rng = np.random.default_rng(seed)
    prompts, answers = workload.input_tokens, workload.output_tokens
    order = np.lexsort((answers, prompts)) if in_order else np.arange(len(workload))
    found = []
    for b in BATCHES:
        if b > len(workload):
            break
        if in_order:
            starts = rng.integers(0, len(workload) - b + 1, BATCHES_DRAWN)
            rows = order[starts[:, None] + np.arange(b)]
        else:
            rows = rng.integers(0, len(workload), (BATCHES_DRAWN, b))
        tin, tout = prompts[rows].max(axis=1).astype(float), answers[rows].max(axis=1).astype(float)
        used = prompts[rows].sum() + answers[rows].sum()
        prefill = [it.cost(law, b * p, b * p * (p + 1) / 2, 0.0, 0.0)[1] for p in tin]
        # a step's joules are nearly linear in the context: the middle step stands for all
        decode = [
            (o - 1) * it.cost(law, 0.0, 0.0, float(b), b * (p + o / 2))[1] for p, o in zip(tin, tout, strict=True)
        ]
        found.append(
            StaticBatch(
                b,
                float(np.mean(prefill)) / b,
                float(np.mean(decode)) / b,
                1.0 - float(used / (b * (tin + tout).sum())),
            )
        )
    return found


def least(rows: list[tuple[float, float]]) -> float:
    """Return the batch of least energy among (batch, energy) rows; of equals the smaller batch."""
    return min(rows, key=lambda row: (row[1], row[0]))[0]
