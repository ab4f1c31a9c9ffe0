"""Measured points from a user's own runs: folders of measurements, simulated days, or a log with a power record.

A folder of `wattlane measure` or of a campaign gives one point a valid run: mean batch, gap and lengths from its
`served.parquet`, watts from its measured energy over its window. A request log with a power record (watts of all GPUs
of one replica over time) is cut into windows; each window in which the batch hardly changes is a point:

    batch = Σ time between first and last token / window        itl = that time / tokens made in it
    power = mean of the record in the window

Tokens of a request lie evenly between its first and its last. What is not used is counted with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import PRECISION_BYTES
from wattlane.core.facts.models import Model
from wattlane.core.files import existing, read_json, read_parquet
from wattlane.model.calibration import Point, architecture
from wattlane.model.laws.phase import Case

LOG_COLUMNS = ("first_token_s", "end_s", "input_tokens", "output_tokens")
TIMES = ("t_s", "time_s", "timestamp_s", "read_s")
WINDOW_S = 10.0
STEADY = 0.5  # least share of a window's mean batch at which its batch may stand at its lowest
FEWEST_TOKENS = 50.0
WIDTHS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its name and points."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs that gave points, and why the others gave none (reason → count)."""

    runs: tuple[Run, ...]
    left_out: dict[str, int]

    @property
    def points(self) -> tuple[Point, ...]:
        """All points."""
        return tuple(p for run in self.runs for p in run.points)


@dataclass(frozen=True, slots=True)
class Given:
    """What the files may not say: the replica that ran, used where a run does not say otherwise."""

    case: Case
    window_s: float = WINDOW_S


def read_runs(paths: Sequence[Path], given: Given, *, power: Path | None = None) -> Runs:
    """Return the points of all runs at `paths`.

    Args:
        paths: folders that hold measurement.json (of a measurement or a campaign) or served.parquet with
            power.parquet, at any depth; or request logs (.parquet, .csv, .jsonl), with `power`.
        given: the replica.
        power: the power record of a single request log.

    Raises:
        InputError: nothing to read there, or a log without a power record.
        FileFormatError: a file that cannot be trusted.
    """
    runs, left_out = list[Run](), dict[str, int]()

    def kept(name: str, points: Sequence[Point], reason: str) -> None:
        if points:
            runs.append(Run(name, tuple(points)))
        else:
            left_out[reason] = left_out.get(reason, 0) + 1

    for path in paths:
        if path.is_file():
            if power is None:
                raise InputError(f"{path}: a request log says nothing of power; give its record with --power FILE")
            points = windows(_log(path), _record(power), given)
            kept(path.name, points, "no window with a steady batch")
            continue
        if not path.is_dir():
            raise InputError(f"{path}: no such file or folder; expected a run, a campaign or a request log")
        files = sorted(path.rglob("measurement.json"))
        for file in files:
            found = _measured(file, given)
            kept(str(file.parent.relative_to(path.parent)), found[0], found[1])
        if not files:
            for file in sorted(path.rglob("served.parquet")):
                if (file.parent / "power.parquet").is_file():
                    points = windows(_log(file), _record(file.parent / "power.parquet"), given)
                    kept(str(file.parent.relative_to(path.parent)), points, "no window with a steady batch")
    if not runs:
        why = "; ".join(f"{count} x {reason}" for reason, count in left_out.items()) or "no runs there"
        raise InputError(
            f"calibrate: found no usable run in {', '.join(map(str, paths))} ({why}); expected measured runs with "
            "GPU energy, or a request log with a power record"
        )
    return Runs(tuple(runs), left_out)


def _table(path: Path) -> pl.DataFrame:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return read_parquet(path)
        return pl.read_csv(existing(path)) if suffix == ".csv" else pl.read_ndjson(existing(path))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not a readable table ({error})") from error


def _log(path: Path) -> pl.DataFrame:
    table = _table(path)
    missing = [name for name in LOG_COLUMNS if name not in table.columns]
    if missing:
        raise FileFormatError(
            f"{path}: missing columns {', '.join(missing)}; expected {', '.join(LOG_COLUMNS)} in seconds and tokens"
        )
    if "outcome" in table.columns:
        table = table.filter(pl.col("outcome") == "completed")
    done = table.select(pl.col(LOG_COLUMNS).cast(pl.Float64, strict=False)).drop_nulls()
    return done.filter((pl.col("output_tokens") >= 2) & (pl.col("end_s") > pl.col("first_token_s")))


def _record(path: Path) -> pl.DataFrame:
    table = _table(path)
    time = next((name for name in TIMES if name in table.columns), None)
    if time is None or "power_w" not in table.columns:
        raise FileFormatError(
            f"{path}: found {', '.join(table.columns)}; expected power_w and one of {', '.join(TIMES)}"
        )
    if "run" in table.columns and table["run"].n_unique() > 1:
        raise FileFormatError(f"{path}: holds several runs ({', '.join(table['run'].unique())}); expected one")
    return table.select(t_s=pl.col(time).cast(pl.Float64), power_w=pl.col("power_w").cast(pl.Float64)).sort("t_s")


