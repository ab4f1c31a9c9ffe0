"""Many predictions by table: one row a case, one row out, refused rows with their reasons.

Columns in (others are carried through):

    model or model_config       name in the catalogue, or path of a config.json, relative to the table's folder
    gpu, batch, output_tokens   batch is over the whole deployment
    num_gpus, tp, pp, ep, dp    tp, pp (pipeline stages) and dp 1 unless given; num_gpus is tp · pp · dp; ep 1 or tp
                                (unless given)
    precision, kv_precision     of the weights and of the KV cache; bf16 unless given
    input_tokens                empty: marginalised over a stated prior, and the interval holds its spread
    clock_hz, power_cap_w       of one GPU; empty: the highest clock, no cap
    engine                      empty: the profile's

Columns out: the quantities of `wattlane.model.predict.UNITS`, each with `_lo` and `_hi` (95 %), three of them
with `_lo90` and `_hi90` (split-conformal, 90 %, where the profile has it); `forced_clock_hz` under
a cap; `extrapolated` and `extrapolated_why`; `scope`; `notes`; `refused`. Watts and tokens per second are of the whole
deployment, `power_w` summed over its GPUs. A refused row has null quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError, WattlaneError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import Gpu, gpu
from wattlane.core.facts.models import Model, model
from wattlane.core.types import Boundary
from wattlane.model.laws.phase import Case
from wattlane.model.node import SCOPES
from wattlane.model.node import SOURCE as NODE_SOURCE
from wattlane.model.predict import UNITS
from wattlane.model.predict_rows import CONFORMAL, Asked, Deployed, answer, at_the_wall, conformal, notes_of, reasons_of
from wattlane.model.profile import Profile, profile_for

COUNTS = ("num_gpus", "tp", "pp", "ep", "dp")
TEXTS = ("model", "model_config", "gpu", "precision", "kv_precision", "engine")
NUMBERS = ("batch", "input_tokens", "output_tokens", "clock_hz", "power_cap_w")
REQUIRED = ("gpu", "batch", "output_tokens")
WALL = ("wall_power_w", "wall_power_w_lo", "wall_power_w_hi", "wall_alone_w")
KEYS = ("model", "model_config", "gpu", *COUNTS, "precision", "kv_precision", "clock_hz", "engine", "capped")
RESULTS = tuple(f"{name}{end}" for name in UNITS for end in ("", "_lo", "_hi"))
SURE = tuple(f"{name}_{end}90" for name in CONFORMAL for end in ("lo", "hi"))
ADDED = (*RESULTS, *SURE, "forced_clock_hz", "extrapolated", "extrapolated_why", "scope", "notes", "refused")


@dataclass(frozen=True, slots=True)
class Predicted:
    """The table with its predictions, and how many rows were predicted, refused as bad, and refused as far."""

    table: pl.DataFrame
    predicted: int
    bad: int
    far: int
    deployments: int


def predict_table(
    table: pl.DataFrame,
    *,
    profile: Profile | None = None,
    folder: Path | None = None,
    scope: str = "gpu",
    models: Mapping[str, Model] | None = None,
) -> Predicted:
    """Return `table` with a prediction or the reasons of a refusal in every row.

    Args:
        table: the columns above.
        profile: asked for the rows of its GPU instead of the shipped one.
        scope: "wall" adds watts and joules of whole servers, by `wattlane.model.node`.
        models: geometries by name, asked before the catalogue.
        folder: what paths in `model_config` are relative to; the working folder unless given.

    Raises:
        InputError: columns are missing, or an input column has the name of an output column; all are named.
    """
    _check_columns(table, scope)
    cases, problems = _typed(table)
    groups, index = _grouped(cases.select(KEYS))
    resolver = _Resolver(profile, folder or Path(), models or {})
    resolved = [resolver.deployment(row) for row in groups.iter_rows(named=True)]
    deployments = [found for found in resolved if isinstance(found, Deployed)]
    place = np.cumsum([isinstance(found, Deployed) for found in resolved]) - 1
    known = np.array([isinstance(found, Deployed) for found in resolved], dtype=bool)
    asked = Asked(
        np.where(known[index], place[index], -1) if len(index) else index,
        *(cases[name].to_numpy() for name in NUMBERS if name != "clock_hz"),
    )
    found = answer(deployments, asked)
    for row in np.flatnonzero(~known[index]).tolist() if len(index) else ():
        found.bad.setdefault(row, []).extend(resolved[index[row]])
    for row, texts in problems.items():
        found.bad[row] = [*texts, *(text for text in found.bad.get(row, ()) if " is nan;" not in text)]
    for part in found.rows[:3]:
        part[:, list(problems)] = np.nan
    refusals = found.refusals()
    if "power_cap_w" in table.columns:
        forced = np.where(np.isnan(asked.power_cap_w), np.nan, found.rows.clock_hz)
        table = table.with_columns(pl.Series("forced_clock_hz", forced, nan_to_null=True))
    out = table.with_columns(_results(found.rows), **_said(deployments, asked, found.outside, refusals))
    sure = conformal(deployments, np.where(np.isnan(asked.input_tokens), -1, asked.index), found.rows)
    out = out.with_columns([pl.Series(name, values, nan_to_null=True) for name, values in sure.items()])
    if scope == Boundary.WALL:
        columns = at_the_wall(deployments, asked.index, found.rows)
        said = pl.lit(f"{Boundary.GPU.value}, {Boundary.WALL.value}").alias("scope")
        out = out.with_columns([pl.Series(name, values, nan_to_null=True) for name, values in columns.items()])
        out = out.with_columns(said, pl.col("notes") + f"; {NODE_SOURCE}")
    far = len(set(found.far) - set(found.bad))
    return Predicted(out, len(table) - len(refusals), len(found.bad), far, len(groups))


def _check_columns(table: pl.DataFrame, scope: str) -> None:
    problems = [] if scope in SCOPES else [f"scope is {scope!r}; expected one of {', '.join(SCOPES)}"]
    missing = [name for name in REQUIRED if name not in table.columns]
    if "model" not in table.columns and "model_config" not in table.columns:
        missing.insert(0, "model or model_config")
    if missing:
        problems.append(f"missing columns {', '.join(missing)}; found {', '.join(table.columns)}")
    taken = [name for name in (*ADDED, *(WALL if scope == Boundary.WALL else ())) if name in table.columns]
    if taken:
        problems.append(f"columns {', '.join(taken)} would be written by the prediction; rename or drop them")
    if problems:
        raise InputError.gathered("cases", problems)


def _typed(table: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, list[str]]]:
    """Return the known columns in their types, absent ones null, and by row what is not a number."""
    problems: dict[int, list[str]] = {}
    columns = {}
    for name in (*TEXTS, *COUNTS, *NUMBERS):
        kind = pl.String if name in TEXTS else pl.Float64
        if name not in table.columns:
            columns[name] = pl.Series(name, [None], dtype=kind).new_from_index(0, len(table))
            continue
        given = table[name]
        column = given.cast(kind, strict=False)
        if kind == pl.Float64:
            lost = (column.is_null() | column.is_nan()) & given.is_not_null()
            for row in lost.arg_true().to_list():
                problems.setdefault(row, []).append(f"{name} is {given[row]!r}; expected a number")
        columns[name] = column
    cases = pl.DataFrame(columns).with_columns(
        pl.col("power_cap_w").is_not_null().alias("capped"),
        *(pl.col(name).fill_null(float("nan")) for name in ("batch", "input_tokens", "output_tokens", "power_cap_w")),
    )
    return cases, problems


def _grouped(keys: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Return the distinct rows of `keys` in order of appearance, and which of them each row is."""
    several = [name for name in keys.columns if keys[name].n_unique() > 1] or keys.columns[:1]
    groups = keys.with_row_index("row").group_by(several, maintain_order=True).agg("row")
    index = np.empty(len(keys), dtype=np.int64)
    index[groups["row"].explode().to_numpy()] = np.repeat(np.arange(len(groups)), groups["row"].list.len().to_numpy())
    return keys[groups["row"].list.first()], index


