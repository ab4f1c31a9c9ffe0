"""One request asked of a law file, whichever law it holds: means, intervals, and in words what to make of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.types import Estimate
from wattlane.model.law import REQUESTS
from wattlane.model.registry import read_law
from wattlane.model.request_law import UNITS, Conformal, RequestFit

CONFORMAL_LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class LawAnswer:
    """What a law gives for one request; `reasons` say why it is an extrapolation, `notes` how far it may be trusted."""

    law: str
    model: str
    estimates: Mapping[str, Estimate]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an open end is null."""
        values = {
            name: {k: None if v == math.inf else v for k, v in asdict(one).items()}
            for name, one in self.estimates.items()
        }
        return {"law": self.law, "model": self.model, **values, "reasons": [*self.reasons], "notes": [*self.notes]}


def ask_law(path: Path, input_tokens: float, output_tokens: float) -> LawAnswer:
    """Return energy and runtime of one request; the interval is the law's own at 95 %.

    Raises:
        FileFormatError: not a law file.
        UnknownNameError: a law that is not known here.
        InputError: a law that is not asked about one request, or token counts below 1.
        OutOfRangeError: the law refuses such requests.
    """
    law = read_law(path)
    if isinstance(law, RequestFit):
        found = law.predict(input_tokens, output_tokens)
        notes = tuple(_notes(law, input_tokens, output_tokens))
        return LawAnswer(law.law, law.model, found, tuple(law.outside(input_tokens, output_tokens)), notes)
    traits = getattr(law, "traits", None)
    if traits is None or traits.axes != REQUESTS.axes:
        raise InputError(
            f"{path}: its law is not asked about one request; expected one that is, as wattlane fit writes"
        )
    costs = dict(zip(("runtime_s", "energy_j"), law.request_cost(input_tokens, output_tokens), strict=True))
    estimates = {name: Estimate(costs[name], 0.0, math.inf, unit) for name, unit in UNITS.items()}
    kind = str(getattr(type(law), "__name__", "law"))
    return LawAnswer(kind, str(getattr(law, "model", "")), estimates, (), ("this law states no interval",))


def _notes(law: RequestFit, input_tokens: float, output_tokens: float) -> list[str]:
    runs = law.provenance.get("runs", {})
    said = [f"{name} {runs[name]}" for name in ("energy_status", "boundary", "system", "backend") if runs.get(name)]
    notes = [f"fitted on {runs.get('rows')} runs: {', '.join(said)}"] if said else []
    if law.conformal is not None:
        notes.append(_grouped(law, law.conformal, input_tokens, output_tokens))
    return notes


def _grouped(law: RequestFit, conformal: Conformal, input_tokens: float, output_tokens: float) -> str:
    """Return the conformal intervals in words, at the highest level up to 90 % that both quantities have."""
    shared = [level for level in conformal.energy_j.quantiles if level in conformal.runtime_s.quantiles]
    level = max((level for level in shared if level <= CONFORMAL_LEVEL), default=None)
    if level is None:
        return f"{conformal.energy_j.groups} groups of {conformal.by} are too few for an interval over groups"
    held = law.predict_group(input_tokens, output_tokens, level)
    words = "; ".join(f"{name} [{one.lo:.4g}, {one.hi:.4g}] {one.unit}" for name, one in held.items())
    return f"{level:.0%} of runs of left-out groups ({conformal.by}): {words}"
