"""Energy of a window that is over, from the DCGM samples that a Prometheus server kept.

    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{...}[window]   at the times it was scraped, mJ, by UUID
    DCGM_FI_DEV_POWER_USAGE{...}[window]                W, beside it

Times are Unix seconds. What was kept is scraped every 15 to 60 s from a cache: the window's edges are interpolated, the
interval says what that costs, and a window that holds few scrapes or renewals is warned of or quarantined. Each GPU is
worked out apart, since those of several hosts were not scraped at the same instants. Of their errors the random parts
add in squares, gain and bounds in full, because the sensors' gain may be shared. `save_history` writes a record for
`wattlane.measure.joining.join`.
Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (instant query of a range vector).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wattlane.core.errors import InputError
from wattlane.core.files import write_json, write_parquet
from wattlane.core.types import Boundary
from wattlane.measure.account import ABSENT, Energy, metered
from wattlane.measure.energy.budget import total
from wattlane.measure.readings import Channel, Reading
from wattlane.measure.recorder import Recorder
from wattlane.measure.refresh import Refresh
from wattlane.measure.result import TELEMETRY_KIND
from wattlane.measure.validity.codes import Reason
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.scene import Activity, Scene, to_series
from wattlane.workload.metrics.queries import GPU_ENERGY, GPU_POWER
from wattlane.workload.metrics.responses import Series, series_of
from wattlane.workload.metrics.sources import raw_samples

SOURCE = "prometheus dcgm"
J_PER_MJ = 1e-3
MARGIN_S = 180.0  # asked for on both sides: three scrapes of a minute


@dataclass(frozen=True, slots=True)
class PastEnergy:
    """Energy of each GPU by UUID, their sum, and what the checks found; quarantined reasons forbid using it."""

    total: Energy
    by_gpu: Mapping[str, Energy]
    reasons: tuple[Reason, ...]


@dataclass(slots=True)
class _Gpu:
    energy: Series | None = None
    power: Series | None = None


def read_history(
    url: str,
    start_s: float,
    end_s: float,
    *,
    selector: str = "",
    gpus: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> dict[str, list[Reading]]:
    """Return the readings of each GPU by UUID around a window, times in Unix seconds.

    Args:
        url: of the Prometheus server.
        start_s: start of the window.
        end_s: its end.
        selector: label matchers, as `Hostname="node1"`.
        gpus: the UUIDs that are wanted; all that match when empty.
        headers: of the requests, as Authorization.

    Raises:
        InputError: the server does not answer, holds no energy or power of a GPU there, or not of one that is named.
    """
    found: dict[str, _Gpu] = {}
    problems: list[str] = []
    for metric, name in ((GPU_ENERGY, "energy"), (GPU_POWER, "power")):
        query = f"{metric}{{{selector}}}" if selector else metric
        response = raw_samples(url, query, start_s - MARGIN_S, end_s + MARGIN_S, headers)
        for series in series_of(metric, response, problems):
            uuid = series.labels.get("UUID") or series.labels.get("uuid")
            if uuid and getattr(gpu := found.setdefault(uuid, _Gpu()), name) is None:
                setattr(gpu, name, series)  # rows of MIG instances repeat the board: the first stands for it
    problems += [f"no samples of GPU {uuid}; found {', '.join(found) or 'none'}" for uuid in gpus if uuid not in found]
    if not found:
        problems.append(f"no {GPU_ENERGY} or {GPU_POWER} with a UUID label from {start_s:.0f} to {end_s:.0f} (Unix)")
    if problems:
        raise InputError.gathered(url, problems)
    return {uuid: _readings(uuid, gpu) for uuid, gpu in found.items() if not gpus or uuid in gpus}


def past_energy(
    url: str,
    start_s: float,
    end_s: float,
    *,
    selector: str = "",
    gpus: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> PastEnergy:
    """Return the energy between two Unix times; arguments as of `read_history`.

    Raises:
        InputError: as `read_history`.
    """
    histories = read_history(url, start_s, end_s, selector=selector, gpus=gpus, headers=headers)
    energies = {uuid: metered(readings, start_s, end_s) for uuid, readings in histories.items()}
    activity = Activity(start_s, end_s, busy_share=None)
    series = tuple(one for readings in histories.values() for one in to_series(readings))
    return PastEnergy(_sum(list(energies.values())), energies, examine(Scene(series, activity, source=SOURCE)).reasons)


def save_history(folder: Path | str, histories: Mapping[str, list[Reading]]) -> None:
    """Write histories that were scraped at the same instants as `telemetry.parquet` and `clock.json` into `folder`.

    Raises:
        InputError: the GPUs were not scraped together; save those of one host.
    """
    columns = list(histories.values())
    times_s = [reading.time_s for reading in columns[0]]
    if any([reading.time_s for reading in column] != times_s for column in columns):
        raise InputError("the GPUs were scraped at different instants; choose those of one host with a selector")
    recorder = Recorder(None, None)
    recorder.readings = [
        replace(row[0], channels=tuple(reading.channels[0] for reading in row), lag_s=max(r.lag_s for r in row))
        for row in zip(*columns, strict=True)
    ]
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    write_parquet(out / "telemetry.parquet", TELEMETRY_KIND, recorder.table(times_s[0]))
    write_json(out / "clock.json", "clock", {"unix_s": times_s[0]})


def _readings(uuid: str, gpu: _Gpu) -> list[Reading]:
    energy, power = (
        {} if one is None else dict(zip(one.time_s.tolist(), one.values.tolist(), strict=True))
        for one in (gpu.energy, gpu.power)
    )
    refresh, found = Refresh(), []
    for time_s in sorted({*energy, *power}):
        value_mj = energy.get(time_s)
        refresh.see(time_s, (value_mj, power.get(time_s)))
        joules = None if value_mj is None else value_mj * J_PER_MJ
        found.append(Reading(time_s, SOURCE, Boundary.GPU, (Channel(uuid, joules, None, power.get(time_s)),)))
    lag_s = refresh.period_s if refresh.period_s is not None else refresh.lag_s
    return [replace(reading, lag_s=lag_s) for reading in found]


def _sum(energies: Sequence[Energy]) -> Energy:
    known = [energy.budget for energy in energies if energy.budget is not None]
    if not known or len(known) < len(energies):
        return ABSENT
    return replace(energies[0], budget=total(known))
