"""A measured run read from `served.parquet`: what `wattlane measure`, the gateway and the simulator write.

The file has no stamp of the scheduler, so time to first token takes the place of the time from scheduling on. What ran
is read from `summary.json` of a simulation or `measurement.json` beside it, and from what is given where these are
absent or silent. Of several replicas the one with the most requests is taken: it is replayed by itself, whatever routed
the requests. Requests that were not completed are left out; they count as load nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.core.types import Deployment, Outcome
from wattlane.core.workload import Workload
from wattlane.sim.against import Measured, Stamps
from wattlane.sim.fleet_types import EngineSettings

SIMULATED = "simulation"  # kind of the summary that `wattlane simulate` writes beside the rows
LIMITS = ("max_num_seqs", "max_num_batched_tokens")


def read_served_run(path: Path, given: Mapping[str, Any] | None = None) -> Measured:
    """Return the run of a `served.parquet`; arrivals start at zero.

    Args:
        path: the file.
        given: fields of `Deployment` that the files beside it do not say, None for those unknown.

    Raises:
        InputError: model or GPU are said nowhere, or no request was completed.
        FileFormatError: a file that cannot be trusted.
    """
    table = read_served(path)
    done = table.filter(pl.col("outcome") == Outcome.COMPLETED.value).sort("release_s", maintain_order=True)
    if len(done) == 0:
        raise InputError(f"{path}: found {len(table)} requests and none completed; expected some to fit to")
    which = done["replica"].value_counts(sort=True)[0]["replica"].item() if done["replica"].n_unique() > 1 else None
    if which is not None:
        done = done.filter(pl.col("replica") == which)
    deployment, settings = _deployment(path, dict(given or {}))
    zero_s = float(done["release_s"][0])
    released_s, first_s, last_s = (
        done[name].to_numpy().astype(np.float64) - zero_s for name in ("release_s", "first_token_s", "end_s")
    )
    outputs = done["output_tokens"].to_numpy().astype(np.int64)
    stamps = Stamps(released_s, np.full(len(done), np.nan), first_s, last_s, outputs)
    tick_s = np.arange(1.0, max(float(last_s.max()), 1.0))
    tokens_s = np.sort(np.concatenate([first_s, _later(done, first_s)]))
    counts = np.diff(np.searchsorted(tokens_s, np.concatenate([[0.0], tick_s]), side="right"))
    words = "" if which is None else f", replica {which}"
    return Measured(
        name=f"{path.parent.name}/{path.name}{words}: {deployment.model} on "
        f"{deployment.tensor_parallel} x {deployment.gpu}",
        workload=Workload(
            released_s,
            done["input_tokens"].to_numpy(),
            outputs,
            done["cached_tokens"].fill_null(0).to_numpy(),
            name=path.parent.name,
        ),
        deployment=deployment,
        stamps=stamps,
        tick_s=tick_s,
        running=stamps.running(tick_s),
        tokens_per_s=counts.astype(np.float64),
        settings=settings,
    )


def _later(done: pl.DataFrame, first_s: np.ndarray) -> np.ndarray:
    """Return when every token but the first ones was produced, seconds."""
    gaps = done["gaps_s"].list.explode(keep_nulls=False).to_numpy().astype(np.float64)
    counts = done["gaps_s"].list.len().fill_null(0).to_numpy().astype(np.int64)
    at = np.concatenate([[0], np.cumsum(counts)])
    total = np.concatenate([[0.0], np.cumsum(gaps)])
    return np.asarray(np.repeat(first_s - total[at[:-1]], counts) + total[1:])


def _deployment(path: Path, given: dict[str, Any]) -> tuple[Deployment, EngineSettings]:
    """Return what served the requests, and how it scheduled."""
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = EngineSettings(schedule_ahead=True)
    summary, measurement = path.parent / "summary.json", path.parent / "measurement.json"
    if summary.is_file() and (body := read_json(summary)).get("kind") == SIMULATED:
        found |= body["deployment"]
        settings = EngineSettings(reserve_kv=True)
    elif measurement.is_file():
        found |= _of_engine(read_json(measurement, "measurement")["engine"])
    missing = [name for name in ("model", "gpu") if name not in found]
    if missing:
        raise InputError(
            f"{path}: found no word of {' and '.join(missing)} beside it; "
            f"give {' and '.join(f'--{name}' for name in missing)}"
        )
    board = gpu(found["gpu"])
    defaults = engine_defaults("vllm", board)
    budget = found.setdefault("max_num_batched_tokens", defaults.max_num_batched_tokens)
    found.setdefault("max_num_seqs", min(defaults.max_num_seqs, budget))
    return Deployment(**{**found, "gpu": board.name, "replicas": 1, "release_window_s": 0.0}), settings


def _of_engine(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a measurement says of its engine; 0 stands for a default there."""
    options = engine.get("options") or {}
    found = {name: int(options[name]) for name in LIMITS if options.get(name)}
    if engine.get("model") and not engine.get("random_weights"):
        found["model"] = engine["model"]
    if options.get("tensor_parallel_size"):
        found["tensor_parallel"] = int(options["tensor_parallel_size"])
    return found
