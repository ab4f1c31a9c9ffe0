"""Quantiles and tails of Student's t, F and chi-square, from scipy's special functions."""

from __future__ import annotations

import math

from wattlane.core.extras import require

NORMAL_DOF = 1e10


def t_quantile(dof: float, level: float) -> float:
    """Return t such that a share `level` lies within ±t; infinite degrees of freedom give the normal law."""
    return float(require("scipy.special").stdtrit(min(dof, NORMAL_DOF), 0.5 + level / 2))


def t_tail(statistic: float, dof: float) -> float:
    """Return the two-sided p-value of a t statistic."""
    return 2.0 * float(require("scipy.special").stdtr(min(dof, NORMAL_DOF), -abs(statistic)))


def f_tail(statistic: float, dof_above: float, dof_below: float) -> float:
    """Return the upper p-value of an F statistic; 0 for an infinite one."""
    if math.isinf(statistic):
        return 0.0
    return float(require("scipy.special").fdtrc(dof_above, dof_below, statistic))


def chi2_tail(statistic: float, dof: float) -> float:
    """Return the upper p-value of a chi-square statistic."""
    return float(require("scipy.special").chdtrc(dof, statistic))
