"""Errors and coverage of the phase law on what its fit never saw, beside a boosted tree and the median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wattlane.model.fit_phase import PhaseFit, Prior, Table, fit_phase
from wattlane.model.leave_out import KINDS, columns, coverage, left_out, left_out_after, nested, parametric_sd

Z95 = 1.96
TREES, DEPTH, RATE, LEAST = 200, 3, 0.08, 4


def features(rows: Table) -> NDArray[np.float64]:
    """Return what a boosted tree sees of each row, (n, features): config, GPU and load."""
    tasks = sorted({p.task for p in rows.points})
    return np.array(
        [
            [
                np.log(p.batch),
                np.log(p.model.active_params),
                np.log(p.model.total_params),
                np.log(p.case.weight_bytes / p.num_gpus),
                np.log(p.model.kv_elements_per_token),
                np.log(p.output_tokens),
                p.num_gpus,
                p.model.layers,
                p.model.hidden,
                p.model.experts,
                p.model.experts_per_token,
                p.model.state_layers,
                {"bf16": 2.0, "fp8": 1.0, "mxfp4": 0.5}[p.precision],
                p.gpu.tdp_w,
                *(float(p.task == task) for task in tasks),
            ]
            for p in rows.points
        ]
    )


def _split(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[int, float] | None:
    best, found = 1e-12, None
    total, n = y.sum(), len(y)
    for j in range(x.shape[1]):
        order = np.argsort(x[:, j], kind="stable")
        left, size = np.cumsum(y[order])[:-1], np.arange(1, n)
        gain = left**2 / size + (total - left) ** 2 / (n - size) - total**2 / n
        gain[(np.diff(x[order, j]) <= 0) | (size < LEAST) | (n - size < LEAST)] = 0.0
        at = int(np.argmax(gain)) if len(gain) else 0
        if len(gain) and gain[at] > best:
            best, found = gain[at], (j, float(x[order[at : at + 2], j].mean()))
    return found


def _tree(
    x: NDArray[np.float64], y: NDArray[np.float64], new: NDArray[np.float64], depth: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    split = _split(x, y) if depth and len(y) >= 2 * LEAST else None
    if split is None:
        return np.full(len(x), y.mean()), np.full(len(new), y.mean())
    j, at = split
    here, there = np.empty(len(x)), np.empty(len(new))
    for side in (True, False):
        a, b = (x[:, j] <= at) == side, (new[:, j] <= at) == side
        here[a], there[b] = _tree(x[a], y[a], new[b], depth - 1)
    return here, there


def boosted(x: NDArray[np.float64], y: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the prediction at `new` of gradient-boosted regression trees fitted to (x, y), squared loss."""
    here, there = np.full(len(x), np.median(y)), np.full(len(new), np.median(y))
    for _ in range(TREES):
        a, b = _tree(x, y - here, new, DEPTH)
        here, there = here + RATE * a, there + RATE * b
    return there


def baselines(rows: Table, label: NDArray[np.str_]) -> dict[str, NDArray[np.float64]]:
    """Return the left-out errors (n, 3) of a boosted tree and of the median, each within the platform."""
    x, gpus = features(rows), np.array([float(p.num_gpus) for p in rows.points])
    targets = np.column_stack([rows.log_power - np.log(gpus), rows.log_itl])
    out = {name: np.empty((len(label), 3)) for name in ("boosted tree", "median")}
    for platform in np.unique(rows.platform):
        for name in np.unique(label[rows.platform == platform]):
            seen = (rows.platform == platform) & (label != name)
            held = (rows.platform == platform) & (label == name)
            for j in range(2):
                y = targets[seen, j]
                out["boosted tree"][held, j] = boosted(x[seen], y, x[held]) - targets[held, j]
                out["median"][held, j] = np.median(y) - targets[held, j]
    for errors in out.values():
        errors[:, 2] = errors[:, 0] + errors[:, 1]
    return out


def line(name: str, errors: NDArray[np.float64], groups: int) -> str:
    ape = np.abs(np.expm1(errors))
    parts = [f"{np.median(ape[:, j]):>7.1%} {ape[:, j].mean():>7.1%}" for j in range(3)]
    return f"{name:<34}{len(errors):>5}{groups:>5}  " + "  ".join(parts)


