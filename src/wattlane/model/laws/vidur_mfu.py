"""Vidur-energy's law: power from the share of peak FLOP rate (MFU) that an iteration reaches.

    P = P_idle + (P_max − P_idle) · min(1, MFU / 0.45)^0.7         per GPU

(Özcan et al. 2025, arXiv 2507.11417, as used by the simulator of that name; 100 and 400 W for A100, 60 W idle for
H100.) It takes power for arithmetic alone. Decoding reaches 1-15 % of the peak while HBM traffic draws most of the
board's power, so the law is low on serving; it stands here as a rival.
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
from wattlane.model.serving import POWER, Load, iteration_work, left_out_spread, roofline_s
from wattlane.model.spread import Spread

LAW = "vidur_mfu"
PARAMETERS = ("idle_share", "max_share", "knee", "exponent")


@dataclass(frozen=True, slots=True)
class VidurMfu:
    """The published form; idle and largest power as shares of TDP (100 W and 400 W of A100's 400 W)."""

    idle_share: float = 0.25
    max_share: float = 1.0
    knee: float = 0.45
    exponent: float = 0.7
    spread: Spread = field(default_factory=Spread)
    traits: ClassVar[Traits] = POWER

    def power_w(self, case: Case, load: Load) -> float:
        """Return the watts of all GPUs of the replica; without a measured time that of the roofline is taken."""
        flop, _ = iteration_work(case, load)
        seconds = load.iteration_s if load.iteration_s is not None else roofline_s(case, load)
        mfu = flop / seconds / (case.tensor_parallel * case.gpu.peak_flop_per_s(case.precision))
        return case.tensor_parallel * case.gpu.tdp_w * self.share_at(mfu)

    def share_at(self, mfu: float) -> float:
        """Return the share of TDP at a share of the peak FLOP rate."""
        return self.idle_share + (self.max_share - self.idle_share) * min(1.0, (mfu / self.knee)) ** self.exponent


# Idle watts the published simulator takes, by GPU; other boards a quarter of TDP as on A100.
PUBLISHED_IDLE_W = {"A100-40GB": 100.0, "A100-80GB": 100.0, "H100": 60.0}


def fit_vidur_mfu(points: Sequence[Point]) -> VidurMfu:
    """Return the published law for the points' GPU, nothing fitted but the width of its interval."""
    board = points[0].gpu
    law = VidurMfu(idle_share=PUBLISHED_IDLE_W.get(board.name, 0.25 * board.tdp_w) / board.tdp_w)
    return replace(law, spread=left_out_spread(lambda _: law, points))


def write_vidur_mfu(law: VidurMfu, path: Path) -> None:
    """Write a law file."""
    write_parameters(path, LAW, {name: getattr(law, name) for name in PARAMETERS}, law.spread)


def read_vidur_mfu(path: Path) -> VidurMfu:
    """Read a law file; raises what `read_parameters` does."""
    values, spread = read_parameters(path, LAW, PARAMETERS)
    return VidurMfu(**values, spread=spread)
