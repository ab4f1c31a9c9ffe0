"""A run folder as a study writes it, from seeded numbers: every file, or fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.files import write_json, write_parquet
from wattlane.core.served import write_served

REQUESTS = 400
BASELINE_J, PLAN_J, NO_CLOCKS_J, TUNED_J = 412_000.0, 283_000.0, 331_000.0, 345_000.0
TIE_J = 407_000.0
OUTPUT_TOKENS = 84_452


def case(label: str, energy_j: float, ttft_p99_s: float, clock_hz: float | None, seqs: int) -> dict[str, Any]:
    """Return one deployment of the summary."""
    return {
        "label": label,
        "requests": REQUESTS,
        "failed": 0,
        "energy_j": energy_j,
        "energy_j_per_request": energy_j / REQUESTS,
        "energy_j_per_output_token": energy_j / OUTPUT_TOKENS,
        "prefill_j": energy_j * 0.18,
        "decode_j": energy_j * 0.55,
        "idle_j": energy_j * 0.27,
        "mean_power_w": energy_j / 1200,
        "ttft_p50_s": ttft_p99_s / 5,
        "ttft_p99_s": ttft_p99_s,
        "tbt_p50_s": 0.011,
        "tbt_p99_s": 0.043,
        "e2e_p50_s": 2.4,
        "e2e_p99_s": 9.1,
        "slo_attainment": 0.9945,
        "replicas": 2,
        "mean_batch": 17.3,
        "origin": "modelled",
        "boundary": "gpu",
        "deployment": {
            "model": "Llama-3.1-8B-Instruct",
            "gpu": "H100",
            "max_num_seqs": seqs,
            "max_num_batched_tokens": 2048,
            "replicas": 2,
            "clock_hz": clock_hz,
            "release_window_s": 0.0,
            "power_cap_w": None,
        },
    }


def scenario(name: str) -> dict[str, Any]:
    """Return the scenario of the summary."""
    lengths = {"mean": 1154.7, "std": 1108.8, "p50": 1020, "p95": 3500, "p99": 4100, "max": 14050}
    return {
        "name": name,
        "model": "Llama-3.1-8B-Instruct",
        "gpu": "H100 SXM",
        "precision": "bf16",
        "tensor_parallel": 1,
        "engine": "vllm",
        "engine_version": "0.11.0",
        "seed": 7,
        "horizon_s": 1204.0,
        "slo": {"ttft_s": 1.0, "tbt_s": 0.1, "attainment": 0.99},
        "workload": {
            "name": "azure-conv",
            "source": "shape azure-conv",
            "requests": REQUESTS,
            "span_s": 1190.0,
            "rate_rps": 5.5,
            "gap_cv": 1.31,
            "input_tokens": lengths,
            "output_tokens": {"mean": 211.1, "std": 162.9, "p50": 129, "p95": 451, "p99": 601, "max": 1000},
        },
    }


def decisions(saving: bool) -> dict[str, Any]:
    """Return knobs, commands and savings of a month."""
    return {
        "knobs": [
            {"knob": "max_num_seqs", "from": 256, "to": 96, "energy_j": 405_000.0, "saving_fraction": 0.017},
            {"knob": "replicas", "from": 3, "to": 2, "energy_j": NO_CLOCKS_J, "saving_fraction": 0.197},
            {"knob": "release_window_s", "from": 0.0, "to": 0.05, "energy_j": 334_000.0, "saving_fraction": 0.189},
            {
                "knob": "clock_hz",
                "from": None,
                "to": 1.2e9,
                "energy_j": PLAN_J if saving else TIE_J,
                "saving_fraction": 0.313,
            },
        ],
        "commands": {
            "baseline": ["vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 256"],
            "plan": ["vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 96 --max-num-batched-tokens 2048"],
            "clock": ["sudo nvidia-smi --lock-gpu-clocks 1200,1200"],
            "difference": ["- --max-num-seqs 256", "+ --max-num-seqs 96"],
            "rollback": ["sudo nvidia-smi --reset-gpu-clocks", "vllm serve meta-llama/Llama-3.1-8B-Instruct"],
            "without_privileged": ["vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 96"],
        },
        "per_month": {
            "factors": {
                "electricity_usd_per_kwh": {
                    "value": 0.0806,
                    "unit": "USD/kWh",
                    "source": "EIA, industrial customers, 2023",
                    "date": "2026-11-20",
                },
                "pue": 1.58,
            },
            "with_privileged": {"kwh": 123.4, "money": 9.95, "currency": "USD", "kgco2e": 58.4},
            "without_privileged": {"kwh": 77.5, "money": 6.25, "currency": "USD", "kgco2e": 36.7},
        },
    }


def account(energy_j: float) -> dict[str, float]:
    """Return a ledger that closes."""
    return {
        "metered_j": energy_j,
        "prefill_j": energy_j * 0.18,
        "decode_j": energy_j * 0.55,
        "idle_j": energy_j * 0.27,
        "overhead_j": 0.0,
        "residual_j": 3.1e-8,
    }


def summary(saving: bool = True, name: str = "azure-conv") -> dict[str, Any]:
    """Return a whole summary, of a saving or of none."""
    return {
        "scenario": scenario(name),
        "baseline": case("vLLM 0.11.0 defaults", BASELINE_J, 0.62, None, 256),
        "plan": case("plan", PLAN_J if saving else TIE_J, 0.81, 1.2e9, 96),
        "without_clocks": case("plan at maximum clock", NO_CLOCKS_J, 0.7, None, 96),
        "tuned_baseline": case("best of the engine's own knobs", TUNED_J, 0.66, None, 128),
        "saving_fraction": 0.3131 if saving else 0.012,
        "saving_interval": [0.241, 0.372] if saving else [-0.021, 0.044],
        "saving_without_clocks": 0.1966 if saving else 0.003,
        "saving_without_clocks_interval": [0.12, 0.26] if saving else [-0.03, 0.04],
        "saving_against_tuned": 0.1797 if saving else 0.001,
        "saving_against_tuned_interval": [0.11, 0.24] if saving else [-0.03, 0.03],
        "verdict": "saving" if saving else "no saving shown",
        "attainment_interval": {"baseline": [0.9921, 0.9972], "plan": [0.9902, 0.9961]},
        "slo_kept_share": {"baseline": 0.99, "plan": 0.975},
        "uncertainty": {
            "draws": 240,
            "level": 0.95,
            "method": "paired draws of law parameters, group residual and clock prior; 60-s blocks of arrivals",
            "parts": {"law parameters": 0.41, "group residual": 0.33, "clock prior": 0.2, "arrivals": 0.06},
        },
        "ledger": {"baseline": account(BASELINE_J), "plan": account(PLAN_J)},
        "ledger_residual_j": 3.1e-8,
        **decisions(saving),
        "assumptions": ["Both deployments are charged over one horizon.", "Clock effects rest on a prior."],
        "warnings": ["The clock prior has not been checked on this GPU."],
        "law": {"name": "phase", "gpu": "h100", "r2": 0.982, "residuals": {"median_relative": 0.043}},
        "provenance": {"version": "0.1.0", "seed": 7, "inputs": {"azure-conv": "9f" * 32}, "laws": {"phase": "1"}},
    }


def served(requests: int, seed: int) -> pl.DataFrame:
    """Return rows as the simulator writes them, with a list of gaps each."""
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0, 1190, requests))
    first = arrival + rng.gamma(2.0, 0.08, requests)
    outputs = np.clip(rng.lognormal(4.9, 0.8, requests), 2, 1000).astype(np.int64)
    gaps = [np.full(n - 1, 0.011, np.float32) for n in outputs]
    return pl.DataFrame(
        {
            "request_id": np.arange(requests),
            "class": ["default"] * requests,
            "arrival_s": arrival,
            "release_s": arrival,
            "first_token_s": first,
            "end_s": first + outputs * 0.011,
            "input_tokens": np.clip(rng.lognormal(6.6, 0.9, requests), 1, 14050).astype(np.int64),
            "cached_tokens": np.zeros(requests, np.int64),
            "output_tokens": outputs,
            "outcome": ["completed"] * requests,
            "replica": rng.integers(0, 2, requests),
            "prefill_j": rng.uniform(50, 200, requests),
            "decode_j": rng.uniform(200, 700, requests),
            "idle_j": rng.uniform(10, 90, requests),
            "gaps_s": gaps,
        }
    )


def frontier(rows: int, seed: int) -> pl.DataFrame:
    """Return configurations along a noisy hyperbola."""
    rng = np.random.default_rng(seed)
    ttft = np.exp(rng.uniform(np.log(0.2), np.log(8.0), rows))
    energy = 560 + 260 / ttft**0.6 + rng.gamma(2.0, 60, rows)
    return pl.DataFrame(
        {
            "energy_j_per_request": energy,
            "ttft_p99_s": ttft,
            "tbt_p99_s": rng.uniform(0.02, 0.14, rows),
            "slo_attainment": np.clip(1.02 - ttft / 20, 0, 1),
            "feasible": ttft < rng.uniform(0.7, 1.1, rows),
            "max_num_seqs": rng.choice([32, 64, 96, 128, 256], rows),
            "max_num_batched_tokens": np.full(rows, 2048),
            "replicas": rng.integers(1, 4, rows),
            "clock_hz": rng.choice([1.2e9, 1.5e9, 1.98e9], rows),
            "release_window_s": np.zeros(rows),
        }
    )


def power(bins: int, seed: int) -> pl.DataFrame:
    """Return 10-s bins of both runs."""
    rng = np.random.default_rng(seed)
    t_s = 10.0 * np.arange(bins)
    wave = 1 + 0.15 * np.sin(t_s / 180)
    parts = [
        pl.DataFrame({"run": [name] * bins, "t_s": t_s, "power_w": level * wave + rng.normal(0, 12, bins)})
        for name, level in (("baseline", 343.0), ("plan", 236.0))
    ]
    return pl.concat(parts)


def draws(saving: bool, seed: int) -> pl.DataFrame:
    """Return paired draws around the saving of the summary."""
    rng = np.random.default_rng(seed)
    saved = rng.normal(0.313 if saving else 0.012, 0.034 if saving else 0.017, 240)
    return pl.DataFrame(
        {
            "saving_fraction": saved,
            "saving_without_clocks": saved - (0.115 if saving else 0.01) + rng.normal(0, 0.01, 240),
            "baseline_j": np.full(240, BASELINE_J),
            "plan_j": BASELINE_J * (1 - saved),
            "baseline_attainment": np.full(240, 0.9945),
            "plan_attainment": np.full(240, 0.9945),
        }
    )


def histogram(seed: int) -> dict[str, list[float]]:
    """Return log-spaced bins of both token columns."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for side, mean, last in (("input", 6.6, 14051), ("output", 4.9, 1001)):
        edges = np.geomspace(1, last, 25)
        counts, _ = np.histogram(np.clip(rng.lognormal(mean, 0.9, REQUESTS), 1, last - 1), edges)
        found[f"{side}_edges"], found[f"{side}_counts"] = edges.tolist(), counts.tolist()
    return found


