"""How wrong a partly pooled phase law is on architectures and GPUs it never saw, and how wide its intervals must be.

Conformal intervals by group: groups (architectures) are exchangeable, rows inside a group are not. With J calibration
groups every row of group j weighs 1 / (n_j·(J + 1)), the group to come 1 / (J + 1) at infinity, and the half-width is
the smallest score with at least the asked share of the weight at or below it (the pooled distribution of Dunn,
Wasserman and Ramdas 2023, Distribution-Free Prediction Sets for Two-Layer Hierarchical Models). Below 9 groups 90 %
cannot be had, and below `OWN_GROUPS` it is the worst row of the worst group. Scores are |log(predicted / measured)| of
rows left out with their whole group.

A platform with fewer groups than `OWN_GROUPS` is calibrated by all platforms: the scores of each are divided by its own
root mean square error (of the calibration groups alone), the unit is an architecture on a platform, and the quantile is
multiplied by the scale of the platform asked. (Normalised nonconformity: Papadopoulos, Gammerman and Vovk 2008.) Two
units of one architecture on two platforms are not independent; the scored architecture is in none of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattlane.model.fit_phase import PhaseFit, Prior, Table, fit_after, fit_phase

LEVEL = 0.90
OWN_GROUPS = 12
LEAST_SPREAD = 3  # groups for a spread of a platform's own
KINDS = ("power", "itl", "energy")  # columns of every table of errors: watts, token gap, joules per output token


def columns(time_error: NDArray[np.float64], power_error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the errors in the order of `KINDS`, shape (n, 3): joules per token are watts times token gap."""
    return np.column_stack([power_error, time_error, power_error + time_error])


def left_out(
    rows: Table,
    priors: Sequence[Mapping[str, Prior]],
    groups: NDArray[np.str_] | None = None,
    start: PhaseFit | None = None,
) -> NDArray[np.float64]:
    """Return the errors of every row when its group is left out of the fit, shape (n, 3)."""
    label = rows.group if groups is None else groups
    out = np.empty((len(label), len(KINDS)))
    for name in np.unique(label):
        held = label == name
        fit = fit_phase(rows.rows(~held), priors, start)
        out[held] = columns(*fit.errors(rows.rows(held)))
    return out


def left_out_after(
    later: Table, prior: Mapping[str, Prior], rows: Table, priors: Sequence[Mapping[str, Prior]], start: PhaseFit
) -> NDArray[np.float64]:
    """Return the errors of every row of `later`, a platform fitted after `rows`, its group left out of both, (n, 3)."""
    out = np.empty((len(later.group), len(KINDS)))
    for name in np.unique(later.group):
        held = later.group == name
        before = fit_phase(rows.rows(rows.group != name), priors, start) if (rows.group == name).any() else start
        fit = fit_after(later.rows(~held), before, prior)
        out[held] = columns(*fit.errors(later.rows(held)))
    return out


def platform_left_out(
    rows: Table, priors: Sequence[Mapping[str, Prior]], start: PhaseFit | None = None
) -> NDArray[np.float64]:
    """Return the errors of every row when its platform and its group are left out of the fit, shape (n, 3)."""
    out = np.empty((len(rows.group), len(KINDS)))
    for platform in np.unique(rows.platform):
        for name in np.unique(rows.group[rows.platform == platform]):
            held = (rows.platform == platform) & (rows.group == name)
            seen = (rows.platform != platform) & (rows.group != name)
            fit = fit_phase(rows.rows(seen), priors, start)
            out[held] = columns(*fit.errors(rows.rows(held)))
    return out


def half_width(scores: NDArray[np.float64], groups: NDArray[np.str_], level: float = LEVEL) -> float:
    """Return the conformal half-width at `level`; infinite where there are too few groups.

    Args:
        scores: (n,) absolute errors of left-out rows.
        groups: (n,) the group of each.
        level: share of rows of a new group to cover.
    """
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    reached = np.cumsum((1.0 / (counts[inverse] * (len(counts) + 1)))[order])
    at = int(np.searchsorted(reached, level - 1e-12))
    return float(scores[order[at]]) if at < len(scores) else math.inf


def calibration_rows(
    platform: NDArray[np.intp], groups: NDArray[np.str_], at: int, without: str = ""
) -> NDArray[np.bool_]:
    """Return which rows calibrate intervals of platform `at`: its own if their groups suffice, else those of all."""
    others = groups != without
    own = others & (platform == at)
    return own if len(np.unique(groups[own])) >= OWN_GROUPS else others


