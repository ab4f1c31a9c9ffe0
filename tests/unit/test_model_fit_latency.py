"""Times of another source: rows read as they are, the load that ran, and a fit that finds what is behind the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import FileFormatError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model.calibration import architecture, read_v3
from wattlane.model.fit_latency import ASYNC_HOST, TimeFit, fit_latency, held
from wattlane.model.fit_phase import Hierarchy, fit_phase, platform_prior, table
from wattlane.model.kernel_efficiency import kernel_efficiencies
from wattlane.model.latency_points import LatencyRow, read_latency
from wattlane.model.laws.phase import PARAMETERS, Case
from wattlane.model.priors import SOFTWARE, priors

H100 = gpu("H100")
MODELS = (("Llama-3.1-70B", "fp8"), ("Qwen3-32B", "bf16"), ("gpt-oss-120b", "mxfp4"), ("MiniMax-M2.5", "fp8"))


def prior() -> Hierarchy:
    """The prior of one platform, as wide as what nobody measured."""
    known = priors()
    n = len(PARAMETERS)
    centre = np.log([known[name].centre for name in PARAMETERS])
    ceiling = np.array([0.0 if name.startswith("eta_") else np.inf for name in PARAMETERS])
    sd = np.array([known[name].wide for name in PARAMETERS])
    return Hierarchy(PARAMETERS, 1, np.arange(n)[None, :], centre, np.diag(sd**2), ceiling)


def row(name: str, precision: str, version: str, batch: float, tp: int = 4) -> LatencyRow:
    case = Case(H100, model(name), precision, tp)
    return LatencyRow(case, version, 1024.0, 512.0, batch, batch, 0.01, 0.1)


def made(truth: TimeFit, noise: float = 0.01, seed: int = 0) -> tuple[LatencyRow, ...]:
    """Rows of four models on two versions of an engine, with the times of `truth`."""
    rows = tuple(
        row(name, precision, version, batch, tp)
        for (name, precision), version in zip(MODELS, ("0.12.0", "0.12.0", "0.18.0", "0.18.0"), strict=True)
        for batch in (2.0, 32.0)
        for tp in (4, 8)
    )
    rng = np.random.default_rng(seed)
    times = truth.predict(rows) * np.exp(rng.normal(0, noise, len(rows)))
    return tuple(replace(r, tpot_s=float(t)) for r, t in zip(rows, times, strict=True))


def truth() -> TimeFit:
    parameters = {name: known.centre for name, known in priors().items()} | {"comm_per_layer_s": 3e-5, "eta_kv": 0.85}
    slow, fast = np.zeros(len(SOFTWARE)), np.zeros(len(SOFTWARE))
    fast[SOFTWARE.index("host_s")] = np.log(0.4)
    return TimeFit(parameters, {"0.12.0": slow, "0.18.0": fast})


def test_a_model_left_out_is_predicted_from_the_others() -> None:
    rows = made(truth())
    name = model("gpt-oss-120b").name
    rest, out = held(rows, name)
    assert len(rest) + len(out) == len(rows)
    assert {r.case.model.name for r in out} == {name}
    assert np.abs(fit_latency(rest, prior()).errors(out)).mean() < 0.15
    fit = fit_latency(rows, prior())
    assert np.abs(fit.errors(rows)).mean() < 0.02
    host = SOFTWARE.index("host_s")
    assert fit.deviations["0.18.0"][host] < fit.deviations["0.12.0"][host] - 0.3


def test_a_version_never_seen_gets_what_its_generation_does() -> None:
    fit = truth()
    host = fit.parameters["host_s"]
    assert fit.of(row("Llama-3.1-70B", "fp8", "0.20.1", 4.0))["host_s"] == pytest.approx(ASYNC_HOST * host)
    for older in ("0.13.1", "", "unknown.1"):
        assert fit.of(row("Llama-3.1-70B", "fp8", older, 4.0))["host_s"] == pytest.approx(host)


def test_rows_are_read_with_the_load_that_ran(tmp_path: Path) -> None:
    columns = {
        "backend": "vllm", "mode": "agg", "system": "h100_sxm", "model_path": "Qwen/Qwen3-32B", "precision": None,
        "backend_version": "0.12.0", "isl": 4096, "osl": 1024, "tp_size": 2.0, "moe_ep_size": 1.0, "batch_size": 8.0,
        "concurrency": 8.0, "silicon_ttft_ms": 100.0, "silicon_tpot_ms": 20.0,
    }  # fmt: skip
    expert = columns | {"model_path": "MiniMaxAI/MiniMax-M2.5", "precision": "fp8", "tp_size": 4.0, "moe_ep_size": 16.0}
    rows = [
        columns,
        columns | {"concurrency": 128.0, "silicon_ttft_ms": 58000.0, "silicon_tpot_ms": 55.0},
        columns | {"concurrency": None, "batch_size": 4.0, "isl": 128},
        expert | {"concurrency": 4.0, "backend_version": "0.18.0"},
        expert | {"model_path": "openai/gpt-oss-120b", "precision": "fp4", "concurrency": 512.0, "isl": 1024}
        | {"silicon_ttft_ms": 23800.0, "silicon_tpot_ms": 5.6, "backend_version": None},
        columns | {"backend": "trtllm"},
        columns | {"mode": "disagg"},
        columns | {"system": "gb200"},
    ]  # fmt: skip
    path = tmp_path / "rows.csv"
    pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    steady, full, single, experts, queued = read_latency(path)
    assert (steady.case.precision, steady.running, steady.tpot_s, steady.ttft_s) == ("bf16", 8.0, 0.02, 0.1)
    assert steady.context_tokens == 4096 + 512
    assert not steady.is_async
    # the cache holds fewer than were sent, and by its own times about as many ran
    assert 50 < full.running < 80
    assert full.observed_running == pytest.approx(full.running, rel=0.15)
    assert not full.is_queued
    assert single.running == 4.0
    assert (experts.case.expert_gpus, experts.is_async, experts.case.precision) == (4, True, "fp8")
    assert queued.case.precision == "mxfp4"
    assert queued.is_queued
    assert queued.observed_running == pytest.approx(99.4, abs=0.5)
    pl.DataFrame({"backend": ["vllm"]}).write_csv(path)
    with pytest.raises(FileFormatError, match="missing columns mode"):
        read_latency(path)


@pytest.mark.data
def test_models_and_an_engine_never_fitted_are_within_the_stated_errors(data_dir: Path) -> None:
    rows = read_latency(data_dir / "latency" / "aiconfigurator_silicon_h100_gb200.csv")
    assert len(rows) == 224
    kernels = data_dir / "kernels" / "aiconfigurator"
    known = table([read_v3(data_dir / "energy" / "ml-energy-v3" / "configurations.csv", "H100").rows])
    before, new = (
        [priors(kernel_efficiencies(kernels, H100))],
        priors(kernel_efficiencies(kernels, H100), other_software=True),
    )
    mape = []
    for name in sorted({r.case.model.name for r in rows}):
        rest, out = held(rows, name)
        seen = known.group != architecture(out[0].case.model)
        fit = fit_latency(rest, platform_prior(fit_phase(known.rows(seen), before), new))
        error = fit.errors(tuple(r for r in out if not r.is_queued))
        mape.append(float(np.abs(np.expm1(error)).mean()))
    assert np.mean(mape) <= 0.12
    assert max(mape) <= 0.20
