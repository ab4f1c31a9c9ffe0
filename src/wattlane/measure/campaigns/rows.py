"""One row a trial: the whole configuration, versions, latency, and energy or null, with status and reasons.

batch_mean = Σ time in flight of each request / time in which any was        batch_max = most at once
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.core.types import Outcome as RequestOutcome
from wattlane.measure.account import GAIN_PART
from wattlane.measure.campaigns.trials import Outcome, Status, Trial, status_of

if TYPE_CHECKING:
    import polars as pl

KV_CACHING = ("transformers", "vllm", "xllamacpp")  # servers that cannot write a token without their cache
OVER_REQUESTS = ("ttft", "tbt", "e2e")  # quantities whose spread over the requests of a trial is kept


def empty_row(outcome: Outcome) -> dict[str, Any]:
    """Return the row of a trial that gave no measurement; every figure is null."""
    return {**_asked(outcome.trial), "status": outcome.status.value, "reasons": outcome.reason}


def row_of(trial: Trial, folder: Path, body: Mapping[str, Any], per_requests: int = 1) -> dict[str, Any]:
    """Return the row of a finished trial from its `measurement.json` (`body`) and its served table."""
    status, _ = status_of(body)
    served = read_served(folder / "served.parquet")
    return {
        **_asked(trial),
        "status": status.value,
        "reasons": "; ".join(body["reasons"]),
        **figures(body, served),
        "energy_j_normalised": _times(_per(body["energy"]["energy_j"], _completed(body)), per_requests),
        "normalised_to_requests": per_requests,
        **_versions(folder, body),
    }


def figures(body: Mapping[str, Any], served: pl.DataFrame) -> dict[str, Any]:
    """Return what was found: tokens, batch, times, energies and their spread over the requests.

    Requests and tokens are those of the whole window; its length, energies and CPU seconds are per pass.
    """
    energy, phases, window_s = body["energy"], body["phases"], body["window_s"]
    total_j, done, passes = energy["energy_j"], _completed(body), body.get("passes", 1)
    batch_mean, batch_max = _batch(served)
    return {
        "requests": body["requests"],
        "failed": body["failed"],
        "input_tokens": body["tokens"]["input"],
        "output_tokens": body["tokens"]["output"],
        "batch_mean": batch_mean,
        "batch_max": batch_max,
        "passes": passes,
        "window_s": window_s / passes,
        "energy_j": _per(total_j, passes),
        "energy_j_lo": _per(energy["energy_j_lo"], passes),
        "energy_j_hi": _per(energy["energy_j_hi"], passes),
        "energy_random_half_j": _per(_random_half_j(energy), passes),
        "energy_bounds_j": _per(energy.get("bounds_j"), passes),
        "energy_gain_half_j": _per(energy["error_parts"].get(GAIN_PART), passes),
        "energy_status": energy["status"],
        "energy_source": energy["source"],
        "boundary": energy["boundary"],
        "prefill_j": _per(phases["prefill"]["energy_j"], passes),
        "decode_j": _per(phases["decode"]["energy_j"], passes),
        "phase_status": phases["decode"]["status"],
        "idle_w": body["idle_w"],
        "power_w": _per(total_j, window_s),
        "energy_j_per_request": _per(total_j, done),
        "energy_j_per_output_token": _per(total_j, body["tokens"]["output"]),
        "output_tokens_per_s": _per(body["tokens"]["output"], window_s),
        "requests_per_s": _per(done, window_s),
        **{name: value for name, value in body["latency"].items() if name not in ("requests", "failed")},
        **_over_requests(served),
        "cpu_seconds": _per(body["cpu_seconds"], passes),
    }


class MeterHalves(NamedTuple):
    """Half-widths over the energy of a row: random, another in every window; bounds, in full; gain, one of a card."""

    random: float = 0.0
    bounds: float = 0.0
    gain: float = 0.0


def meter_halves(row: Mapping[str, Any]) -> MeterHalves:
    """Return the meter's error in a row; zeros where it states none."""
    energy_j = row.get("energy_j")
    if not energy_j:
        return MeterHalves()
    names = ("energy_random_half_j", "energy_bounds_j", "energy_gain_half_j")
    return MeterHalves(*((row.get(name) or 0.0) / abs(energy_j) for name in names))


