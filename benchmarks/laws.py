"""Every law against every rival on the same rows: `python benchmarks/laws.py` with WATTLANE_DATA.

Rows of ML.ENERGY v3 on H100 and B200. Each architecture is predicted by laws fitted without it (grouping by precision
and post-training too); a law without fitted numbers is scored on the same rows. Power is of all GPUs of the replica.

`vidur_mfu` and `roofline` are given the row's measured seconds for power, which favours them: no law predicts time
perfectly. Joules per output token take a law's own seconds; where it has none they are those of the spec sheet, and the
entry is left empty where a law speaks of one system only (bilinear, table: nothing of the left-out model was measured).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from fit_profiles import IN_WINDOW
from left_out_report import baselines
from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.model.calibration import Point, read_v3
from wattlane.model.fit_phase import Table, table
from wattlane.model.kernel_efficiency import kernel_efficiencies
from wattlane.model.laws.constant import TDP_SHARE, USUAL_SHARE, Constant, fit_constant
from wattlane.model.laws.ideal import Ideal, device_of
from wattlane.model.laws.logistic_batch import fit_logistic_batch
from wattlane.model.laws.roofline import fit_roofline
from wattlane.model.laws.vidur_mfu import fit_vidur_mfu
from wattlane.model.leave_out import left_out
from wattlane.model.priors import priors
from wattlane.model.serving import PROMPT_TOKENS, PowerLaw, asked_at, leave_one_group_out, roofline_s

NAMES = ("H100", "B200")
Errors = NDArray[np.float64]
FITS: dict[str, Callable[[Sequence[Point]], PowerLaw]] = {
    "constant, TDP": lambda _: Constant(TDP_SHARE),
    "constant, 86 % of TDP": lambda _: Constant(USUAL_SHARE),
    "constant, median": fit_constant,
    "logistic_batch": fit_logistic_batch,
    "vidur_mfu (time given)": fit_vidur_mfu,
    "roofline (time given)": fit_roofline,
}


def ideal_energy(points: Sequence[Point], *, sparse: bool) -> Errors:
    """Return log(ideal / measured) of joules per output token."""
    out = np.empty(len(points))
    for i, p in enumerate(points):
        law = Ideal(p.model, device_of(p.gpu, p.precision), sparse)
        joules = law.answer(PROMPT_TOKENS, p.output_tokens)[1] / p.output_tokens
        out[i] = np.log(joules / (p.power_w * p.itl_s / p.batch))
    return out


def spec_sheet_energy(law: PowerLaw, points: Sequence[Point]) -> Errors:
    """Return log(predicted / measured) of joules per output token, with the seconds of the spec sheet."""
    out = np.empty(len(points))
    for i, p in enumerate(points):
        case, load = asked_at(p)
        seconds = roofline_s(case, load)
        watts = law.power_w(case, replace(load, iteration_s=None))
        out[i] = np.log(watts * seconds / (p.power_w * p.itl_s))
    return out


def cells(errors: Errors | None) -> str:
    if errors is None:
        return f"{'-':>9}{'-':>9}{'-':>9}"
    ape = np.abs(np.expm1(errors))
    return f"{np.median(ape):>9.1%}{ape.mean():>9.1%}{np.expm1(np.median(errors)):>+9.0%}"


def board(name: str, rows: Table, at: int, phase: Errors) -> None:
    """Print the table of one GPU; `phase` holds the left-out errors of every row, (n, 3)."""
    here = rows.platform == at
    points = [p for p, chosen in zip(rows.points, here, strict=True) if chosen]
    print(f"\n{name}: {len(points)} rows, {len({p.group for p in points})} architectures, each left out")
    heads = "".join(f"{h:>9}" for h in ("median", "mean", "bias"))
    print(f"{'law':<26}{'power':>14}{'':>13}{'J/output token':>22}\n{'':<26}{heads}{heads}")
    trees = baselines(rows.rows(here), rows.group[here])["boosted tree"]
    print(f"{'phase':<26}{cells(phase[here, 0])}{cells(phase[here, 2])}")
    for law, fit in FITS.items():
        energy = spec_sheet_energy(fit(points), points) if law.startswith(("roofline", "vidur")) else None
        print(f"{law:<26}{cells(leave_one_group_out(fit, points))}{cells(energy)}", flush=True)
    for sparse in (False, True):
        label = "ideal, sparse" if sparse else "ideal, dense"
        print(f"{label:<26}{cells(None)}{cells(ideal_energy(points, sparse=sparse))}")
    print(f"{'boosted tree':<26}{cells(trees[:, 0])}{cells(trees[:, 2])}")


def main() -> int:
    data = env.data_dir()
    if data is None:
        print("WATTLANE_DATA is not set; it names the folder of tables", file=sys.stderr)
        return 1
    path = data / "energy" / "ml-energy-v3" / "configurations.csv"
    kernels = data / "kernels" / "aiconfigurator"
    known = [priors(kernel_efficiencies(kernels, gpu(name))) for name in NAMES]
    for at, name in enumerate(NAMES):
        # each GPU as its shipped profile reads the rows
        rows = table([read_v3(path, other, window=name in IN_WINDOW).rows for other in NAMES])
        board(name, rows, at, left_out(rows, known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
