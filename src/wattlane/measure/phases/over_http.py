"""Drive a designed load against an engine, one window a load point and repeat, and split its energy by regression.

design ─► drive each point in shuffled order ─► window: joules, prefill tokens, decode tokens ─► fit
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.files import writable, write_json
from wattlane.core.types import Origin
from wattlane.measure.account import Energy, metered, modelled_cpu
from wattlane.measure.engines.base import Engine
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.load import DEFAULT_LIMIT_S, Delivery, drive
from wattlane.measure.phases.design import SHAPES, Capacity, Design, Shape, design
from wattlane.measure.phases.regression import MISFIT_LIMIT, LoadWindow, RateFit, fit
from wattlane.measure.phases.windows import tokens_of, window_of
from wattlane.measure.pick import pick_meter
from wattlane.measure.readings import Meter
from wattlane.measure.recorder import Recorder
from wattlane.measure.warmup import warm_up
from wattlane.measure.workloads import resolve_workload

if TYPE_CHECKING:
    import polars as pl

FILE, KIND = "phases.json", "phases"
PROBE_REQUESTS = 4
PROBES = (Shape("prefill", 256, 1), Shape("decode", 1, 64))


@dataclass(frozen=True, slots=True)
class DesignRun:
    """Windows of a driven design with the served rows of each, in the order they were driven.

    `gain_sd` is the relative standard deviation of the meter's gain, one in all windows.
    """

    windows: tuple[LoadWindow, ...]
    tables: tuple[pl.DataFrame, ...]
    origin: Origin
    boundary: str | None
    gain_sd: float = 0.0


def split_over_http(
    target: str,
    out: Path | str,
    *,
    shapes: Sequence[Shape] = SHAPES,
    utilisations: Sequence[float] = (0.25, 0.5, 0.75),
    window_s: float = 10.0,
    repeats: int = 3,
    seed: int = 0,
    meter: Meter | None = None,
    cpu_watts: float | None = None,
    misfit_limit: float = MISFIT_LIMIT,
) -> RateFit:
    """Start or find the engine, plan and drive a load for it, fit, and write `phases.json` into `out`.

    Args:
        target: as `wattlane.measure.run` takes it.
        out: folder of the result; made if it is not there.
        shapes: kinds of request; every one is driven at every share of the probed capacity.
        utilisations: shares of the capacity.
        window_s: offered seconds of each window.
        repeats: windows of each point.
        seed: of order, arrivals and prompts.
        meter: energy source; by default the best one that sees the engine, then `cpu_watts`.
        cpu_watts: assumed W per busy core, for a modelled energy.
        misfit_limit: largest misfit as a share of the mean energy of a window.

    Raises:
        InputError: the load cannot tell the phases apart, or there is no energy to divide.
        MeasurementError: the engine or the meter failed, or the fit was refused; the file is written first then.
    """
    path = writable(Path(out)) / FILE
    with open_engine(target) as engine:
        warm_up(engine)
        source = meter if meter is not None else pick_meter(engine.habits, pid=engine.pid).meter
        plan = design(probe_capacity(engine, seed), shapes, utilisations, window_s, repeats)
        run = drive_design(engine, plan, seed, meter=source, cpu_watts=cpu_watts)
        about = engine.describe()
    body = {
        "target": target,
        "engine": about,
        "has_idle": source is not None,
        "boundary": run.boundary,
        "windows": [asdict(window) for window in run.windows],
    }
    try:
        has_idle = source is not None
        found = fit(run.windows, has_idle=has_idle, misfit_limit=misfit_limit, origin=run.origin, gain_sd=run.gain_sd)
    except MeasurementError as refusal:
        write_json(path, KIND, {**body, "fit": None, "refused": str(refusal)})
        raise
    write_json(path, KIND, {**body, "fit": found.as_dict(), "refused": None})
    return found


def probe_capacity(engine: Engine, seed: int = 0) -> Capacity:
    """Return roughly how many tokens per second the engine reaches in each phase, one request at a time.

    Raises:
        MeasurementError: a probe failed or came without usage.
    """
    rates = []
    for i, shape in enumerate(PROBES):
        spec = f"burst:n={PROBE_REQUESTS},input={shape.input_tokens},output={shape.output_tokens}"
        delivery = Delivery(engine.model, engine.habits, seed + i, concurrency=1)
        table = drive(engine.base_url, resolve_workload(spec, seed), delivery)
        prefill, decode, _ = tokens_of(table, f"probe of {shape.name}")
        rates.append((decode or prefill) / float(table["end_s"].to_numpy().max()))
    return Capacity(*rates)


def drive_design(
    engine: Engine,
    plan: Design,
    seed: int = 0,
    *,
    meter: Meter | None = None,
    cpu_watts: float | None = None,
    limit_s: float = DEFAULT_LIMIT_S,
) -> DesignRun:
    """Return the windows of `plan` driven against a running, warmed engine.

    Args:
        engine: inside its `with` block.
        plan: load points and repeats.
        seed: of order, arrivals and prompts.
        meter: energy source; without one `cpu_watts` gives a modelled energy from CPU seconds, which hold no idle draw.
        cpu_watts: assumed W per busy core.
        limit_s: time limit of each request, seconds.

    Raises:
        InputError: neither a meter nor assumed watts.
        MeasurementError: a window has no energy, failed requests, or unknown tokens.
    """
    if meter is None and cpu_watts is None:
        raise InputError("found neither a meter nor cpu_watts; expected one of them to have an energy to divide")
    found = list(_driven(engine, plan, seed, meter, cpu_watts, limit_s))
    origin = Origin.MODELLED if any(energy.status is Origin.MODELLED for _, _, energy in found) else Origin.MEASURED
    boundary = None if found[0][2].boundary is None else found[0][2].boundary.value
    windows, tables, energies = zip(*found, strict=True)
    return DesignRun(windows, tables, origin, boundary, max(_gain_sd(energy) for energy in energies))


def _gain_sd(energy: Energy) -> float:
    gain_j = 0.0 if energy.budget is None else energy.budget.systematic.get("sensor_gain", 0.0)
    return gain_j / abs(energy.energy_j) if energy.energy_j else 0.0


def _driven(
    engine: Engine, plan: Design, seed: int, meter: Meter | None, cpu_watts: float | None, limit_s: float
) -> Iterator[tuple[LoadWindow, pl.DataFrame, Energy]]:
    for point, own_seed in plan.windows(seed):
        recorder = Recorder(meter, engine.pid)
        delivery = Delivery(engine.model, engine.habits, own_seed, None, limit_s, False, engine.exit_reason)
        with recorder:
            edge = {"start_s": recorder.mark()}

            def start_clock(recorder: Recorder = recorder, edge: dict[str, float] = edge) -> float:
                edge["start_s"] = recorder.mark()
                return edge["start_s"]

            table = drive(engine.base_url, point.workload(own_seed), replace(delivery, start_clock=start_clock))
            end_s = recorder.mark()
        start_s = edge["start_s"]
        if meter is not None:
            energy = metered(recorder.readings, start_s, end_s)
        else:
            assert cpu_watts is not None
            energy = modelled_cpu(recorder.cpu_used_s(start_s, end_s), cpu_watts)
        yield window_of(table, point.name, end_s - start_s, energy), table, energy
