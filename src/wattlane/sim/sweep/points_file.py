"""The points of a sweep as a file: a TOML whose lists multiply, or a CSV with one row a point.

Every key is a setting of `Setting`; a key `law.NAME` multiplies a coefficient of `wattlane.model.iteration` by a
factor. Prices and carbon are numbers or the name of a CSV with columns `t_s` and `per_kwh`, a step function of the
workload's time. All that is wrong with a file is said at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu as gpu_named
from wattlane.core.files import existing
from wattlane.core.sections import Section, in_words, read_table
from wattlane.core.types import Deployment
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.sim.sweep.points import Floats, Point, Step

J_PER_KWH = 3.6e6
LISTED = 20
Laws = dict[tuple[object, ...], Floats]
LAW = "law."
COEFFICIENTS = (
    "host_s", "host_per_seq_s", "layer_s", "comm_s", "comm_per_token_s", "seq_s", "expert_s", "expert_token_s",
    "weight_bytes_per_s", "kv_bytes_per_s", "flop_per_s", "attention_flop_per_s",
    "static_w", "host_less_w", "layer_less_w", "idle_w", "limit_w",
    "byte_j", "flop_j", "seq_j", "expert_j", "expert_token_j",
)  # fmt: skip


class Setting(Section):
    """One point. Limits left out are the engine's defaults; watts are of one GPU."""

    model: str
    gpu: str = "H100"
    precision: str = "bf16"
    tensor_parallel: int = Field(default=1, ge=1)
    replicas: int = Field(default=1, ge=1)
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    clock_mhz: float | None = Field(default=None, gt=0)
    power_cap_w: float | None = Field(default=None, gt=0)
    release_window_s: float = Field(default=0.0, ge=0)
    idle_w: float | None = Field(default=None, ge=0)
    park_after_s: float | None = Field(default=None, ge=0)
    park_w: float = Field(default=0.0, ge=0)
    usd_per_kwh: float | str | None = None
    gco2e_per_kwh: float | str | None = None


def read_points(
    path: Path, given: Mapping[str, Any] | None = None, profile: Path | None = None
) -> tuple[list[Point], list[dict[str, Any]]]:
    """Return the points of a file and the settings of each; `given` are settings of all points, above the file's.

    Raises:
        FileFormatError: no CSV.
        InputError: no TOML, unknown keys, values out of place, names unknown, or weights that do not fit.
    """
    rows = _table(path) if path.suffix == ".csv" else _product(path)
    points, settings, problems = [], [], []
    laws: Laws = {}
    for number, (name, row) in enumerate(rows, 1):
        asked = {**row, **(given or {})}
        try:
            points.append(_point(name or str(number), asked, path.parent, profile, laws))
            settings.append(asked)
        except ValidationError as refused:
            problems += [f"point {name or number}: {words}" for words in in_words(refused, Setting)]
        except InputError as problem:
            problems.append(f"point {name or number}: {problem}")
    if not points and not problems:
        raise InputError(f"{path}: found no points; expected at least one")
    if problems:
        more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise InputError.gathered(str(path), [*problems[:LISTED], *more])
    return points, settings


def _product(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and the settings of every combination of the lists of a TOML file."""
    body = read_table(path, "docs/concepts/sweeps.md")
    if isinstance(law := body.get("law"), dict):
        del body["law"]
        body |= {LAW + key: value for key, value in law.items()}
    lists = {key: value for key, value in body.items() if isinstance(value, list)}
    for chosen in itertools.product(*lists.values()):
        varied = dict(zip(lists, chosen, strict=True))
        yield ",".join(f"{key}={value}" for key, value in varied.items()), {**body, **varied}


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and the settings of every row of a CSV file; empty fields are left out."""
    try:
        frame = pl.read_csv(existing(path), infer_schema_length=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as problem:
        raise FileFormatError(f"{path}: not a readable CSV ({problem})") from problem
    for row in frame.iter_rows(named=True):
        found = {key: value for key, value in row.items() if value is not None}
        yield str(found.pop("name", "")), found


def _point(name: str, asked: Mapping[str, Any], folder: Path, profile: Path | None, laws: Laws) -> Point:
    factors = {key.removeprefix(LAW): value for key, value in asked.items() if key.startswith(LAW)}
    s = Setting.model_validate({key: value for key, value in asked.items() if not key.startswith(LAW)})
    board = gpu_named(s.gpu)
    clock_hz = None if s.clock_mhz is None else s.clock_mhz * 1e6
    case = Case(board, resolve_model(s.model), s.precision, s.tensor_parallel, clock_hz)
    defaults = engine_defaults("vllm", board)
    budget = s.max_num_batched_tokens or defaults.max_num_batched_tokens
    memory = s.gpu_memory_utilization or defaults.gpu_memory_utilization
    deployment = Deployment(
        case.model.name,
        board.name,
        s.precision,
        s.tensor_parallel,
        replicas=s.replicas,
        max_num_seqs=s.max_num_seqs or min(defaults.max_num_seqs, budget),
        max_num_batched_tokens=budget,
        gpu_memory_utilization=memory,
        clock_hz=clock_hz,
        power_cap_w=s.power_cap_w,
        release_window_s=s.release_window_s,
    )
    law = _law(s, case, profile, laws)
    for key, factor in factors.items():
        law[_coefficient(key)] *= _factor(key, factor)
    return Point(
        name,
        deployment,
        law,
        case.kv_capacity_tokens(memory),
        defaults.kv_block_tokens,
        math.inf if s.park_after_s is None else s.park_after_s,
        s.tensor_parallel * s.park_w,
        _series(s.usd_per_kwh, folder),
        _series(s.gco2e_per_kwh, folder),
    )


def _law(s: Setting, case: Case, profile: Path | None, laws: Laws) -> Floats:
    """Return the coefficients of a replica, with the power limit and the idle watts that hold in it."""
    key = (s.gpu, s.model, s.precision, s.tensor_parallel, s.clock_mhz)
    if key not in laws:
        laws[key] = chosen_profile(case.gpu, profile).law(case)
    law = laws[key].copy()
    if s.power_cap_w is not None:
        law[it.LIMIT_W] = min(law[it.LIMIT_W], s.tensor_parallel * s.power_cap_w)
    if s.idle_w is not None:
        law[it.IDLE_W] = s.tensor_parallel * s.idle_w
    return law


def _coefficient(name: str) -> int:
    if name not in COEFFICIENTS:
        raise InputError(f"{LAW}{name} is no coefficient; expected one of {', '.join(COEFFICIENTS)}")
    return int(getattr(it, name.upper()))


def _factor(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and value > 0):
        raise InputError(f"{LAW}{name} is {value!r}; expected a factor above 0")
    return float(value)


def _series(asked: float | str | None, folder: Path) -> Step | None:
    """Return a price or carbon intensity per joule: one number for all time, or the steps of a file."""
    if asked is None:
        return None
    try:
        return Step(np.zeros(1), np.array([float(asked) / J_PER_KWH]))
    except ValueError:
        path = folder / str(asked)
    try:
        frame = pl.read_csv(existing(path))
        return Step(frame["t_s"].cast(pl.Float64).to_numpy(), frame["per_kwh"].cast(pl.Float64).to_numpy() / J_PER_KWH)
    except pl.exceptions.PolarsError as problem:
        raise FileFormatError(f"{path}: {problem}; expected numbers in the columns t_s and per_kwh") from problem
