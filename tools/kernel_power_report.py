"""What the law of kernel power does to the phase law as a prior of its watts and joules: errors with it and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from left_out_report import line
from wattlane.core.facts.gpus import gpu
from wattlane.model.fit_phase import PhaseFit, Prior, Table, fit_phase, unseen
from wattlane.model.laws.phase import PARAMETERS
from wattlane.model.leave_out import KINDS, columns, left_out
from wattlane.model.priors import with_kernel_power

SHOWN = ("busy_share", "byte_j", "flop_j", "flop_fp8")
PLACE = {name: PARAMETERS.index(name) for name in SHOWN}


def cold_start(
    later: Table, prior: Mapping[str, Prior], rows: Table, priors: Sequence[Mapping[str, Prior]], start: PhaseFit
) -> NDArray[np.float64]:
    """Return the errors, (n, 3), of a platform of which no row is in the fit, the group of each row left out too."""
    out = np.empty((len(later.group), len(KINDS)))
    for name in np.unique(later.group):
        held = later.group == name
        fit = unseen(fit_phase(rows.rows(rows.group != name), priors, start), prior)
        out[held] = columns(*fit.errors(later.rows(held)))
    return out


def report_kernel_power(
    rows: Table,
    priors: Sequence[Mapping[str, Prior]],
    names: Sequence[str],
    older: Table,
    older_prior: Mapping[str, Prior],
    older_name: str,
) -> None:
    """Print the errors of architectures left out, of GPUs left out, and of a GPU of which nothing was measured."""
    boards = [gpu(name) for name in names]
    with_kernels = [with_kernel_power(p, b) for p, b in zip(priors, boards, strict=True)]
    older_with = with_kernel_power(older_prior, gpu(older_name))
    print(f"{'left out':<34}{'rows':>5}{'n':>5}   power: median, mean; token gap: median, mean; J/token: median, mean")
    for label, mine, later in (("", priors, older_prior), (", kernel power", with_kernels, older_with)):
        fit = fit_phase(rows, mine)
        out = left_out(rows, mine, start=fit)
        for at, name in enumerate(names):
            here = rows.platform == at
            held = rows.rows(here)
            print(line(f"{name} architecture{label}", out[here], len(np.unique(held.group))))
            other = fit_phase(rows.rows(~here), mine, fit)
            print(line(f"{name} GPU{label}", columns(*other.errors(held)), len(np.unique(held.group))))
        cold = cold_start(older, later, rows, mine, fit)
        print(line(f"{older_name} cold start{label}", cold, len(np.unique(older.group))))
        for name in SHOWN:
            sd = float(np.sqrt(fit.covariance_log(0)[PLACE[name], PLACE[name]]))
            before = mine[0][name]
            print(
                f"    {name:<12} prior {before.centre:.3g} ±{before.wide:.2f} log, {names[0]} after the rows "
                f"{fit.parameters(0)[name]:.3g} ±{sd:.2f}"
            )
