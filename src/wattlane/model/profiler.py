"""The profiler's table (S4): class × load × knobs, every cell marked measured or modelled, and what lies between.

    class      prompt and answer lengths: {S, M, L} × {S, M, L}
    load       sequences that run together
    knobs      tensor parallelism, precision, clock

Cells are predictions of `wattlane.model.predict_table`. Where a campaign has measured the same knobs at about the same
lengths and load, its means replace them, quantity by quantity, and their `_origin` reads "measured". Clocks and caps
are never measured here.

Between cells, `interpolate` is a parabola in logarithms along load, lengths and clock. What that costs is tested on a
synthetic law that is not the one shipped: a table of the law, asked at points it does not hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import Model
from wattlane.core.files import read_parquet
from wattlane.core.types import Origin
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.model.predict import UNITS
from wattlane.model.predict_file import write_predictions
from wattlane.model.predict_rows import GPU_MEMORY_UTILIZATION
from wattlane.model.predict_table import predict_table
from wattlane.model.profile import Profile, draw, profile_for

# Representative lengths of the classes, the middle of each on a logarithmic scale: bounds of 256, 1024, 8192 tokens in
# and 100, 350 out, which notes on DynamoLLM (arXiv 2408.00741) give; unverified.
INPUT_TOKENS = {"S": 128, "M": 512, "L": 2896}
OUTPUT_TOKENS = {"S": 50, "M": 187, "L": 592}
BETWEEN = (256, 1216)  # prompts between the classes, without a class: prefill bends where its weights stop to matter
LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CLOCK_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)
NEAR_LENGTH, NEAR_LOAD = 1.25, 1.25  # a measured run stands for a cell up to these factors away
MEASURED = ("power_w", "itl_s", "ttft_s", "tokens_per_s", "energy_j_per_output_token")
AXES = ("batch", "input_tokens", "output_tokens", "clock_hz")

Floats = NDArray[np.float64]


def grid(
    case: Case,
    *,
    loads: Sequence[float] = LOADS,
    tensor_parallel: Sequence[int] | None = None,
    precisions: Sequence[str] | None = None,
    clock_shares: Sequence[float] = CLOCK_SHARES,
) -> pl.DataFrame:
    """Return the cells of the table as cases for `predict_table`; `case` gives model and GPU.

    Cells with prompts between the classes have a null class: they are there for `interpolate`.
    """
    board = case.gpu
    clocks = sorted({max(share * board.clock_max_hz, board.clock_min_hz) for share in clock_shares})
    prompts = {**{str(n): ("", n) for n in BETWEEN}, **{i: (i, n) for i, n in INPUT_TOKENS.items()}}
    rows = [
        {
            "class": f"{prompts[i][0]}{o}" if prompts[i][0] else None,
            "model": case.model.name,
            "gpu": board.name,
            "tp": tp,
            "precision": precision,
            "clock_hz": clock,
            "batch": float(load),
            "input_tokens": float(prompts[i][1]),
            "output_tokens": float(OUTPUT_TOKENS[o]),
        }
        for i, o, load, tp, precision, clock in itertools.product(
            prompts,
            OUTPUT_TOKENS,
            loads,
            tensor_parallel or (case.tensor_parallel,),
            precisions or (case.precision,),
            clocks,
        )
    ]
    return pl.DataFrame(rows, schema_overrides={"class": pl.String}).sort(
        "tp", "precision", "class", "batch", "clock_hz", nulls_last=True
    )


def profiler_table(
    cells: pl.DataFrame,
    *,
    profile: Profile | None = None,
    runs: Sequence[Path] = (),
    models: Mapping[str, Model] | None = None,
) -> pl.DataFrame:
    """Return the table: every cell with the quantities of `predict_table`, each with its `_origin`.

    Args:
        cells: of `grid`, or any cases with classes.
        profile: asked instead of the shipped one of its GPU.
        runs: folders of campaigns whose measured trials replace modelled values.
        models: geometries by name, asked before the catalogue.

    Raises:
        InputError: a campaign without the columns that are needed.
    """
    table = predict_table(cells, profile=profile, models=models).table
    known = pl.col("refused").is_null()
    marks = [
        pl.when(known)
        .then(pl.lit(Origin.MODELLED.value))
        .otherwise(pl.lit(Origin.ABSENT.value))
        .alias(f"{name}_origin")
        for name in UNITS
    ]
    table = table.with_columns(*marks, pl.lit(0, dtype=pl.Int64).alias("trials"))
    measured = [_trials(run) for run in runs]
    return _overridden(table, pl.concat(measured)) if measured else table


def _trials(run: Path) -> pl.DataFrame:
    """Return the measured trials of a campaign in the columns of the table."""
    path = run / "campaign.parquet" if run.is_dir() else run
    needed = ("status", "boundary", "batch_mean", "requests", "failed", "input_tokens", "output_tokens", "window_s")
    table = read_parquet(
        path, "campaign", (*needed, "power_w", "output_tokens_per_s", "ttft_p50_s", "engine", "target")
    )
    done = table.filter(
        (pl.col("status") == "measured") & (pl.col("boundary") == "gpu") & pl.col("power_w").is_not_null()
    )
    served = pl.col("requests") - pl.col("failed")
    return done.select(
        batch=pl.col("batch_mean"),
        input_tokens=pl.col("input_tokens") / served,
        output_tokens=pl.col("output_tokens") / served,
        power_w=pl.col("power_w"),
        itl_s=pl.col("batch_mean") / pl.col("output_tokens_per_s"),
        ttft_s=pl.col("ttft_p50_s"),
        tokens_per_s=pl.col("output_tokens_per_s"),
        energy_j_per_output_token=pl.col("power_w") / pl.col("output_tokens_per_s"),
        engine=pl.col("engine"),
    )


def _overridden(table: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """Return `table` with the means of the trials that stand for a cell in place of what was modelled."""
    highest = table["clock_hz"].max()
    columns = {name: table[name].to_list() for name in (*MEASURED, "trials")}
    ends = {name: ([*table[f"{name}_lo"]], [*table[f"{name}_hi"]], [*table[f"{name}_origin"]]) for name in MEASURED}
    engines = [_knobs(text) for text in trials["engine"].to_list()]
    for row, cell in enumerate(table.iter_rows(named=True)):
        if cell["clock_hz"] is not None and cell["clock_hz"] != highest:
            continue  # clocks are modelled
        wanted = (cell["model"].rpartition("/")[2].lower(), cell["precision"] or "bf16", int(cell["tp"] or 1))
        mine = [i for i, found in enumerate(engines) if found == wanted and _near(cell, trials.row(i, named=True))]
        if not mine:
            continue
        columns["trials"][row] = len(mine)
        for name in MEASURED:
            values = trials[name][mine].drop_nulls().to_numpy()
            if not len(values):
                continue
            spread = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else None
            mean, (lo, hi, origin) = float(values.mean()), ends[name]
            columns[name][row], origin[row] = mean, Origin.MEASURED.value
            lo[row], hi[row] = (None, None) if spread is None else (mean - spread, mean + spread)
    added = [pl.Series(name, values) for name, values in columns.items()]
    for name, (lo, hi, origin) in ends.items():
        added += [
            pl.Series(f"{name}_lo", lo, dtype=pl.Float64),
            pl.Series(f"{name}_hi", hi, dtype=pl.Float64),
            pl.Series(f"{name}_origin", origin),
        ]
    return table.with_columns(added)


def _knobs(engine: str) -> tuple[str, str, int]:
    """Return (model, precision, tensor parallelism) of a trial, from its engine's description."""
    import json

    body = json.loads(engine)
    options = body.get("options", {})
    width = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", None: "bf16", "auto": "bf16"}
    precision = body.get("quantization") or width.get(body.get("compute_dtype"), "bf16")
    return (
        str(body.get("model", "")).rpartition("/")[2].lower(),
        precision,
        int(options.get("tensor_parallel_size", 1)),
    )


