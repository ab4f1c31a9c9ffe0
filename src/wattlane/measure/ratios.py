"""Energy per successful request and per output token.

per request       = E / completed        failures leave the denominator, their joules stay in the numerator
per output token  = E / Σ output tokens of completed requests, prefill and idle energy included
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattlane.core.types import Outcome

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class PerSuccess:
    """Joules over what was delivered, and how much was offered; None where energy or denominator is absent."""

    energy_j_per_request: float | None
    energy_j_per_output_token: float | None
    completed: int
    offered: int

    def __str__(self) -> str:
        if self.energy_j_per_request is None:
            return f"energy absent; {self.completed} of {self.offered} requests completed"
        return f"{self.energy_j_per_request:.4g} J per completed request, {self.completed} of {self.offered}"


def per_success(energy_j: float | None, table: pl.DataFrame) -> PerSuccess:
    """Return the energy of a run over its completed requests and their output tokens, from served rows."""
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    tokens = int(done["output_tokens"].fill_null(0).sum())
    return PerSuccess(
        None if energy_j is None or len(done) == 0 else energy_j / len(done),
        None if energy_j is None or tokens == 0 else energy_j / tokens,
        len(done),
        len(table),
    )