class _Resolver:
    """Turns texts and counts of a row into a deployment, or into what is wrong with them."""

    def __init__(self, profile: Profile | None, folder: Path, models: Mapping[str, Model]) -> None:
        self.own, self.folder, self.models = profile, folder, models
        self.model = cache(self._model)
        self.gpu = cache(self._gpu)
        self.profile = cache(self._profile)

    def deployment(self, row: Mapping[str, Any]) -> Deployed | list[str]:
        """Return the deployment of one row of keys, or all its problems."""
        problems: list[str] = []
        geometry = _kept(problems, self.model, row["model"], row["model_config"])
        board = _kept(problems, self.gpu, row["gpu"])
        tp, pp, dp, ep = _parallel(problems, row)
        if geometry is None or board is None or problems:
            return problems
        try:
            case = Case(
                board, geometry, row["precision"] or "bf16", tp, row["clock_hz"],
                pipeline_parallel=pp, expert_parallel=ep, kv_precision=row["kv_precision"] or "bf16",
            )  # fmt: skip
        except WattlaneError as error:
            return [str(error)]
        profile = self.profile(board.name)
        doubts = []
        engine = row["engine"]
        if engine and engine.lower() not in profile.engine.lower():
            doubts.append(f"engine {engine}: the profile is of {profile.engine}")
        return Deployed(case, profile, dp, bool(row["capped"]), tuple(doubts))

    def _model(self, name: str | None, config: str | None) -> Model:
        if config:
            return resolve_model(self.folder / Path(config).expanduser())
        if not name:
            raise InputError("model is empty; expected a name, or a path in model_config")
        return self.models.get(name) or model(name)

    def _gpu(self, name: str | None) -> Gpu:
        if not name:
            raise InputError("gpu is empty; expected the name of a GPU")
        return gpu(name)

    def _profile(self, board: str) -> Profile:
        return self.own if self.own is not None and self.own.gpu == board else profile_for(gpu(board))