def per_request(served: pl.DataFrame) -> dict[str, np.ndarray]:
    """Return per completed request, in order of id: `request_id`, and seconds of `ttft`, `tbt` (mean gap), `e2e`."""
    done = served.filter(served["outcome"] == RequestOutcome.COMPLETED.value).sort("request_id")
    arrival = done["arrival_s"].to_numpy()
    return {
        "request_id": done["request_id"].to_numpy(),
        "arrival": arrival,
        "ttft": done["first_token_s"].cast(float).to_numpy() - arrival,
        "tbt": done["gaps_s"].list.mean().cast(float).to_numpy().astype(float),
        "e2e": done["end_s"].cast(float).to_numpy() - arrival,
    }


def _random_half_j(energy: Mapping[str, Any]) -> float | None:
    """Return the half-width of the random parts; of a file that does not state it, from the whole interval."""
    if "random_half_j" in energy or energy["energy_j_lo"] is None:
        return energy.get("random_half_j")
    half_j, gain_j = (energy["energy_j_hi"] - energy["energy_j_lo"]) / 2, energy["error_parts"].get(GAIN_PART, 0.0)
    return math.sqrt(max(half_j**2 - gain_j**2, 0.0))


def _over_requests(served: pl.DataFrame) -> dict[str, float | None]:
    found, values = {}, per_request(served)
    for name in OVER_REQUESTS:
        known = values[name][np.isfinite(values[name])]
        found[f"{name}_mean_s"] = float(known.mean()) if len(known) else None
        found[f"{name}_sd_over_requests_s"] = float(known.std(ddof=1)) if len(known) > 1 else None
    return found


def _batch(served: pl.DataFrame) -> tuple[float | None, int | None]:
    known = served.drop_nulls(["release_s", "end_s"])
    if len(known) == 0:
        return None, None
    times = np.concatenate((known["release_s"].to_numpy(), known["end_s"].to_numpy()))
    steps = np.concatenate((np.ones(len(known)), -np.ones(len(known))))
    order = np.lexsort((steps, times))
    running, lengths = np.cumsum(steps[order])[:-1], np.diff(times[order])
    busy_s = float(lengths[running > 0].sum())
    return (float((running * lengths).sum()) / busy_s if busy_s > 0 else None), int(running.max(initial=1))


def _asked(trial: Trial) -> dict[str, Any]:
    cell = trial.cell.as_dict()
    factors = cell.pop("factors")
    slo = cell.pop("slo")
    return {
        **cell,
        "trial": trial.number,
        **{f"factor_{name}": value for name, value in factors.items()},
        **{f"slo_{name}": value for name, value in slo.items()},
    }


def _versions(folder: Path, body: Mapping[str, Any]) -> dict[str, Any]:
    engine = body["engine"]
    try:
        beside = read_json(folder / "provenance.json", "provenance")
    except InputError:  # the campaign was killed between the two files; the measurement itself is whole
        beside = {}
    return {
        "engine_name": engine.get("name"),
        "engine_version": engine.get("version"),
        "kv_cache": engine.get("kv_cache", True if engine.get("name") in KV_CACHING else None),
        "engine": json.dumps(engine, sort_keys=True),
        "host": json.dumps(body.get("host", {}), sort_keys=True),
        "wattlane_version": body["provenance"]["version"],
        "python_version": beside.get("python"),
        "platform": beside.get("platform"),
        "trial_s": beside.get("durations_s", {}).get("whole"),
    }


def _completed(body: Mapping[str, Any]) -> int:
    return int(body["requests"]) - int(body["failed"])


def _per(value: float | None, count: float) -> float | None:
    return None if value is None or not count > 0 else value / count


def _times(value: float | None, count: float) -> float | None:
    return None if value is None else value * count


def is_measured(row: Mapping[str, Any]) -> bool:
    """Return whether a row's figures may be used."""
    return bool(row["status"] == Status.MEASURED.value)
