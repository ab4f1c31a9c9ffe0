"""Every form of kernel power on the same rows and folds: `python benchmarks/kernel_power.py` with WATTLANE_DATA.

Rows of the H200 tables of 0.3 ms and longer below 95 % of the power limit, five folds by the shape of the weights. The
boosted tree is a bound, not a rival to ship: it needs scikit-learn, which wattlane does not; without it the column is
empty. Mean absolute percentage error against the raw readings:

    constant   median of the other folds
    vidur      100 W + range·min(1, MFU/0.45)^0.7
    traffic    the law fitted to the readings as if they were the chip's: idle + FLOP rate + traffic
    law        the law seen through the meter that read it
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np

from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.model.fit_kernel_power import FOLDS, fit_family, folds, law_power, left_out
from wattlane.model.kernel_power import KernelPower
from wattlane.model.kernel_work import FAMILIES, Array, Rows, read_rows
from wattlane.model.laws.vidur_mfu import VidurMfu

FOLDER = Path("kernels") / "aiconfigurator" / "h200_sxm"


def constant(rows: Rows, which: Array, fold: Array) -> Array:
    measured = rows.power_w[which]
    return np.array([np.log(np.median(measured[fold != f]) / w) for f, w in zip(fold, measured, strict=True)])


def vidur(rows: Rows, which: Array) -> Array:
    board = gpu("H200")
    law = VidurMfu(idle_share=100.0 / board.tdp_w)
    peak = board.peak_flop_per_s("fp8" if rows.family == "gemm_fp8" else "bf16")
    watts = np.array([board.tdp_w * law.share_at(rate / peak) for rate in rows.flop_rate[which]])
    return np.log(watts / rows.power_w[which])


def tree(rows: Rows, which: Array, fold: Array) -> Array | None:
    if importlib.util.find_spec("sklearn") is None:
        return None
    from sklearn.ensemble import HistGradientBoostingRegressor

    shape = np.array([[float(part) for part in name.split()] for name in rows.groups[which]])
    work = [rows.flop, rows.bytes, rows.seconds, rows.flop_rate, rows.traffic]
    x = np.column_stack([np.log1p(shape), *(np.log(column[which]) for column in work), rows.reread[which]])
    y = np.log(rows.power_w[which])
    error = np.empty(len(which))
    for held in range(FOLDS):
        model = HistGradientBoostingRegressor(random_state=0).fit(x[fold != held], y[fold != held])
        error[fold == held] = model.predict(x[fold == held]) - y[fold == held]
    return error


def short_rows(rows: Rows, law: KernelPower) -> list[str]:
    """Show the bias of short kernels: their readings are those of what ran before."""
    ratio = rows.power_w / law_power(law, rows)
    edges = np.array([0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, np.inf])
    lines = []
    for low, high in itertools.pairwise(edges):
        inside = (rows.seconds >= low) & (rows.seconds < high) & (rows.power_w > 0)
        tenth, half, most = np.quantile(ratio[inside], [0.1, 0.5, 0.9])
        span = f"{low * 1e6:.0f} to {high * 1e6:.0f} us" if np.isfinite(high) else f"from {low * 1e6:.0f} us"
        lines.append(f"{span:<18}{inside.sum():>7} rows   median {half:.2f}, 80 % of them {tenth:.2f} to {most:.2f}")
    return lines


def main() -> int:
    data = env.data_dir()
    if data is None:
        print("WATTLANE_DATA is not set; it names the folder of tables", file=sys.stderr)
        return 1
    names = ("constant", "vidur", "traffic", "law", "tree")
    print(f"{'family':<22}{'rows':>7}{'shapes':>7}" + "".join(f"{n:>10}" for n in names) + f"{'law, median':>13}")
    table = []
    for family in FAMILIES:
        rows = read_rows(data / FOLDER, family)
        which, law = left_out(rows)
        fold = folds(rows.groups[which])
        errors = [constant(rows, which, fold), vidur(rows, which), left_out(rows, with_meter=False)[1], law]
        errors.append(tree(rows, which, fold))
        scores = [np.nan if e is None else float(np.abs(np.expm1(e)).mean()) for e in errors]
        table.append(scores)
        median = float(np.median(np.abs(np.expm1(law))))
        shapes = len(np.unique(rows.groups[which]))
        cells = "".join(f"{s:>10.1%}" if np.isfinite(s) else f"{'-':>10}" for s in scores)
        print(f"{family:<22}{len(which):>7}{shapes:>7}{cells}{median:>13.1%}", flush=True)
        if family == "gemm_bf16":
            short = (rows, fit_family(rows).law)
    mean = np.mean(table, axis=0)
    print(f"{'mean of families':<36}" + "".join(f"{s:>10.1%}" if np.isfinite(s) else f"{'-':>10}" for s in mean))
    print("\nbf16 GEMM by latency: what the meter read over what the law says (the law is fitted from 0.3 ms on)")
    for line in short_rows(*short):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
