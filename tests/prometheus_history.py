"""What a Prometheus server would show of a known workload served by vLLM: for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.workload import Workload
from wattlane.workload.generation import generate
from wattlane.workload.metrics.queries import INPUT_BUCKETS, INPUT_SUM, OUTPUT_BUCKETS, OUTPUT_SUM, REQUESTS

START_S = 1_700_000_000
STEP_S = 60
STEPS = 30
BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000]
Responses = dict[str, Any]


def truth(seed: int = 1) -> Workload:
    lengths = (
        "kind=lognormal,input_mean_tokens=1200,input_sd_tokens=1000,output_median_tokens=120,output_sigma=0.9,"
        "max_input_tokens=30000,max_output_tokens=8000"
    )
    arrival = f"kind=diurnal,rate_rps=2,period_s={STEP_S * STEPS},peak_s=900"
    return generate(duration_s=STEP_S * STEPS, arrival=arrival, lengths=lengths, seed=seed)


def counters(workload: Workload, server: str = "a") -> dict[str, list[tuple[dict[str, str], NDArray[np.float64]]]]:
    """Return what a server that started at 0 shows at each grid edge, by metric and labels."""
    edges_s = STEP_S * np.arange(STEPS + 1)
    done = np.searchsorted(workload.arrival_s, edges_s, side="right")

    def history(values: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.concatenate(([0], np.cumsum(values)))[done].astype(float)

    labels = {"instance": server, "model_name": "llama"}
    found: dict[str, list[tuple[dict[str, str], NDArray[np.float64]]]] = {REQUESTS: []}
    sides = (
        (INPUT_BUCKETS, INPUT_SUM, workload.input_tokens),
        (OUTPUT_BUCKETS, OUTPUT_SUM, workload.output_tokens),
    )
    for buckets, total, tokens in sides:
        found[buckets] = [({**labels, "le": f"{le:.1f}"}, history((tokens <= le).astype(np.int64))) for le in BOUNDS]
        found[buckets].append(({**labels, "le": "+Inf"}, done.astype(float)))
        found[total] = [(labels, history(tokens))]
    by_length = workload.output_tokens >= 500
    for reason, chosen in (("length", by_length), ("stop", ~by_length)):
        found[REQUESTS].append(({**labels, "finished_reason": reason}, history(chosen.astype(np.int64))))
    return found


def response(metric: str, series: list[tuple[dict[str, str], NDArray[np.float64]]], keep: Any = slice(None)) -> Any:
    times = (START_S + STEP_S * np.arange(STEPS + 1)).tolist()
    result = [
        {
            "metric": {"__name__": metric, **labels},
            "values": [[t, repr(float(v))] for t, v in list(zip(times, values, strict=True))[keep]],
        }
        for labels, values in series
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def responses_of(workload: Workload, *, without: tuple[str, ...] = ()) -> Responses:
    found = counters(workload)
    return {metric: response(metric, series) for metric, series in found.items() if metric not in without}


def saved(folder: Path, responses: Responses) -> Path:
    path = folder / "metrics.json"
    path.write_text(json.dumps({"queries": responses}), encoding="utf-8")
    return path


def per_step(workload: Workload) -> list[int]:
    return np.bincount((workload.arrival_s // STEP_S).astype(int), minlength=STEPS).tolist()


def gauge(metric: str, values: list[NDArray[np.float64]]) -> Any:
    return response(metric, [({"gpu": str(i), "Hostname": "n1"}, v) for i, v in enumerate(values)])
