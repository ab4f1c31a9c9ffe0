"""The arrival shaping study: the same requests under several shapes, rates, windows and engine limits.

Within a seed every cell replays the same requests in the same order; all shapes end their arrivals at the same
instant, requests ÷ rate, so that mean rates are equal exactly. Bursts are groups of `GROUP` at equal spacing. The
engine effect changes `max_num_seqs` alone: precision, kernels and law stay the same. Energy is modelled, at the GPU
boards, from the first arrival to the last token, idle included, over the requests that completed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu as gpu_named
from wattlane.core.files import write_json
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.types import Boundary, Deployment, Estimate, Origin, Slo
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.jit import source_hash
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.sim import fleet
from wattlane.sim.effects import FACTORS, Cell, effects, interval
from wattlane.sim.simulation import requests_of
from wattlane.workload.arrivals import draw_n

KIND = "arrival shaping"
FILE = "shaping.json"
MISSES = "misses the SLO"
GROUP = 16
WINDOWED_S = 1.0
LEAST_SAVING = 0.005  # a saving whose interval reaches below is not one to wait for
SHAPES = ("burst", "fixed", "uniform", "poisson", "gamma", "windowed")
SPECS = {"uniform": "kind=uniform,low_s=0,high_s=2", "gamma": "kind=gamma,rate_rps=1,cv=3"}
POISSON = "kind=poisson,rate_rps=1"
NUMBERS = (
    "energy_j_per_request",
    "slo_attainment",
    "ttft_mean_s",
    "ttft_p99_s",
    "tbt_p99_s",
    "mean_batch",
    "completed",
)
UNITS = ("J/request", "share", "s", "s", "s", "sequences", "requests")

Report = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class Grid:
    """What is replayed. `limits` are values of max_num_seqs; the first of each is what effects count from.

    Raises:
        InputError: a list is empty, or a value is out of range.
    """

    rates_rps: tuple[float, ...] = (0.5, 2.0, 5.0, 10.0)
    limits: tuple[int, ...] = (256, 16)
    windows_s: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    requests: int = 1024
    seeds: int = 5

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {list(values)}; expected at least one value above 0, all different"
            for name, values in (("rates_rps", self.rates_rps), ("limits", self.limits), ("windows_s", self.windows_s))
            if not values or not all(0 < value < float("inf") for value in values) or len(set(values)) < len(values)
        ]
        if self.requests < GROUP or self.requests % GROUP:
            problems.append(f"requests is {self.requests}; expected a multiple of {GROUP}, the size of a burst")
        if self.seeds < 2:
            problems.append(f"seeds is {self.seeds}; expected at least 2, for an interval")
        if problems:
            raise InputError.gathered("shaping", problems)


def arrivals(shape: str, rate_rps: float, n: int, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Return n arrivals, seconds, the last at exactly n / rate; `windowed` and `poisson` are the same arrivals."""
    if shape == "burst":
        return (np.arange(n) // GROUP + 1).astype(np.float64) * (GROUP / rate_rps)
    if shape == "fixed":
        return np.arange(1, n + 1, dtype=np.float64) / rate_rps
    drawn = draw_n(SPECS.get(shape, POISSON), n, seed)
    out: NDArray[np.float64] = drawn * (n / rate_rps / drawn[-1])
    return out


@dataclass(frozen=True, eq=False)
class Shaping:
    """The study's result; `body` is the content of shaping.json."""

    body: dict[str, Any]
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Return the content of shaping.json."""
        return {**self.body, "provenance": self.provenance.as_dict()}


class _Bench:
    """One model on one GPU, replayed under any cell."""

    def __init__(self, model: str, gpu: str, precision: str, slo: Slo, profile: str | Path | None) -> None:
        self.case = Case(gpu_named(gpu), resolve_model(model), precision)
        defaults = engine_defaults("vllm", self.case.gpu)
        found = chosen_profile(self.case.gpu, profile)
        self.name, self.law, self.slo = found.name, found.law(self.case), slo
        self.blocks, self.budget = defaults.kv_block_tokens, defaults.max_num_batched_tokens
        self.capacity = self.case.kv_capacity_tokens(defaults.gpu_memory_utilization)

    def numbers(self, workload: Workload, limit: int, window_s: float) -> tuple[float, ...]:
        """Return `NUMBERS` of one replay."""
        served_by = Deployment(
            self.case.model.name,
            self.case.gpu.name,
            self.case.precision,
            max_num_seqs=limit,
            max_num_batched_tokens=max(self.budget, limit),
            release_window_s=window_s,
        )
        run = fleet.replay(workload, served_by, self.law, self.capacity, self.blocks)
        done = len(workload) - run.refused
        if not done:
            raise InputError(f"{workload.name}: every request is refused; the model leaves too little room on the GPU")
        ttft_s = fleet.ttft_s(run)
        return (
            fleet.ledger(run).metered_j / done,
            fleet.attainment(run, self.slo),
            float(ttft_s.mean()),
            float(np.quantile(ttft_s, 0.99)),
            fleet.tbt_quantile_s(run, 0.99),
            run.mean_batch,
            float(done),
        )


def run_shaping(
    workload: Workload | str | Path,
    out: str | Path | None = None,
    *,
    model: str,
    gpu: str = "H100",
    precision: str = "bf16",
    grid: Grid | None = None,
    slo: Slo | None = None,
    profile: str | Path | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Shaping:
    """Replay the grid and say what rate, shape and engine are worth; with `out`, write shaping.json there.

    Args:
        workload: requests, a trace file or a shipped shape, of which only lengths are used: rows drawn by each seed.

    Raises:
        InputError: a name, a file or the grid is wrong, or the workload holds fewer requests than the grid asks.
    """
    began, grid = time.monotonic(), grid or Grid()
    bench = _Bench(model, gpu, precision, slo or Slo(), profile)
    source, words, inputs, _ = requests_of(workload, seed)
    if len(source) < grid.requests:
        raise InputError(f"{source.name}: {len(source)} requests; expected at least {grid.requests}, or lower requests")
    cells, windows = _replayed(bench, source, grid, seed, report)
    base = Cell(grid.rates_rps[0], "poisson", _limit(grid.limits[0]))
    curve = _curve(cells, windows, grid, bench.slo)
    body = {
        "workload": words,
        "model": bench.case.model.name,
        "gpu": bench.case.gpu.name,
        "precision": precision,
        "law": bench.name,
        "origin": Origin.MODELLED.value,
        "boundary": Boundary.GPU.value,
        "slo": asdict(bench.slo),
        "grid": asdict(grid),
        "idle_w": float(bench.law[it.IDLE_W]),
        "base": base._asdict(),
        "cells": [_cell_row(cell, rows, cells, base, bench) for cell, rows in cells.items()],
        "windows": curve,
        "findings": findings(curve),
    }
    found = Shaping(body, Provenance(seed, inputs, {"phase": bench.name, "kernel_sources": source_hash()}))
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, KIND, found.as_dict())
        write_beside(folder, found.provenance, {"shaping": time.monotonic() - began})
    return found


Rows = list[tuple[float, ...]]


def _replayed(
    bench: _Bench, source: Workload, grid: Grid, seed: int, report: Report | None
) -> tuple[dict[Cell, Rows], dict[tuple[float, float], Rows]]:
    cells: dict[Cell, Rows] = {}
    windows: dict[tuple[float, float], Rows] = {}
    for k in range(grid.seeds):
        rows = np.random.default_rng([seed, k]).permutation(len(source))[: grid.requests]
        for rate in grid.rates_rps:
            for shape in SHAPES:
                at_s = arrivals(shape, rate, grid.requests, np.random.SeedSequence([seed, k, 1]))
                asked = source.take(rows, at_s)
                held_s = WINDOWED_S if shape == "windowed" else 0.0
                for limit in grid.limits:
                    numbers = bench.numbers(asked, limit, held_s)
                    cells.setdefault(Cell(rate, shape, _limit(limit)), []).append(numbers)
                if shape == "poisson":
                    for window_s in grid.windows_s:
                        found = bench.numbers(asked, grid.limits[0], window_s)
                        windows.setdefault((rate, window_s), []).append(found)
        if report is not None:
            report("seeds", k + 1, grid.seeds, "")
    return cells, windows


def _limit(max_num_seqs: int) -> str:
    return f"max_num_seqs={max_num_seqs}"


def _estimate(found: Estimate) -> dict[str, float]:
    return {"mean": found.mean, "lo": found.lo, "hi": found.hi}


def _summary(rows: Rows) -> dict[str, Any]:
    columns = zip(NUMBERS, UNITS, zip(*rows, strict=True), strict=True)
    return {name: _estimate(interval(values, unit)) for name, unit, values in columns}


def _cell_row(cell: Cell, rows: Rows, cells: dict[Cell, Rows], base: Cell, bench: _Bench) -> dict[str, Any]:
    """Return a cell's numbers, its effects in J a request against `base`, and its idle floor P_idle/rate."""
    parts = [effects({at: found[k][0] for at, found in cells.items()}, base, cell) for k in range(len(rows))]
    against = zip(FACTORS, zip(*parts, strict=True), strict=True)
    idle_j = float(bench.law[it.IDLE_W]) / cell.rate_rps
    return {
        **cell._asdict(),
        **_summary(rows),
        "idle_floor_j": idle_j,
        "above_idle_floor_j": _estimate(interval([row[0] - idle_j for row in rows], "J/request")),
        "effects_j": {name.split("_")[0]: _estimate(interval(values, "J/request")) for name, values in against},
    }


def _curve(
    cells: dict[Cell, Rows], windows: dict[tuple[float, float], Rows], grid: Grid, slo: Slo
) -> list[dict[str, Any]]:
    """Return a row for each rate and window: what the hold saves and adds, paired over seeds, and a verdict."""
    out = []
    for (rate, window_s), rows in windows.items():
        plain = cells[Cell(rate, "poisson", _limit(grid.limits[0]))]
        pairs = list(zip(plain, rows, strict=True))
        saving = interval([1.0 - held[0] / free[0] for free, held in pairs], "share")
        added = interval([held[2] - free[2] for free, held in pairs], "s")
        row = {"rate_rps": rate, "window_s": window_s, **_summary(rows)}
        row |= {"saving_fraction": _estimate(saving), "added_ttft_s": _estimate(added)}
        kept = row["slo_attainment"]["mean"] >= slo.attainment
        out.append(row | {"verdict": _verdict(saving, kept)})
    return out


def _verdict(saving: Estimate, kept: bool) -> str:
    if saving.lo < LEAST_SAVING:
        return "only adds latency"
    return "pays" if kept else MISSES


def findings(curve: Iterable[dict[str, Any]]) -> list[str]:
    """Return one sentence a rate: the best window that keeps the SLO, or that none does better than no hold."""
    by_rate: dict[float, list[dict[str, Any]]] = {}
    for row in curve:
        by_rate.setdefault(row["rate_rps"], []).append(row)
    out = []
    for rate, rows in by_rate.items():
        pays = [row for row in rows if row["verdict"] == "pays"]
        lead = f"At {rate:g} requests/s "
        if pays:
            best = max(pays, key=lambda row: float(row["saving_fraction"]["mean"]))
            saved, added = best["saving_fraction"], best["added_ttft_s"]["mean"]
            out.append(
                f"{lead}a window of {best['window_s']:g} s pays: {saved['mean']:.1%} less energy a request "
                f"({saved['lo']:.1%} to {saved['hi']:.1%}) for {added:.2f} s more mean TTFT, SLO kept."
            )
        elif any(row["verdict"] == MISSES for row in rows):
            saving = [row for row in rows if row["verdict"] == MISSES]
            most = max(saving, key=lambda row: float(row["saving_fraction"]["mean"]))
            out.append(
                f"{lead}windows save {LEAST_SAVING:.1%} or more only where the SLO is missed: at most "
                f"{most['saving_fraction']['mean']:.1%} with {most['window_s']:g} s, at "
                f"{most['slo_attainment']['mean']:.1%} attainment."
            )
        else:
            out.append(f"{lead}every window only adds latency: no saving of {LEAST_SAVING:.1%} is shown.")
    return out
