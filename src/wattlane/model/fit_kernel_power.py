"""Fit the law of kernel power to measured tables, with the meter that read them beside it.

The tables were read by a meter that averages about a second, over at most a second and without settling, so a reading
is a mixture of the kernel and of what ran before it:

    reading = P − (P − before)·(1 − e^−z)/z,    z = d/τ,    d = 1 s·(1 − e^−(latency/ramp)) + calls·latency

with d the seconds the run lasted. `before` follows from the law's own watts of the rows that precede in the table, by
the same meter, or is one start value where the order of the table is not that of the runs (`MEMORY` 0). No reading
enters a prediction. The meter is fitted to tell the chip from it and is not shipped: the law alone is.

Fits are robust, in log watts, on trustworthy rows (0.3 ms and longer, below 95 % of the limit) only; priors keep the
coefficients physical. Rows are scored by shape: the law that predicts a row has seen no row of the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattlane.core.extras import require
from wattlane.model.kernel_power import KernelPower
from wattlane.model.kernel_work import AT_LIMIT, Array, Rows

# Centre and log sd. Static: between idle with a context and half the limit. Bytes: HBM3 with its interface takes 4 to
# 7 pJ/bit, on-chip transport as much again. FLOPs: 350 W over 0.6 of the dense peak.
PRIOR = {"static_w": (250.0, 0.5), "byte_j": (6e-11, 0.5), "flop_j": (5e-13, 0.7), "reread": (0.3, 1.0)}
METER = {"tau_s": (0.5, 0.7), "ramp_s": (0.4e-3, 0.7), "calls": (60.0, 1.0), "start_w": (180.0, 0.4)}
PRIOR_WEIGHT = 1.0  # one row's worth: decides only what the rows leave open
SOFT = 0.1  # errors of 10 % and more pull like their square root
FOLDS = 5
# Families whose rows at the limit count too, as "at least 95 % of it": rows below it alone would bias the law low.
# Only where the order of the table is that of the runs, so that a low reading is known to be the meter's.
CAPPED = frozenset({"gemm_bf16"})
# Rows before one in its table that the meter may remember; 0 where the order of the table says nothing.
MEMORY = {"gemm_bf16": 8, "gemm_fp8": 0, "context_attention": 24, "generation_attention": 0, "moe": 0}


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """A fitted family: the law, the meter's parameters, and the indices of the rows behind it."""

    law: KernelPower
    meter: Mapping[str, float]
    rows: NDArray[np.intp]


def run_over_tau(rows: Rows, which: NDArray[np.intp], meter: Mapping[str, float]) -> Array:
    """Return how long the run of each row lasted, in time constants of the meter."""
    seconds = rows.seconds[which]
    lasted: Array = 1.0 - np.exp(-seconds / meter["ramp_s"]) + meter["calls"] * seconds
    return lasted / meter["tau_s"]


def law_power(law: KernelPower, rows: Rows) -> Array:
    """Return the law's watts of every row."""
    return law.power_w(rows.flop_rate, rows.traffic, rows.reread, rows.limit_w)


def reading(law: KernelPower, meter: Mapping[str, float], rows: Rows, which: NDArray[np.intp]) -> Array:
    """Return what the meter shows for the rows `which`, from shapes and latencies alone."""
    watts = law_power(law, rows)
    before = np.full(len(which), meter["start_w"])
    for back in range(MEMORY[rows.family], 0, -1):
        earlier = np.maximum(which - back, 0)
        kept = np.exp(-run_over_tau(rows, earlier, meter))
        before = np.where(which >= back, watts[earlier] + (before - watts[earlier]) * kept, before)
    z = run_over_tau(rows, which, meter)
    shown: Array = watts[which] + (before - watts[which]) * -np.expm1(-z) / z
    return shown


def _soft(error: Array) -> Array:
    """Return residuals that grow like the square root of large errors."""
    return np.sign(error) * np.sqrt(2.0 * (np.sqrt(1.0 + error**2) - 1.0))


def fit_family(rows: Rows, which: NDArray[np.intp] | None = None, *, with_meter: bool = True) -> Fit:
    """Fit one family to its trustworthy rows, or to `which` of them; without the meter, the law to the raw readings."""
    which = rows.trustworthy() if which is None else which
    names = (*PRIOR, *(METER if with_meter else ()))
    known = {**PRIOR, **METER}
    centres = np.log([known[n][0] for n in names])
    spreads = np.array([known[n][1] for n in names])
    measured = np.log(rows.power_w[which])
    capped = rows.capped(rows.groups[which]) if with_meter and rows.family in CAPPED else which[:0]
    weight = np.sqrt(min(1.0, len(which) / max(len(capped), 1)))
    every = np.concatenate([which, capped])

    def split(x: Array) -> tuple[KernelPower, dict[str, float]]:
        values = dict(zip(names, np.exp(x).tolist(), strict=True))
        meter = {n: values[n] for n in METER} if with_meter else {}
        return KernelPower(**{n: values[n] for n in PRIOR}), meter

    def residuals(x: Array) -> Array:
        law, meter = split(x)
        shown = np.log(reading(law, meter, rows, every) if with_meter else law_power(law, rows)[every])
        error = (shown[: len(which)] - measured) / SOFT
        short = np.minimum(shown[len(which) :] - np.log(AT_LIMIT * rows.limit_w[capped]), 0.0) / SOFT
        return np.concatenate([_soft(error), weight * _soft(short), PRIOR_WEIGHT * (x - centres) / spreads])

    found = require("scipy.optimize").least_squares(residuals, centres, x_scale=spreads, max_nfev=60)
    law, meter = split(found.x)
    if not rows.reread[which].any():  # no row tells it: the prior's value would be a guess
        law = replace(law, reread=0.0)
    return Fit(law, meter, which)


def folds(groups: NDArray[np.str_], seed: int = 0) -> NDArray[np.intp]:
    """Return the fold of each row: all rows of a shape in one fold, shapes dealt by seed."""
    shapes, index = np.unique(groups, return_inverse=True)
    dealt: NDArray[np.intp] = (np.random.default_rng(seed).permutation(len(shapes)) % FOLDS)[index]
    return dealt


def left_out(rows: Rows, *, with_meter: bool = True, seed: int = 0) -> tuple[NDArray[np.intp], Array]:
    """Return the trustworthy rows and log(predicted / measured) of each by a law that saw no row of its shape."""
    which = rows.trustworthy()
    fold = folds(rows.groups[which], seed)
    error = np.empty(len(which))
    for held in range(FOLDS):
        test = fold == held
        fit = fit_family(rows, which[~test], with_meter=with_meter)
        shown = reading(fit.law, fit.meter, rows, which[test]) if with_meter else law_power(fit.law, rows)[which[test]]
        error[test] = np.log(shown / rows.power_w[which[test]])
    return which, error