def _near(cell: dict[str, float], trial: dict[str, float]) -> bool:
    lengths = ("input_tokens", "output_tokens")
    if not trial["batch"]:
        return False
    return abs(np.log(trial["batch"] / cell["batch"])) <= np.log(NEAR_LOAD) and all(
        abs(np.log(trial[name] / cell[name])) <= np.log(NEAR_LENGTH) for name in lengths
    )


@dataclass(frozen=True, slots=True)
class InterpolationError:
    """Relative errors of a table asked between its cells: median, 95th percentile and largest, by quantity."""

    median: dict[str, float]
    p95: dict[str, float]
    largest: dict[str, float]
    points: int


def interpolate(table: pl.DataFrame, asked: pl.DataFrame, quantity: str) -> Floats:
    """Return `quantity` at the rows of `asked`, (n,), a parabola in logarithms along each axis of one set of knobs.

    Args:
        table: cells that form a full grid over `AXES`; a null clock is not allowed.
        asked: columns `AXES`, inside the grid.
        quantity: a column of `table` without nulls.

    Raises:
        InputError: the cells are no full grid, values are missing, or a question lies outside.
    """
    levels = [np.sort(table[axis].unique().to_numpy()) for axis in AXES]
    size = int(np.prod([len(values) for values in levels]))
    if len(table) != size or table[quantity].null_count():
        raise InputError(
            f"interpolate: found {len(table) - table[quantity].null_count()} cells with {quantity}; expected the "
            f"{size} of a full grid over {', '.join(AXES)}; leave out loads that do not fit"
        )
    values = np.log(table.sort(AXES)[quantity].to_numpy()).reshape([len(level) for level in levels])
    places, weights = [], []
    for axis, level in zip(AXES, levels, strict=True):
        x = asked[axis].to_numpy().astype(np.float64)
        if (x < level[0] * (1 - 1e-9)).any() or (x > level[-1] * (1 + 1e-9)).any():
            raise InputError(f"interpolate: {axis} outside [{level[0]:g}, {level[-1]:g}]")
        where, share = _lagrange(np.log(level), np.log(x))
        places.append(where)
        weights.append(share)
    out = np.zeros(len(asked))
    for corner in itertools.product(*(range(len(share)) for share in weights)):
        share = np.prod([w[i] for w, i in zip(weights, corner, strict=True)], axis=0)
        out += share * values[tuple(where[i] for where, i in zip(places, corner, strict=True))]
    return np.asarray(np.exp(out))


