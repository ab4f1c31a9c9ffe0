"""Errors and coverage of the phase law on what its fit never saw, beside a boosted tree and the median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wattlane.model.fit_phase import Prior, Table, fit_phase
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


def _line(name: str, errors: NDArray[np.float64], groups: int) -> str:
    ape = np.abs(np.expm1(errors))
    parts = [f"{np.median(ape[:, j]):>7.1%} {ape[:, j].mean():>7.1%}" for j in range(3)]
    return f"{name:<34}{len(errors):>5}{groups:>5}  " + "  ".join(parts)


def report(
    rows: Table,
    priors: Sequence[Mapping[str, Prior]],
    names: Sequence[str],
    older: Table,
    older_prior: Mapping[str, Prior],
    older_name: str,
) -> None:
    """Print every table: of the platforms fitted together, and of the older one fitted after them."""
    fit = fit_phase(rows, priors)
    ids = np.array([p.model.name for p in rows.points])
    by_architecture = left_out(rows, priors, start=fit)
    by_id = left_out(rows, priors, ids, fit)
    rivals = baselines(rows, rows.group)
    widths = nested(rows, priors, fit)
    print(f"{'left out':<34}{'rows':>5}{'n':>5}   power: median, mean; token gap: median, mean; J/token: median, mean")
    for at, gpu in enumerate(names):
        mine = rows.platform == at
        timed = mine & (np.array([p.task for p in rows.points]) != "sourcegraph-fim")
        fast = mine & (rows.slow == 0)
        kinds = np.array([p.model.is_moe for p in rows.points])
        n = len(np.unique(rows.group[mine]))
        print(_line(f"{gpu} architecture", by_architecture[mine], n))
        print(
            _line(
                f"{gpu} architecture, dense", by_architecture[mine & ~kinds], len(np.unique(rows.group[mine & ~kinds]))
            )
        )
        print(
            _line(
                f"{gpu} architecture, experts", by_architecture[mine & kinds], len(np.unique(rows.group[mine & kinds]))
            )
        )
        if timed.sum() < mine.sum():
            print(
                _line(f"{gpu} architecture, no completion", by_architecture[timed], len(np.unique(rows.group[timed])))
            )
        if fast.sum() < mine.sum():
            print(_line(f"{gpu} architecture, no slow path", by_architecture[fast], len(np.unique(rows.group[fast]))))
        print(_line(f"{gpu} id", by_id[mine], len(np.unique(ids[mine]))))
        for name, errors in rivals.items():
            print(_line(f"{gpu} architecture: {name}", errors[mine], n))
    after = left_out_after(older, older_prior, rows, priors, fit)
    print(_line(f"{older_name} architecture", after, len(np.unique(older.group))))
    for name, errors in baselines(older, older.group).items():
        print(_line(f"{older_name} architecture: {name}", errors, len(np.unique(older.group))))
    for at, gpu in enumerate(names):
        seen = rows.platform != at
        other = fit_phase(rows.rows(seen), priors, fit)
        held = rows.rows(~seen)
        print(_line(f"{gpu} GPU, from the others", columns(*other.errors(held)), len(np.unique(held.group))))
    _coverage(rows, priors, names, by_architecture, widths.half_width, widths.group_sd)


def _coverage(
    rows: Table,
    priors: Sequence[Mapping[str, Prior]],
    names: Sequence[str],
    errors: NDArray[np.float64],
    half_width: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    parametric = np.empty_like(errors)
    for name in np.unique(rows.group):
        held = rows.group == name
        parametric[held] = parametric_sd(fit_phase(rows.rows(~held), priors), rows.rows(held))
    wide = {"conformal 90 %": half_width, "parametric 95 %": Z95 * np.sqrt(parametric**2 + spread**2)}
    print(
        "\nintervals, calibrated without the scored architecture: covered [95 % of resampled architectures], half-width"
    )
    for at, gpu in enumerate(names):
        mine = rows.platform == at
        for how, widths in wide.items():
            found = [coverage(errors[mine, j], widths[mine, j], rows.group[mine]) for j in range(3)]
            said = "  ".join(
                f"{kind} {c.covered:>6.1%} [{c.lo:.0%}, {c.hi:.0%}] ±{c.median_half_width:.0%}"
                for kind, c in zip(KINDS, found, strict=True)
            )
            print(f"{gpu:<10} {how:<16} {said}")
