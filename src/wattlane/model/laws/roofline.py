"""The spec-sheet roofline: time from peak rates, power as TDP scaled by how busy the roofline says the board is.

    t = max(FLOPs / peak FLOP rate, bytes / peak bandwidth)
    P = P_idle + (TDP − P_idle) · min(1, t / measured seconds)        per GPU; TDP where no time is measured

Nothing is fitted. The time is a bound from below; an engine's host time and the shares of peak that kernels reach are
what the phase law adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from wattlane.model.calibration import Point
from wattlane.model.law import Traits
from wattlane.model.law_files import read_parameters, write_parameters
from wattlane.model.laws.phase import Case
from wattlane.model.serving import POWER, Load, left_out_spread, roofline_s
from wattlane.model.spread import Spread

LAW = "roofline"
PARAMETERS = ("host_s",)


@dataclass(frozen=True, slots=True)
class Roofline:
    """Peak rates of the spec sheet; `host_s` is one constant added to every iteration, 0 as published."""

    host_s: float = 0.0
    spread: Spread = field(default_factory=Spread)
    traits: ClassVar[Traits] = POWER

    def iteration_s(self, case: Case, load: Load) -> float:
        """Return the seconds of an iteration."""
        return self.host_s + roofline_s(case, load)

    def power_w(self, case: Case, load: Load) -> float:
        """Return the watts of all GPUs of the replica."""
        busy = 1.0
        if load.iteration_s is not None:
            busy = min(1.0, roofline_s(case, load) / load.iteration_s)
        board = case.gpu
        return case.tensor_parallel * (board.idle_loaded_w + (board.tdp_w - board.idle_loaded_w) * busy)


def fit_roofline(points: Sequence[Point]) -> Roofline:
    """Return the law as published, nothing fitted but the width of its interval."""
    law = Roofline()
    return replace(law, spread=left_out_spread(lambda _: law, points))


def write_roofline(law: Roofline, path: Path) -> None:
    """Write a law file."""
    write_parameters(path, LAW, {name: getattr(law, name) for name in PARAMETERS}, law.spread)


def read_roofline(path: Path) -> Roofline:
    """Read a law file; raises what `read_parameters` does."""
    values, spread = read_parameters(path, LAW, PARAMETERS)
    return Roofline(**values, spread=spread)