def _scale(errors: NDArray[np.float64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the root mean square error of a platform, every group counting alike, (3,)."""
    squares = [(errors[groups == name] ** 2).mean(axis=0) for name in np.unique(groups)]
    return np.asarray(np.sqrt(np.mean(squares, axis=0)))


def calibrated(errors: NDArray[np.float64], rows: Table, at: int, without: str = "") -> tuple[NDArray[np.float64], int]:
    """Return the conformal half-widths of platform `at`, (3,), and how many units they rest on.

    Args:
        errors: (n, 3) of left-out rows; those of `without` are not looked at.
        rows: the n rows. Those of the slow path do not calibrate: no prediction is asked for it.
        at: the platform asked.
        without: the group to be scored.
    """
    use = calibration_rows(rows.platform, rows.group, at, without) & (rows.slow == 0)
    platforms = np.unique(rows.platform[use])
    if len(platforms) == 1:
        return half_widths(errors[use], rows.group[use]), len(np.unique(rows.group[use]))
    scale = np.ones((rows.platform.max() + 1, errors.shape[1]))
    for p in platforms:
        mine = use & (rows.platform == p)
        scale[p] = _scale(errors[mine], rows.group[mine])
    units = np.char.add(rows.group[use], rows.platform[use].astype(str))
    scores = errors[use] / scale[rows.platform[use]]
    return half_widths(scores, units) * scale[at], len(np.unique(units))


@dataclass(frozen=True, eq=False)
class Nested:
    """What calibration that never saw a row's group says of that row: widths, each (n, 3)."""

    half_width: NDArray[np.float64]  # conformal, of |log error|
    group_sd: NDArray[np.float64]  # root mean square of the groups' mean log errors
    within_sd: NDArray[np.float64]  # sd of rows around the mean log error of their group


def nested(rows: Table, priors: Sequence[Mapping[str, Prior]], start: PhaseFit | None = None) -> Nested:
    """Return the widths for every row from calibration that never saw its group.

    For the group that is scored, every other group is predicted by a fit that saw neither: two groups left out at once.
    """
    names = np.unique(rows.group)
    found = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            held = (rows.group == a) | (rows.group == b)
            fit = fit_phase(rows.rows(~held), priors, start)
            errors = np.full((len(held), len(KINDS)), np.nan)
            errors[held] = columns(*fit.errors(rows.rows(held)))
            found[a, b] = found[b, a] = errors
    width, between, within = (np.empty((len(rows.group), len(KINDS))) for _ in range(3))
    for name in names:
        errors = np.full((len(rows.group), len(KINDS)), np.nan)
        for other in names[names != name]:
            errors[rows.group == other] = found[name, other][rows.group == other]
        for platform in np.unique(rows.platform[rows.group == name]):
            here = (rows.group == name) & (rows.platform == platform)
            width[here] = calibrated(errors, rows, int(platform), str(name))[0]
            use = calibration_rows(rows.platform, rows.group, int(platform), str(name)) & (rows.slow == 0)
            mine = use & (rows.platform == platform)
            spread = mine if len(np.unique(rows.group[mine])) >= LEAST_SPREAD else use
            between[here] = group_sd(errors[spread], rows.group[spread])
            within[here] = within_sd(errors[spread], rows.group[spread])
    return Nested(width, between, within)


def half_widths(errors: NDArray[np.float64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the conformal half-width of every kind, (3,), from left-out errors (n, 3)."""
    return np.array([half_width(np.abs(errors[:, j]), groups) for j in range(errors.shape[1])])


def group_sd(errors: NDArray[np.float64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the root mean square of the groups' mean errors, (3,): what a new architecture may be off by."""
    means = np.array([errors[groups == name].mean(axis=0) for name in np.unique(groups)])
    return np.asarray(np.sqrt((means**2).mean(axis=0)))


def within_sd(errors: NDArray[np.float64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the root mean square of rows around their group's mean error, (3,): what a configuration may be off by."""
    found = [errors[groups == name].var(axis=0) for name in np.unique(groups)]
    return np.asarray(np.sqrt(np.mean(found, axis=0)))


def parametric_sd(fit: PhaseFit, rows: Table, step: float = 1e-4) -> NDArray[np.float64]:
    """Return the sd of the log predictions of `rows` by the covariance of the fit, (n, 3)."""
    base = columns(*fit.errors(rows))
    slopes = []
    for i in range(len(fit.x)):
        moved = fit.x.copy()
        moved[i] += step
        slopes.append((columns(*replace(fit, x=moved).errors(rows)) - base) / step)
    slope = np.array(slopes)
    return np.asarray(np.sqrt(np.einsum("ink,ij,jnk->nk", slope, fit.covariance, slope)))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of rows inside their interval, with the middle 95 % of resampled groups, and the median half-width."""

    covered: float
    lo: float
    hi: float
    median_half_width: float


def coverage(
    errors: NDArray[np.float64], half_widths: NDArray[np.float64], groups: NDArray[np.str_], *, seed: int = 0
) -> Coverage:
    """Return the coverage of one kind of error, (n,) each; whole groups are resampled 2,000 times.

    The half-width is stated as exp(w) − 1, how far above the prediction the interval ends.
    """
    inside = np.abs(errors) <= half_widths
    names, inverse = np.unique(groups, return_inverse=True)
    hits, sizes = np.bincount(inverse, inside), np.bincount(inverse)
    chosen = np.random.default_rng(seed).integers(len(names), size=(2000, len(names)))
    shares = hits[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    lo, hi = np.quantile(shares, [0.025, 0.975])
    return Coverage(float(inside.mean()), float(lo), float(hi), float(np.median(np.expm1(half_widths))))
