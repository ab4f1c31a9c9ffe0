"""Measure one workload on one engine: start, warm up, drive, divide by phase, write.

    idle windows ─► engine up ─► warm-up ─► idle window ─► [ workload ] ─► engine down ─► files
                                                          └ window ┘
Only the window counts. What no sensor sees stays absent.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError
from wattlane.core.files import writable
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.measure.assemble import Conditions, Driven, assemble
from wattlane.measure.engines.base import Engine
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.engines.scrape import Scraper
from wattlane.measure.idling import Before, idle_window, running_already, watch_before
from wattlane.measure.load import DEFAULT_LIMIT_S, Delivery, DriveInterruptedError, Progress, drive, no_progress
from wattlane.measure.pick import Picked, given_meter, pick_meter
from wattlane.measure.readings import Meter
from wattlane.measure.recorder import Recorder
from wattlane.measure.result import Measurement
from wattlane.measure.warmup import ONCE, Preparation, warm_up
from wattlane.measure.watch import Watch, with_looks
from wattlane.measure.widen import SEED_STEP, Precision, in_sequence, widened
from wattlane.measure.working import working_cards
from wattlane.measure.workloads import resolve_workload

if TYPE_CHECKING:
    import polars as pl

IDLE_WINDOW_S = 2.0
KEPT = "holds what was recorded until then and says so; run it again for a whole one"


def run(
    target: str,
    workload: Workload | Path | str,
    out: Path | str,
    *,
    slo: Slo | None = None,
    seed: int = 0,
    meter: Meter | str | None = None,
    cpu_watts: float | None = None,
    concurrency: int | None = None,
    limit_s: float = DEFAULT_LIMIT_S,
    preparation: Preparation = ONCE,
    precision: Precision | None = None,
    on_progress: Progress = no_progress,
) -> Measurement:
    """Measure `workload` on `target`; write measurement.json, served.parquet, telemetry.parquet and more into `out`.

    Args:
        target: `xllamacpp[:precision=Q8_0,slots=8,...]` or the URL of an OpenAI-compatible server.
        workload: a workload, a file, or a text such as `poisson:n=100,rate_rps=20,input=64,output=32`.
        out: folder of the result; made if it is not there.
        slo: the latency targets that attainment is judged by.
        seed: of arrivals and prompts.
        meter: energy source, or its name as `wattlane.measure.sources` has it; by default the best that sees it.
        cpu_watts: assumed W per busy core; without a sensor it gives a modelled energy.
        concurrency: at most this many requests in flight; None sends each at its arrival.
        limit_s: time limit of each request, seconds.
        preparation: how often both phases are warmed, and the rest after it, before the clock starts.
        precision: asked of the window's energy; a short workload is repeated in one window, or the result not valid.
        on_progress: called with (ended, failed, offered) after each request.

    Raises:
        InputError: the target, the workload or a value is wrong.
        MeasurementError: the engine does not start or answer.
        KeyboardInterrupt: Ctrl-C; what was recorded until then is written first.
    """
    _check(cpu_watts, seed, concurrency, limit_s, preparation, precision)
    folder, load = writable(Path(out)), resolve_workload(workload, seed)
    engine, given = open_engine(target), given_meter(meter)
    before, began_s = _before(engine, given), time.monotonic()
    with engine:
        ready_s = time.monotonic()
        warm_up(engine, preparation)
        picked = given or pick_meter(engine.habits, server_url=engine.base_url, pid=engine.pid)
        recorder = Recorder(picked.meter, engine.pid)
        how = Delivery(engine.model, engine.habits, seed, concurrency, limit_s, False, engine.exit_reason, on_progress)
        with Watch.of(picked.meter) as watch, Scraper(engine.base_url) as scraper:
            driven = _drive(engine, load, how, recorder, precision, has_idle_window=picked.meter is not None)
            working = working_cards(picked.meter, engine.pid)
        about = engine.describe()
    file = _file(workload)
    asked = Conditions(target, about, load, file, folder, seed, slo or Slo(), picked, cpu_watts, concurrency is None)
    result = assemble(asked, replace(driven, looks=tuple(watch.looks), working=working, before=before), recorder)
    durations_s = {"engine_start": ready_s - began_s, "window": result.window_s, "whole": time.monotonic() - began_s}
    looks = watch.table(driven.start_s) if watch.looks else None
    result.write(driven.table, with_looks(recorder.table(driven.start_s), looks), durations_s)
    scraper.write(folder, driven.start_s)
    if driven.interrupted:
        raise KeyboardInterrupt(f"interrupted; {folder} {KEPT}")
    return result


def _file(workload: Workload | Path | str) -> Path | None:
    return None if isinstance(workload, Workload) or not Path(workload).is_file() else Path(workload)


def _before(engine: Engine, given: Picked | None) -> Before:
    if isinstance(engine, ExternalEngine):
        return running_already()
    on_gpu = engine.habits.runs_on_gpu
    return watch_before(given or pick_meter(engine.habits, started=False), IDLE_WINDOW_S, runs_on_gpu=on_gpu)


def _check(
    cpu_watts: float | None,
    seed: int,
    concurrency: int | None,
    limit_s: float,
    preparation: Preparation,
    precision: Precision | None,
) -> None:
    problems = preparation.problems() + (precision.problems() if precision else [])
    if cpu_watts is not None and not cpu_watts > 0:
        problems.append(f"cpu_watts is {cpu_watts}; expected watts per busy core above 0")
    if seed < 0:
        problems.append(f"seed is {seed}; expected a whole number of at least 0")
    if concurrency is not None and concurrency < 1:
        problems.append(f"concurrency is {concurrency}; expected at least 1")
    if not limit_s > 0:
        problems.append(f"limit_s is {limit_s}; expected seconds above 0")
    if problems:
        raise InputError.gathered("measure", problems)


def _drive(
    engine: Engine,
    load: Workload,
    delivery: Delivery,
    recorder: Recorder,
    precision: Precision | None,
    *,
    has_idle_window: bool,
) -> Driven:
    idle_edges_s = None
    with recorder:
        if has_idle_window:
            idle_edges_s = idle_window(recorder, IDLE_WINDOW_S)
        driven = widened(lambda passes: _window(engine, load, delivery, recorder, passes), recorder, precision)
    return replace(driven, idle_edges_s=idle_edges_s, engine_ended=engine.exit_reason())


def _window(engine: Engine, load: Workload, delivery: Delivery, recorder: Recorder, passes: int) -> Driven:
    """Drive the workload so many times in one window; the edges of passes inside it are not marked."""
    edge = {"cpu_s": time.process_time(), "start_s": recorder.mark(), "wall_s": time.time()}
    interrupted = False

    def one(number: int) -> tuple[pl.DataFrame, float, bool]:
        nonlocal interrupted
        began_s = time.monotonic()

        def start_clock() -> float:
            nonlocal began_s
            began_s = time.monotonic()
            if number == 0:
                began_s = recorder.mark()
                edge.update(cpu_s=time.process_time(), start_s=began_s, wall_s=time.time())
            return began_s

        how = replace(delivery, seed=delivery.seed + number * SEED_STEP, start_clock=start_clock)
        try:
            table = drive(engine.base_url, load, how)
        except DriveInterruptedError as stop:
            table, interrupted = stop.table, True
        return table, began_s, not (interrupted or engine.exit_reason())

    table, start_s = in_sequence(one, passes)
    end_s, client_cpu_s = recorder.mark(), time.process_time() - edge["cpu_s"]
    clocks_s, ended = ((start_s, edge["wall_s"]), (end_s, time.time())), engine.exit_reason()
    return Driven(table, None, start_s, end_s, client_cpu_s, interrupted, ended, clocks_s, passes=passes)
