"""Make the `Measurement` out of what was recorded: a pure function of rows, readings and conditions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattlane.core.files import sha256
from wattlane.core.provenance import Provenance
from wattlane.core.served import latency
from wattlane.core.types import Origin, Outcome, Slo
from wattlane.core.workload import Workload
from wattlane.measure.account import ABSENT, Energy, metered, modelled_cpu, net_of_idle, split
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.idling import NOTHING_BEFORE, Before, levels
from wattlane.measure.pick import Picked
from wattlane.measure.ratios import per_success
from wattlane.measure.recorder import Recorder
from wattlane.measure.result import Measurement, PhaseResult
from wattlane.measure.scenes import trial_activity, trial_scene
from wattlane.measure.sources import highest_w_of
from wattlane.measure.spans import find_spans
from wattlane.measure.validity.codes import Verdict as Checked
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.scene import Health
from wattlane.measure.verdict import Circumstances, judge, lateness_p99_s

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Conditions:
    """What was asked: target, engine as it describes itself, workload, and how energy may be found."""

    target: str
    engine: Mapping[str, Any]
    load: Workload
    workload_file: Path | None
    folder: Path
    seed: int
    slo: Slo
    picked: Picked
    cpu_w: float | None
    open_loop: bool


@dataclass(frozen=True, slots=True)
class Driven:
    """What happened: rows, the edges of the idle window and of the run on the monotonic clock, and how it ended.

    The workload was driven `passes` times in the window; `precision` is the reason that says why, empty where no
    precision was asked.
    """

    table: pl.DataFrame
    idle_edges_s: tuple[float, float] | None
    start_s: float
    end_s: float
    client_cpu_s: float
    interrupted: bool
    engine_ended: str | None
    clock_pairs: tuple[tuple[float, float], ...] = ()
    looks: tuple[Health, ...] = ()
    working: tuple[str, ...] | None = None
    passes: int = 1
    precision: str = ""
    before: Before = NOTHING_BEFORE


def assemble(asked: Conditions, driven: Driven, recorder: Recorder) -> Measurement:
    """Return the measurement; energies are measured, modelled from `cpu_w`, or absent."""
    table, window_s = driven.table, driven.end_s - driven.start_s
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    cpu_s = recorder.cpu_used_s(driven.start_s, driven.end_s)
    energy, idle = _energy(asked, driven, recorder, cpu_s)
    idle_s = 0.0 if driven.idle_edges_s is None else driven.idle_edges_s[1] - driven.idle_edges_s[0]
    idle_w = None if idle.energy_j is None else idle.energy_j / idle_s
    spans = find_spans(table, window_s)
    prefill, decode = split(energy, spans, idle, idle_s)
    input_tokens, output_tokens = int(done["input_tokens"].sum()), int(done["output_tokens"].sum())
    later_tokens = int((done["output_tokens"] - 1).clip(0).sum())  # the first of each request is prefill's
    seen = Circumstances(
        energy=energy,
        spans=spans,
        meter_reason=asked.picked.reason,
        has_meter=asked.picked.meter is not None,
        cpu_w=asked.cpu_w,
        engine_ended=driven.engine_ended,
        interrupted=driven.interrupted,
        open_loop=asked.open_loop,
        precision=driven.precision,
        checked=_checked(asked, driven, recorder, spans.busy_s),
    )
    verdict = judge(table, seen)
    counts = dict(table["outcome"].value_counts().sort("outcome").iter_rows())
    return Measurement(
        target=asked.target,
        engine=asked.engine,
        workload={"name": asked.load.name, "requests": len(asked.load), "span_s": asked.load.span_s},
        valid=verdict.valid,
        verdict=verdict.status,
        passes=driven.passes,
        devices=_devices(energy, recorder),
        complete=not (driven.interrupted or driven.engine_ended),
        reasons=verdict.reasons,
        requests=len(table),
        failed=len(table) - len(done),
        outcomes=counts,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        window_s=window_s,
        energy=energy,
        net=net_of_idle(energy, window_s, idle, idle_s, IdleLevel.WEIGHTS_LOADED),
        per=per_success(energy, table),
        idle_w=idle_w,
        idle=levels(driven.before, recorder.readings, asked.picked.reason, idle, idle_s),
        prefill=PhaseResult(prefill, spans.prefill_s, input_tokens - int(done["cached_tokens"].sum())),
        decode=PhaseResult(decode, spans.decode_s, later_tokens),
        spans=spans,
        latency=latency(table, asked.slo),
        slo=asked.slo,
        cpu_s=cpu_s,
        client_cpu_s=driven.client_cpu_s,
        lateness_p99_s=lateness_p99_s(table),
        provenance=_provenance(asked),
        folder=asked.folder,
        host={"cores": os.cpu_count(), "load_1_min": os.getloadavg()[0]},
    )


def _devices(energy: Energy, recorder: Recorder) -> tuple[str, ...]:
    is_modelled = energy.status is Origin.ABSENT or energy.is_cpu_model
    first = recorder.readings[0].channels if recorder.readings and not is_modelled else ()
    return tuple(channel.device for channel in first)


def _checked(asked: Conditions, driven: Driven, recorder: Recorder, busy_s: float) -> Checked:
    """Return what the checks of sensors, devices, clocks and load found."""
    edges_s = (driven.start_s, driven.end_s)
    activity = trial_activity(
        driven.table, edges_s, busy_s, driven.client_cpu_s, driven.clock_pairs, open_loop=asked.open_loop
    )
    activity = replace(activity, working=driven.working)
    return examine(trial_scene(recorder.readings, driven.looks, activity, asked.picked.meter, driven.idle_edges_s))


def _energy(asked: Conditions, driven: Driven, recorder: Recorder, cpu_s: float | None) -> tuple[Energy, Energy]:
    """Return (energy of the window, energy of the idle window); a meter goes before the CPU model."""
    limit_w = highest_w_of(asked.picked.meter, recorder.readings[0]) if recorder.readings else None
    energy = metered(recorder.readings, driven.start_s, driven.end_s, highest_w=limit_w)
    if energy.status is not Origin.ABSENT or asked.cpu_w is None:
        return energy, _idle(driven, recorder)
    return modelled_cpu(cpu_s, asked.cpu_w), ABSENT


def _idle(driven: Driven, recorder: Recorder) -> Energy:
    if driven.idle_edges_s is None:
        return ABSENT
    start_s, end_s = driven.idle_edges_s
    return metered(recorder.readings, start_s, end_s) if end_s > start_s else ABSENT


def _provenance(asked: Conditions) -> Provenance:
    inputs = {} if asked.workload_file is None else {asked.workload_file.name: sha256(asked.workload_file)}
    return Provenance(seed=asked.seed, inputs=inputs)
