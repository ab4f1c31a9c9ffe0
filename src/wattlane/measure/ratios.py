"""Energy per successful request and per output token, with the error of the window's energy.

per request       = E / completed        failures leave the denominator, their joules stay in the numerator
per output token  = E / Σ output tokens of completed requests, prefill and idle energy included
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wattlane.core.types import Outcome
from wattlane.measure.account import ABSENT, Energy
from wattlane.measure.energy.budget import per_token

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class PerSuccess:
    """Joules over what was delivered, and how much was offered; absent where energy or denominator is not known."""

    request: Energy = ABSENT
    output_token: Energy = ABSENT
    completed: int = 0
    offered: int = 0

    def __str__(self) -> str:
        if self.request.budget is None:
            return f"energy absent; {self.completed} of {self.offered} requests completed"
        each = f"{self.request.budget:.4g} J per completed request, {self.completed} of {self.offered}"
        token = self.output_token.budget
        return each if token is None else f"{each}; {token:.4g} J per output token, prefill and idle included"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {"request": self.request.as_dict(), "output_token": self.output_token.as_dict()}


NOTHING = PerSuccess()


def per_success(energy: Energy, table: pl.DataFrame) -> PerSuccess:
    """Return the energy of a run over its completed requests and their output tokens, from served rows.

    Without the token count of every completed request the energy per token is absent: its denominator would be short.
    """
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    tokens = 0 if done["output_tokens"].null_count() else int(done["output_tokens"].sum())
    return PerSuccess(over(energy, len(done)), over(energy, tokens), len(done), len(table))


def over(energy: Energy, count: int | None) -> Energy:
    """Return the energy over a count with its error; absent where either is not known or nothing was counted."""
    return ABSENT if energy.budget is None or not count else replace(energy, budget=per_token(energy.budget, count))