def windows(log: pl.DataFrame, record: pl.DataFrame, given: Given) -> list[Point]:
    """Return a point for each window of a log and its power record in which the batch is steady."""
    if log.is_empty() or record.is_empty():
        return []
    first, end, prompt, output = (log[name].to_numpy() for name in LOG_COLUMNS)
    start_s, stop_s = max(first.min(), record["t_s"][0]), min(end.max(), record["t_s"][-1])
    count = int((stop_s - start_s) / given.window_s)
    found = []
    for i in range(count):
        low = start_s + i * given.window_s
        power = record.filter(pl.col("t_s").is_between(low, low + given.window_s, closed="left"))["power_w"]
        if power.is_empty():
            continue
        one = _point(
            first, end, prompt, output, (low, low + given.window_s), float(np.mean(power.to_numpy())), given.case
        )
        if one is not None:
            found.append(one)
    return found


def _point(
    first: Floats, end: Floats, prompt: Floats, output: Floats, span: tuple[float, float], power_w: float, case: Case
) -> Point | None:
    low, high = span
    overlap = np.clip(np.minimum(end, high) - np.maximum(first, low), 0.0, None)
    tokens = float(np.sum(overlap * (output - 1.0) / (end - first)))
    edges = np.linspace(low, high, 21)
    running = [np.count_nonzero((first <= t) & (end > t)) for t in edges]
    batch = float(overlap.sum()) / (high - low)
    if tokens < FEWEST_TOKENS or not power_w > 0 or batch < 1.0 or min(running) < STEADY * batch:
        return None
    started = (first >= low) & (first < high)
    # the prompts that were prefilled here; where too few began, those of the running requests
    weight = started.astype(float) if np.count_nonzero(started) >= 5 else overlap
    return _made(case, batch, float(overlap.sum()) / tokens, power_w, (prompt, output, weight))


def _made(case: Case, batch: float, itl_s: float, power_w: float, lengths: tuple[Floats, Floats, Floats]) -> Point:
    prompt, output, weight = lengths
    return Point(
        gpu=case.gpu,
        model=case.model,
        precision=case.precision,
        num_gpus=case.tensor_parallel,
        batch=float(batch),
        output_tokens=float(np.average(output, weights=weight)),
        itl_s=float(itl_s),
        power_w=float(power_w),
        task="own",
        group=architecture(case.model),
        input_tokens=float(np.average(prompt, weights=weight)),
    )


def _measured(file: Path, given: Given) -> tuple[list[Point], str]:
    """Return the point of one measurement, or why it gives none."""
    body = read_json(file, "measurement")
    energy = body["energy"]
    if not body["valid"] or not body["complete"]:
        return [], "not valid or not complete"
    if energy["energy_j"] is None or energy["status"] != "measured" or energy["boundary"] != "gpu":
        return [], f"no measured GPU energy ({energy['status']}, boundary {energy['boundary']})"
    case = _case_of(body["engine"], given.case)
    if isinstance(case, str):
        return [], case
    log = _log(file.parent / "served.parquet")
    if log.is_empty():
        return [], "no completed request with two tokens or more"
    first, end, prompt, output = (log[name].to_numpy() for name in LOG_COLUMNS)
    busy = end - first
    tokens = float(np.sum(output - 1.0))
    passes = float(body.get("passes", 1) or 1)
    window_s = float(body["window_s"]) / passes
    batch = max(float(busy.sum()) / window_s, 1.0)
    lengths = (prompt, output, np.ones_like(prompt))
    return [_made(case, batch, float(busy.sum()) / tokens, energy["energy_j"] / body["window_s"], lengths)], ""


def _case_of(engine: dict[str, Any], given: Case) -> Case | str:
    """Return the replica that ran, or why it is not known."""
    options = engine.get("options") or {}
    name, known = str(engine.get("model") or ""), given.model
    if name and not engine.get("random_weights"):
        try:
            known = resolve_model(name)
        except (UnknownNameError, InputError):
            known = given.model
        if known.name != given.model.name and not _same(known, given.model):
            return f"another model ({known.name})"
    precision = engine.get("quantization") or WIDTHS.get(str(engine.get("compute_dtype")), given.precision)
    if precision not in PRECISION_BYTES:
        return f"precision {precision} is not one of {', '.join(PRECISION_BYTES)}"
    gpus = int(options.get("tensor_parallel_size", given.tensor_parallel))
    return Case(given.gpu, known, precision, gpus)


def _same(one: Model, two: Model) -> bool:
    return architecture(one) == architecture(two)
