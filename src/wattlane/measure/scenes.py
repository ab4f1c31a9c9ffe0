"""Make the scene that validity judges out of a finished trial, and telemetry files back into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wattlane.core.errors import FileFormatError
from wattlane.core.files import read_json, read_parquet
from wattlane.core.types import Outcome
from wattlane.measure.meters.replay import ASIDE
from wattlane.measure.readings import Meter, Reading
from wattlane.measure.sources import facts_of
from wattlane.measure.validity.estimates import mean_w
from wattlane.measure.validity.scene import Activity, CardFacts, Health, Scene, Series, Throttle, to_series

if TYPE_CHECKING:
    import polars as pl

FEWEST_REQUESTS = 20  # fewer do not make a rate
COLUMNS = ("time_s", "source", "device", "energy_j", "power_w")


def trial_scene(
    readings: Sequence[Reading],
    looks: Sequence[Health],
    activity: Activity,
    meter: Meter | None,
    idle_edges_s: tuple[float, float] | None,
) -> Scene:
    """Return the scene of a trial; idle power with a context is that of the idle window before it."""
    series = to_series(readings)
    facts = {one.device: _facts(one, meter, idle_edges_s) for one in series}
    return Scene(series, activity, facts, tuple(looks), readings[0].source if readings else "")


def trial_activity(
    table: pl.DataFrame,
    edges_s: tuple[float, float],
    busy_s: float,
    client_cpu_s: float,
    clock_pairs: Sequence[tuple[float, float]],
    *,
    open_loop: bool,
) -> Activity:
    """Return what the engine did, from a served table whose times count from the start of the window.

    Success is judged elsewhere, with the first error text, and so is left out here.
    """
    start_s, end_s = edges_s
    length_s = max(end_s - start_s, 1e-9)
    offered_per_s, sent_per_s = _rates(table) if open_loop else (None, None)
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    chunks, tokens = int(done["chunks"].sum()), int(done["output_tokens"].sum())
    last_s = done["end_s"].max()
    return Activity(
        start_s,
        end_s,
        busy_share=busy_s / length_s,
        last_end_s=start_s + float(last_s) if isinstance(last_s, float) else None,
        # a chunk may hold several tokens, so only more chunks than tokens is a contradiction
        client_tokens=chunks if chunks > tokens > 0 else None,
        server_tokens=tokens,
        offered_per_s=offered_per_s,
        sent_per_s=sent_per_s,
        client_core_share=client_cpu_s / length_s,
        clock_pairs=tuple(clock_pairs),
    )


def telemetry_scene(path: Path, facts: CardFacts | None = None) -> Scene:
    """Return the scene of a recorded run; `measurement.json` beside the file tells its window and idle power.

    Without it the whole record is the window and the engine is taken to have been busy.

    Raises:
        InputError: there is no such file.
        FileFormatError: it is not telemetry, or holds no reading.
    """
    table = read_parquet(path, "telemetry", COLUMNS)
    metered = table.filter(~table["source"].is_in(ASIDE))
    if metered.is_empty():
        raise FileFormatError(f"{path}: found no reading of a sensor; expected at least one energy source")
    series = tuple(
        Series(
            str(part["device"][0]),
            *(_column(part, name) for name in ("time_s", "energy_j", "power_w", "average_power_w")),
        )
        for part in metered.partition_by("device", maintain_order=True)
    )
    activity, idle_w = _beside(path, float(metered["time_s"].max()))  # type: ignore[arg-type]
    known = facts or CardFacts()
    share_w = None if idle_w is None else idle_w / len(series)
    if known.context_idle_w is None and share_w is not None:
        known = CardFacts(known.name, known.tdp_w, known.limit_w, context_idle_w=share_w)
    return Scene(series, activity, {one.device: known for one in series}, _looks(table), str(metered["source"][0]))


def _facts(series: Series, meter: Meter | None, idle_edges_s: tuple[float, float] | None) -> CardFacts:
    idle_w = None if idle_edges_s is None else mean_w(series, *idle_edges_s)
    known = facts_of(meter, series.device)
    return CardFacts(
        known.name,
        limit_w=known.limit_w,
        default_limit_w=known.default_limit_w,
        context_idle_w=idle_w if idle_w is not None and idle_w > 0 else None,
        slowdown_c=known.slowdown_c,
        is_mig=known.is_mig,
    )


def _rates(table: pl.DataFrame) -> tuple[float | None, float | None]:
    """Return (offered, sent) requests per second; None where too few or all at once."""
    sent = table.filter(table["started_s"].is_not_null())
    if len(sent) < FEWEST_REQUESTS:
        return None, None
    spans_s = [float(np.ptp(sent[name].to_numpy())) for name in ("offered_s", "started_s")]
    if spans_s[0] < 1.0 or spans_s[1] <= 0:
        return None, None
    return (len(sent) - 1) / spans_s[0], (len(sent) - 1) / spans_s[1]


def _column(part: pl.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if name not in part.columns:
        return np.full(len(part), np.nan)
    return part[name].cast(float).fill_null(float("nan")).to_numpy()


def _looks(table: pl.DataFrame) -> tuple[Health, ...]:
    if "sm_clock_hz" not in table.columns:
        return ()
    return tuple(
        Health(
            row["time_s"],
            row["device"],
            row["sm_clock_hz"],
            row.get("temperature_c"),
            frozenset(Throttle(word) for word in (row.get("throttle") or "").split(", ") if word),
        )
        for row in table.filter(table["source"] == "health").iter_rows(named=True)
    )


def _beside(path: Path, last_s: float) -> tuple[Activity, float | None]:
    """Return (activity, idle watts) from the measurement beside a telemetry file, whose times begin with its window."""
    file = path.parent / "measurement.json"
    if not file.is_file():
        return Activity(0.0, last_s), None
    body = read_json(file, "measurement")
    length_s, idle_s = float(body["window_s"]), float(body.get("time", {}).get("idle_s", 0.0))
    activity = Activity(
        0.0,
        length_s,
        busy_share=1.0 - idle_s / length_s if length_s > 0 else None,
        offered=body.get("requests"),
        completed=(body.get("requests") or 0) - (body.get("failed") or 0),
    )
    return activity, body.get("idle_w")
