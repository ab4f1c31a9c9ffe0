"""A plan read back from its files, for `certify` and `explain`: nothing of the solver's is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.core.files import read_json, read_parquet
from wattlane.plan.configure.bound import Prices
from wattlane.plan.configure.plan import KIND
from wattlane.plan.configure.problem import Floats, Ints, Modes, Problem

MAP_COLUMNS = ("pool", "fleet", "shape", "gpus", "rate_per_s", "power_w")
COUNT_COLUMNS = ("bin", "mode", "instances")


@dataclass(frozen=True, eq=False)
class Kept:
    """A plan as its files say it is."""

    body: dict[str, Any]
    table: pl.DataFrame
    problem: Problem
    counts: Ints
    prices: Prices


def read(path: Path) -> Kept:
    """Return the plan at `path` (plan.json), with map.parquet and counts.parquet beside it.

    Raises:
        FileFormatError: a file is missing a key or a column, or the counts name a bin or a mode that is not there.
        InputError: a file is missing, or the numbers make no problem.
    """
    body = read_json(path, KIND)
    table = read_parquet(path.parent / "map.parquet", "map", MAP_COLUMNS)
    listed = read_parquet(path.parent / "counts.parquet", "counts", COUNT_COLUMNS)
    missing = [key for key in ("problem", "prices", "pools", "cost", "bound") if key not in body]
    if missing:
        raise FileFormatError(f"{path}: missing keys {', '.join(missing)}; expected a plan of wattlane plan configure")
    given, pools = body["problem"], {name: i for i, name in enumerate(body["pools"])}
    try:
        problem = _problem(given, table, pools)
        counts = np.zeros((problem.bins, len(problem.modes)), np.int64)
        counts[listed["bin"].to_numpy(), listed["mode"].to_numpy()] = listed["instances"].to_numpy()
        prices = Prices(*(_array(body["prices"][name]) for name in ("gpu", "watt", "start", "wake")))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: the files of the plan do not fit together ({error!r}); plan again") from error
    return Kept(body, table, problem, counts, prices)


def _array(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=np.float64)


def _problem(given: dict[str, Any], table: pl.DataFrame, pools: dict[str, int]) -> Problem:
    def whole(name: str) -> Ints:
        return np.array(given[name], dtype=np.int64)

    return Problem(
        demand_per_s=_array(given["demand_per_s"]),
        bin_s=float(given["bin_s"]),
        modes=Modes(
            np.array([pools[name] for name in table["pool"]], dtype=np.int64),
            table["fleet"].cast(pl.Int64).to_numpy(),
            table["shape"].cast(pl.Int64).to_numpy(),
            table["gpus"].cast(pl.Int64).to_numpy(),
            table["rate_per_s"].to_numpy(),
            table["power_w"].to_numpy(),
        ),
        gpu_count=whole("gpu_count"),
        parked_w=_array(given["parked_w"]),
        wake_j=_array(given["wake_j"]),
        start_j=_array(given["start_j"]),
        shape_gpu=whole("shape_gpu"),
        cap_w=_array([np.inf if w is None else w for w in given["cap_w"]]),
        per_j=_array(given["per_j"]),
        per_gpu_bin=_array(given["per_gpu_bin"]),
        running=whole("running"),
    )