def _lagrange(level: Floats, x: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the places and weights, (k, n), of the parabola through the k = 3 levels nearest each x (fewer of few)."""
    count = min(len(level), 3)
    low = np.clip(np.searchsorted(level, x) - 1, 0, len(level) - count)
    # of the two parabolas over an interval the one whose further level is nearer
    if count == 3:
        left = np.maximum(low - 1, 0)
        nearer = np.abs(x - level[left]) < np.abs(level[np.minimum(low + 2, len(level) - 1)] - x)
        low = np.where(nearer, left, low)
    places = low + np.arange(count)[:, None]
    weights = np.ones((count, len(x)))
    for i in range(count):
        for j in range(count):
            if i != j:
                weights[i] *= (x - level[places[j]]) / (level[places[i]] - level[places[j]])
    return places, weights


def _between(level: Floats, count: int, rng: np.random.Generator) -> Floats:
    low, high = np.log(level.min()), np.log(level.max())
    return np.asarray(np.exp(rng.uniform(low, high, count)))


def interpolation_error(
    case: Case, *, profile: Profile | None = None, points: int = 400, seed: int = 0
) -> InterpolationError:
    """Return what interpolating a table costs on a synthetic law that is held out.

    The law is a seeded draw of everything uncertain about the profile's, so that its bends lie elsewhere. The table
    holds it at the cells of `grid` that fit; it is asked at `points` places drawn inside.
    """
    rng = np.random.default_rng(seed)
    known = profile or profile_for(case.gpu)
    one = draw(known, case, rng)
    family = replace(known.family(case), parameters=one.parameters)
    kind = "moe" if case.model.is_moe else "dense"
    law = replace(known, families={**known.families, kind: family})
    asked_of = {case.model.name: case.model}
    cells = predict_table(grid(case), profile=law, models=asked_of).table
    full = [load for load in LOADS if not cells.filter(pl.col("batch") == load)["refused"].is_not_null().any()]
    cells = cells.filter(pl.col("batch").is_in([float(load) for load in full]))
    asked = pl.DataFrame(
        {axis: _between(cells[axis].to_numpy(), points, rng) for axis in AXES}
    ).with_columns(
        pl.lit(case.model.name).alias("model"), pl.lit(case.gpu.name).alias("gpu"),
        pl.lit(case.precision).alias("precision"), pl.lit(case.tensor_parallel).alias("tp"),
    )  # fmt: skip
    truth = predict_table(asked, profile=law, models=asked_of).table
    errors = {name: np.abs(interpolate(cells, asked, name) / truth[name].to_numpy() - 1.0) for name in UNITS}
    return InterpolationError(
        {name: float(np.median(e)) for name, e in errors.items()},
        {name: float(np.quantile(e, 0.95)) for name, e in errors.items()},
        {name: float(e.max()) for name, e in errors.items()},
        points,
    )


def write_profiler_table(
    name: str,
    board: str,
    out: Path,
    *,
    precisions: Sequence[str] = ("bf16",),
    parallel: Sequence[int] = (1,),
    runs: Sequence[Path] = (),
    profile: Path | None = None,
) -> dict[str, Any]:
    """Write the table of a model on a GPU to `out`; return counts and what interpolating it costs.

    Raises:
        InputError: a name, a campaign, the profile or the suffix of `out` is wrong, or nothing fits.
    """
    card, geometry = gpu(board), resolve_model(name)
    known = chosen_profile(card, profile)
    case = Case(card, geometry, precisions[0], parallel[0])
    cells = grid(case, precisions=precisions, tensor_parallel=parallel)
    table = profiler_table(cells, profile=known, runs=runs, models={geometry.name: geometry})
    write_predictions(table, out)
    refused = int(table["refused"].is_not_null().sum())
    if refused == len(table):
        raise InputError(f"show table: no cell fits; {table['refused'][0]}")
    fits = [one for one in (replace(case, tensor_parallel=n) for n in parallel) if _holds(one)]
    errors = interpolation_error(fits[0], profile=known).p95 if fits else {}
    return {
        "cells": len(table),
        "measured": int((table["trials"] > 0).sum()),
        "refused": refused,
        "interpolation_p95": errors,
    }


def _holds(case: Case) -> bool:
    try:
        return case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION) > 4 * max(INPUT_TOKENS.values())
    except InputError:
        return False