def measurement() -> dict[str, Any]:
    """Return what a real engine without a sensor gives."""
    absent = {"energy_j": None, "energy_j_lo": None, "energy_j_hi": None, "source": None, "boundary": None}
    return {
        "target": "xllamacpp",
        "engine": {"name": "llama.cpp", "version": "2026.1", "precision": "Q8_0", "slots": 4},
        "workload": {"name": "poisson", "requests": 100, "span_s": 4.9},
        "valid": True,
        "complete": True,
        "reasons": ["energy_absent: no energy sensor can be read on this machine"],
        "requests": 100,
        "failed": 0,
        "tokens": {"input": 6400, "output": 3200},
        "window_s": 6.4,
        "energy": {**absent, "status": "absent"},
        "phases": {
            "prefill": {**absent, "status": "absent", "duration_s": 1.9, "tokens": 6400},
            "decode": {**absent, "status": "absent", "duration_s": 5.2, "tokens": 3200},
        },
        "latency": {"requests": 100, "failed": 0, "ttft_p50_s": 0.021, "ttft_p99_s": 0.09, "tbt_p50_s": 0.0042},
    }


def regimes() -> dict[str, Any]:
    """Return what each phase waits for."""
    parts = ("arithmetic", "memory", "links", "launches", "power limit")
    phases = [
        {
            "phase": phase,
            "regime": {"bound": bound},
            "shares": dict(zip(parts, shares, strict=True)),
            "effects": [{"knob": "precision", "change": "fp8", "verdict": "pays"}],
        }
        for phase, bound, shares in (
            ("prefill", "compute", (0.8, 0, 0, 0.1, 0.1)),
            ("decode", "bandwidth", (0, 0.7, 0, 0.3, 0)),
        )
    ]
    curves = {
        phase: [{key: n, **dict(zip(parts, (0.5, 0.25, 0.0, 0.15, 0.1), strict=True))} for n in (1, 32, 1024)]
        for phase, key in (("prefill", "prompt_tokens"), ("decode", "batch"))
    }
    return {"batch": 17.3, "input_tokens": 1154.7, "output_tokens": 211.1, "phases": phases, "curves": curves}


def write_run(
    folder: Path, *, saving: bool = True, name: str = "azure-conv", requests: int = REQUESTS, measured: bool = True
) -> Path:
    """Write every file of a run and return its folder."""
    write_json(folder / "summary.json", "summary", summary(saving, name))
    write_served(folder / "served.parquet", served(requests, 1))
    write_served(folder / "baseline-served.parquet", served(requests, 2))
    write_parquet(folder / "power.parquet", "power", power(121, 3))
    write_parquet(folder / "frontier.parquet", "frontier", frontier(180, 4))
    write_parquet(folder / "draws.parquet", "draws", draws(saving, 5))
    write_json(folder / "workload.json", "workload", {"requests": requests, "histogram": histogram(6)})
    write_json(folder / "regimes.json", "regimes", regimes())
    if measured:
        write_json(folder / "measured" / "measurement.json", "measurement", measurement())
    return folder