def _kept(problems: list[str], find: Any, *names: Any) -> Any:
    """Return what `find` gives, or None with its words added to `problems`."""
    try:
        return find(*names)
    except (InputError, UnknownNameError) as error:
        problems.append(" ".join(str(error).split()))
        return None


def _parallel(problems: list[str], row: Mapping[str, Any]) -> tuple[int, int, int, int | None]:
    """Return (tensor, pipeline, data, expert) parallelism; what is left out follows from the rest."""
    counts = {}
    for name in COUNTS:
        value = row[name]
        if value is None:
            continue
        if not (value >= 1 and value == int(value)):
            problems.append(f"{name} is {value:g}; expected a whole number of at least 1")
            continue
        counts[name] = int(value)
    gpus, pp, dp = counts.get("num_gpus"), counts.get("pp", 1), counts.get("dp", 1)
    tp = counts.get("tp", max(1, gpus // (pp * dp)) if gpus else 1)
    ep = counts.get("ep")
    if gpus is not None and gpus != tp * pp * dp:
        stages = f" x pp x dp = {tp} x {pp} x {dp}" if pp > 1 else f" x dp = {tp} x {dp}"
        problems.append(f"num_gpus is {gpus}; expected tp{stages} = {tp * pp * dp}")
    if ep not in (None, 1, tp):
        problems.append(f"ep is {ep}; expected 1 or tp, {tp}")
    return tp, pp, dp, ep


def _results(rows: Any) -> list[pl.Series]:
    series = []
    for q, name in enumerate(UNITS):
        for end, values in (("", rows.mean), ("_lo", rows.lo), ("_hi", rows.hi)):
            series.append(pl.Series(f"{name}{end}", values[q], nan_to_null=True))
    return series


def _said(
    deployments: list[Deployed], asked: Asked, outside: NDArray[np.bool_], refusals: Mapping[int, str]
) -> dict[str, pl.Series]:
    """Return the columns in words: two texts a deployment, picked by row."""
    code = np.zeros(len(asked.index), dtype=np.int64)  # of the refusal, 0 for none
    code[list(refusals)] = np.arange(1, len(refusals) + 1)
    usable = [d if not d.bad else None for d in deployments]
    whys = ["; ".join(reasons_of(d, far)) if d else "" for d in usable for far in (False, True)]
    notes = ["; ".join(notes_of(d, empty)) if d else "" for d in usable for empty in (False, True)]
    last = 2 * len(deployments)
    why = np.where(code > 0, last, 2 * asked.index + outside)
    note = np.where(code > 0, last, 2 * asked.index + np.isnan(asked.input_tokens))
    return {
        "extrapolated": pl.Series([*(bool(text) for text in whys), None], dtype=pl.Boolean).gather(why),
        "extrapolated_why": pl.Series([*(text or None for text in whys), None], dtype=pl.String).gather(why),
        "scope": pl.Series([Boundary.GPU.value]).new_from_index(0, len(asked.index)),
        "notes": pl.Series([*notes, None], dtype=pl.String).gather(note),
        "refused": pl.Series([None, *refusals.values()], dtype=pl.String).gather(code),
    }