def report(
    steady: Table,
    window: Table,
    priors: Sequence[Mapping[str, Prior]],
    names: Sequence[str],
    in_window: frozenset[str],
    older: Table,
    older_prior: Mapping[str, Prior],
    older_name: str,
) -> None:
    """Print every table: of the platforms fitted together, each as its profile reads its rows, and of the older one."""
    fits = {False: fit_phase(steady, priors), True: fit_phase(window, priors)}
    print(f"{'left out':<34}{'rows':>5}{'n':>5}   power: median, mean; token gap: median, mean; J/token: median, mean")
    rivals = baselines(steady, steady.group)
    for at, gpu in enumerate(names):
        read = gpu in in_window
        rows = window if read else steady
        _architectures(rows, priors, fits[read], at, gpu)
        for name, errors in rivals.items():
            mine = rows.platform == at
            print(line(f"{gpu} architecture: {name}", errors[mine], len(np.unique(rows.group[mine]))))
        other = left_out(steady if read else window, priors, start=fits[not read])[rows.platform == at]
        how = "rows as steady" if read else "rows by window"
        print(line(f"{gpu} architecture, {how}", other, len(np.unique(rows.group[rows.platform == at]))))
    after = left_out_after(older, older_prior, steady, priors, fits[False])
    print(line(f"{older_name} architecture", after, len(np.unique(older.group))))
    for name, errors in baselines(older, older.group).items():
        print(line(f"{older_name} architecture: {name}", errors, len(np.unique(older.group))))
    for at, gpu in enumerate(names):
        rows = window if gpu in in_window else steady
        seen = rows.platform != at
        other = fit_phase(rows.rows(seen), priors, fits[gpu in in_window])
        held = rows.rows(~seen)
        print(line(f"{gpu} GPU, from the others", columns(*other.errors(held)), len(np.unique(held.group))))
    print(
        "\nintervals, calibrated without the scored architecture: covered [95 % of resampled architectures], half-width"
    )
    for read in sorted({gpu in in_window for gpu in names}):
        rows = window if read else steady
        _coverage(rows, priors, {at: g for at, g in enumerate(names) if (g in in_window) == read}, fits[read])


def _architectures(rows: Table, priors: Sequence[Mapping[str, Prior]], fit: PhaseFit, at: int, gpu: str) -> None:
    """Print the errors of one platform, all rows and by kind."""
    ids = np.array([p.model.name for p in rows.points])
    errors, mine = left_out(rows, priors, start=fit), rows.platform == at
    kinds = np.array([p.model.is_moe for p in rows.points])
    parts = {
        "": mine,
        ", dense": mine & ~kinds,
        ", experts": mine & kinds,
        ", no completion": mine & (np.array([p.task for p in rows.points]) != "sourcegraph-fim"),
        ", no slow path": mine & (rows.slow == 0),
    }
    for words, part in parts.items():
        if not words or part.sum() < mine.sum():
            print(line(f"{gpu} architecture{words}", errors[part], len(np.unique(rows.group[part]))))
    print(line(f"{gpu} id", left_out(rows, priors, ids, fit)[mine], len(np.unique(ids[mine]))))


def _coverage(rows: Table, priors: Sequence[Mapping[str, Prior]], boards: Mapping[int, str], fit: PhaseFit) -> None:
    errors, widths = left_out(rows, priors, start=fit), nested(rows, priors, fit)
    parametric = np.empty_like(errors)
    for name in np.unique(rows.group):
        held = rows.group == name
        parametric[held] = parametric_sd(fit_phase(rows.rows(~held), priors, fit), rows.rows(held))
    between = parametric**2 + widths.group_sd**2
    wide = {
        "conformal 90 %": widths.half_width,
        "parametric 95 %": Z95 * np.sqrt(between + widths.within_sd**2),
        "  architecture only": Z95 * np.sqrt(between),
    }
    for at, gpu in boards.items():
        mine = rows.platform == at
        for how, half in wide.items():
            found = [coverage(errors[mine, j], half[mine, j], rows.group[mine]) for j in range(3)]
            said = "  ".join(
                f"{kind} {c.covered:>6.1%} [{c.lo:.0%}, {c.hi:.0%}] ±{c.median_half_width:.0%}"
                for kind, c in zip(KINDS, found, strict=True)
            )
            print(f"{gpu:<10} {how:<20} {said}")
