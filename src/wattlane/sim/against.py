"""Replay a measured run of a real engine and say how far the simulation is off, request by request.

A run is a folder with `meta.json` (model, engine arguments), `requests.jsonl` (tokens and the engine's own stamps of
each request) and `timeseries.csv` (running requests and tokens per second), as LLMServingSim's bench writes them. The
requests arrive when the engine queued them (`queued_ts`); `arrival_time` is on another clock.

Engines that schedule one iteration ahead stamp `scheduled_ts` while the one before still runs; the simulator takes
requests in when an iteration begins, so its time from scheduling to first token is shorter by up to one iteration.

Beside the simulation stands the least a model can do: a first-come-first-served queue with one slot for each sequence
and the same seconds for every output token, those seconds taken from the measurement itself (its median).
"""

from __future__ import annotations

import datetime
import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import Gpu, all_gpus, gpu
from wattlane.core.files import existing
from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.sim import fleet, replica
from wattlane.sim.fleet import Replay
from wattlane.sim.fleet_types import EngineSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
COLUMNS = ("input_toks", "output_toks", "arrival_time", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")


@dataclass(frozen=True, eq=False)
class Stamps:
    """When things happened to each request, seconds on one clock, shape (n,) each; `scheduled_s` NaN where unknown."""

    queued_s: Floats
    scheduled_s: Floats
    first_s: Floats
    last_s: Floats
    output_tokens: NDArray[np.int64]

    def first(self, count: int) -> Stamps:
        """Return the stamps of the first `count` requests."""
        queued_s, scheduled_s = self.queued_s[:count], self.scheduled_s[:count]
        return Stamps(queued_s, scheduled_s, self.first_s[:count], self.last_s[:count], self.output_tokens[:count])

    def quantities(self) -> dict[str, Floats]:
        """Return what is compared, seconds; TPOT is absent (NaN) for a single output token."""
        with np.errstate(divide="ignore", invalid="ignore"):
            tpot = (self.last_s - self.first_s) / (self.output_tokens - 1)
        return {
            "ttft": self.first_s - self.queued_s,
            "scheduled_to_first": self.first_s - self.scheduled_s,
            "tpot": np.where(self.output_tokens > 1, tpot, np.nan),
            "e2e": self.last_s - self.queued_s,
        }

    @property
    def is_scheduled(self) -> bool:
        """Whether the engine said when it scheduled the requests."""
        return not bool(np.isnan(self.scheduled_s).all())

    def running(self, at_s: Floats, from_scheduled: bool | None = None) -> Floats:
        """Return how many requests are scheduled, or have their first token, and are not finished at each time."""
        use = self.is_scheduled if from_scheduled is None else from_scheduled
        began = np.searchsorted(np.sort(self.scheduled_s if use else self.first_s), at_s, side="right")
        return np.asarray(began - np.searchsorted(np.sort(self.last_s), at_s, side="right"), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Measured:
    """A measured run; `tick_s` are the ends of the seconds the series count, on the clock of the stamps.

    `settings` is how its engine schedules; None is vLLM's asynchronous scheduling.
    """

    name: str
    workload: Workload
    deployment: Deployment
    stamps: Stamps
    tick_s: Floats
    running: Floats
    tokens_per_s: Floats
    settings: EngineSettings | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """One measured run beside what the simulation and the plain queue make of it."""

    measured: Measured
    law: str
    simulated: Stamps
    queue: Stamps
    tokens_per_s: Floats

    def as_dict(self) -> dict[str, Any]:
        """Return the errors as plain values; times in seconds, errors as shares."""
        m = self.measured
        quantities = m.stamps.quantities()
        rows = {
            name: _errors(values, self.simulated.quantities()[name], self.queue.quantities()[name])
            for name, values in quantities.items()
        }
        series = {
            "running_nrmse": nrmse(self.simulated.running(m.tick_s), m.running),
            "running_nrmse_queue": nrmse(self.queue.running(m.tick_s), m.running),
            "tokens_per_s_nrmse": nrmse(self.tokens_per_s, m.tokens_per_s),
        }
        span = {
            "makespan_s": float(m.stamps.last_s.max()),
            "makespan_simulated_s": float(self.simulated.last_s.max()),
            "makespan_queue_s": float(self.queue.last_s.max()),
        }
        head = {"run": m.name, "law": self.law, "requests": len(m.workload), "gpu": m.deployment.gpu}
        return head | {"tensor_parallel": m.deployment.tensor_parallel, "errors": rows} | series | span


def compare(folder: str | Path, gpu_name: str | None = None) -> list[Comparison]:
    """Replay every measured run below `folder` and return the comparisons.

    Args:
        folder: holds `meta.json`, `requests.jsonl` and `timeseries.csv`, itself or somewhere below.
        gpu_name: the GPU measured on; without it a folder of the path must be named like one.

    Raises:
        InputError: no run is found, a file is wrong, or the GPU is not known.
    """
    return [_compared(read_run(run, gpu_name)) for run in measured_runs(folder)]


def measured_runs(folder: str | Path) -> list[Path]:
    """Return the folders of the measured runs below `folder`, sorted."""
    runs = sorted(path.parent for path in Path(folder).rglob("meta.json"))
    if not runs:
        raise InputError(f"{folder}: found no meta.json; expected a folder with measured runs, see `--against`")
    return runs


def read_run(folder: Path, gpu_name: str | None = None) -> Measured:
    """Read one measured run; arrivals start at zero."""
    meta = json.loads(existing(folder / "meta.json").read_text(encoding="utf-8"))
    lines = existing(folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    rows = pl.DataFrame([json.loads(line) for line in lines if line.strip()])
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise InputError(f"{folder / 'requests.jsonl'}: missing {', '.join(missing)}; found {', '.join(rows.columns)}")
    rows = rows.sort("queued_ts")
    zero_s = float(rows["queued_ts"][0])

    def stamp(name: str) -> Floats:
        return rows[name].to_numpy() - zero_s

    board = gpu(gpu_name) if gpu_name else _gpu_in(folder)
    asked = meta["engine_kwargs"]
    inputs, outputs = (rows[name].to_numpy().astype(np.int64) for name in ("input_toks", "output_toks"))
    series = pl.read_csv(existing(folder / "timeseries.csv"))
    started = datetime.datetime.fromisoformat(meta["started_at"]).timestamp()
    # the first request was sent and queued within milliseconds: that ties the two clocks
    tick_s = series["t"].to_numpy() - (float(rows["arrival_time"][0]) - started)
    return Measured(
        name=f"{meta['model']} on {asked['tensor_parallel_size']} x {board.name}, vLLM {meta['vllm_version']}",
        workload=Workload(stamp("queued_ts"), inputs, outputs, name=folder.name),
        deployment=Deployment(
            model=meta["model"],
            gpu=board.name,
            tensor_parallel=asked["tensor_parallel_size"],
            max_num_seqs=asked["max_num_seqs"],
            max_num_batched_tokens=asked["max_num_batched_tokens"],
            gpu_memory_utilization=asked.get("gpu_memory_utilization") or 0.9,
        ),
        stamps=Stamps(
            stamp("queued_ts"), stamp("scheduled_ts"), stamp("first_token_ts"), stamp("last_token_ts"), outputs
        ),
        tick_s=tick_s,
        running=series["running"].to_numpy().astype(np.float64),
        tokens_per_s=series["gen_throughput"].to_numpy().astype(np.float64),
    )


def _gpu_in(folder: Path) -> Gpu:
    known = {name.replace("-", "").lower(): board for name, board in all_gpus().items()}
    for part in reversed(folder.resolve().parts):
        if part.replace("-", "").lower() in known:
            return known[part.replace("-", "").lower()]
    raise InputError(f"{folder}: no folder of the path is named like a GPU; name it with --gpu")


def _compared(measured: Measured) -> Comparison:
    d = measured.deployment
    case = Case(gpu(d.gpu), resolve_model(d.model), d.precision, d.tensor_parallel)
    profile = profile_for(case.gpu)
    block_tokens = engine_defaults("vllm", case.gpu).kv_block_tokens
    capacity = case.kv_capacity_tokens(d.gpu_memory_utilization)
    run = fleet.replay(measured.workload, d, profile.law(case), capacity, block_tokens)
    queue = plain_queue(measured, float(np.nanmedian(measured.stamps.quantities()["tpot"])))
    return Comparison(measured, profile.name, _stamps(run), queue, _tokens_per_s(run, measured.tick_s))


def _stamps(run: Replay) -> Stamps:
    (r,) = run.replicas
    if run.refused:
        raise InputError(f"{run.refused} requests of the measured run do not fit into the modelled KV cache")
    last = r.first + r.requests[:, replica.OUTPUT] - 1
    ends = r.record[:, replica.END_S]
    starts = r.record[:, replica.START_S]
    return Stamps(run.workload.arrival_s, starts[r.begun], ends[r.first], ends[last], run.workload.output_tokens)


def _tokens_per_s(run: Replay, tick_s: Floats) -> Floats:
    """Return output tokens of the second before each tick."""
    (r,) = run.replicas
    made = np.cumsum(r.decoding + np.bincount(r.first, minlength=len(r.decoding)))
    total = np.concatenate([[0], made])
    ends = r.record[:, replica.END_S]
    before = np.searchsorted(ends, np.concatenate([[tick_s[0] - 1.0], tick_s]), side="right")
    return np.asarray(np.diff(total[before]), dtype=np.float64)


def plain_queue(measured: Measured, token_s: float) -> Stamps:
    """Return what a queue with `max_num_seqs` slots and `token_s` for every output token would do."""
    arrival_s, tokens = measured.workload.arrival_s, measured.workload.output_tokens
    began = np.fromiter(_begins(arrival_s, tokens * token_s, measured.deployment.max_num_seqs), np.float64)
    return Stamps(arrival_s, began, began + token_s, began + tokens * token_s, tokens)


def _begins(arrival_s: Floats, service_s: NDArray[Any], slots: int) -> Iterator[float]:
    free: list[float] = []
    for arrival, service in zip(arrival_s.tolist(), service_s.tolist(), strict=True):
        began = arrival if len(free) < slots else max(arrival, heapq.heappop(free))
        heapq.heappush(free, began + service)
        yield began


def _errors(measured: Floats, simulated: Floats, queue: Floats) -> dict[str, float]:
    known = ~np.isnan(measured)
    m, s, q = measured[known], simulated[known], queue[known]
    off, off_queue = np.abs(s - m) / m, np.abs(q - m) / m
    return {
        "ape_median": float(np.median(off)),
        "ape_mean": float(off.mean()),
        "ape_median_queue": float(np.median(off_queue)),
        "ape_mean_queue": float(off_queue.mean()),
        "measured_p50_s": float(np.quantile(m, 0.5)),
        "simulated_p50_s": float(np.quantile(s, 0.5)),
        "measured_p99_s": float(np.quantile(m, 0.99)),
        "simulated_p99_s": float(np.quantile(s, 0.99)),
    }


def nrmse(found: Floats, measured: Floats) -> float:
    """Return the root mean square error as a share of the measured mean."""
    return float(np.sqrt(np.mean((found - measured) ** 2)) / np.mean(measured))
