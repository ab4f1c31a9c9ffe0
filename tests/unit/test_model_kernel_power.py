"""The law of kernel power: physics it must keep, the work of shapes it counts, and a fit that finds law and meter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import write_json
from wattlane.model.fit_kernel_power import (
    MEMORY,
    fit_family,
    folds,
    law_power,
    left_out,
    reading,
    run_over_tau,
)
from wattlane.model.kernel_power import (
    KernelPower,
    kernel_power,
    kernel_power_priors,
    read_kernel_power,
    write_kernel_power,
)
from wattlane.model.kernel_work import FAMILIES, Rows, read_rows

LAW = kernel_power()
SHARES = {"gemm_bf16": 0.10, "gemm_fp8": 0.10, "context_attention": 0.15, "generation_attention": 0.15, "moe": 0.25}


def made(family: str = "gemm_bf16", n: int = 600, seed: int = 0) -> Rows:
    """Rows of a known law behind a known meter, runs of short kernels between them."""
    rng = np.random.default_rng(seed)
    seconds = np.exp(rng.uniform(np.log(5e-6), np.log(5e-3), n))
    flop = seconds * np.exp(rng.uniform(np.log(2e13), np.log(8e14), n))
    moved = seconds * np.exp(rng.uniform(np.log(1e11), np.log(4.5e12), n))
    limit = np.full(n, 700.0)
    groups = np.array([f"{i % 40} 64" for i in range(n)])
    rows = Rows(family, flop, moved, np.minimum(rng.uniform(0, 1.5, n), 1.0), seconds, limit, limit, groups)
    shown = reading(TRUTH, METER, rows, np.arange(n))
    return Rows(family, flop, moved, rows.reread, seconds, shown * np.exp(rng.normal(0, 0.01, n)), limit, groups)


TRUTH = KernelPower(180.0, 6e-11, 3.5e-13, 0.4)
METER = {"tau_s": 0.5, "ramp_s": 4e-4, "calls": 60.0, "start_w": 150.0}


@given(
    st.sampled_from(sorted(LAW.families)),
    st.floats(0, 2e15),
    st.floats(0, 8e12),
    st.floats(0, 1),
    st.floats(1.0, 3.0),
)
def test_more_work_a_second_never_draws_less_and_never_more_than_the_limit(
    family: str, flop: float, moved: float, share: float, factor: float
) -> None:
    law = LAW.family(family)

    def watts(f: float, b: float) -> float:
        return float(law.power_w(np.array([f]), np.array([b]), np.array([share]), np.array([700.0]))[0])

    at = watts(flop, moved)
    assert 0 < at <= 700.0
    assert watts(flop * factor, moved) >= at
    assert watts(flop, moved * factor) >= at
    assert watts(flop * factor, moved * factor) <= factor * at * (1 + 1e-12)


def test_the_law_round_trips_through_its_small_file(tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    write_kernel_power(LAW, path)
    assert read_kernel_power(path) == LAW
    assert path.stat().st_size < 10_000
    body = json.loads(path.read_text())
    assert body["families"]["gemm_bf16"]["byte_j"]["unit"] == "J/byte"
    assert {"source", "date", "rows", "inputs"} <= set(body["provenance"])
    body["families"]["moe"]["flop_j"]["value"] = -1.0
    write_json(path, "kernel-power", {k: v for k, v in body.items() if k not in {"schema", "kind"}})
    with pytest.raises(InputError, match=r"moe\.flop_j is -1"):
        read_kernel_power(path)
    write_json(path, "kernel-power", {"families": {"moe": {}}})
    with pytest.raises(InputError, match="static_w"):
        read_kernel_power(path)
    write_json(path, "profile", {})
    with pytest.raises(FileFormatError, match="profile"):
        read_kernel_power(path)
    with pytest.raises(UnknownNameError, match="gemm_bf16"):
        LAW.family("softmax")


def test_priors_are_physical_and_wider_on_a_board_that_was_not_measured() -> None:
    here, there = kernel_power_priors(gpu("H200")), kernel_power_priors(gpu("B200"))
    assert gpu("H200").idle_loaded_w < here["static_w"][0] < 0.6 * gpu("H200").tdp_w
    assert 2e-11 < here["byte_j"][0] < 2e-10  # HBM3 with its interface takes 30 to 60 pJ a byte
    # at the dense peak the arithmetic alone would draw more than a third of the limit, and fp8 takes less a FLOP
    assert here["flop_j"][0] * 9.9e14 > 700 / 3
    assert here["flop_j_fp8"][0] < here["flop_j"][0]
    assert there["static_w"][0] == pytest.approx(here["static_w"][0] * 1000 / 700)
    assert all(there[name][1] > here[name][1] for name in here)


SHAPES = {
    "gemm/v/gemm": {
        "gemm_dtype": ["bfloat16", "bfloat16", "fp8_block"],
        "m": [1, 65, 4],
        "n": [1000, 1000, 1000],
        "k": [16384, 512, 512],
    },
    "attention/v/context_attention": {
        "batch_size": [2, 2],
        "isl": [100, 1000],
        "num_heads": [8, 8],
        "num_key_value_heads": [2, 2],
        "head_dim": [64, 64],
        "window_size": [0, 10],
    },
    "attention/v/generation_attention": {
        "batch_size": [3, 3],
        "step": [99, 99],
        "num_heads": [8, 8],
        "num_key_value_heads": [2, 2],
        "head_dim": [64, 64],
        "window_size": [0, 10],
        "kv_cache_dtype": ["fp8", "bfloat16"],
    },
    "moe/v/moe": {
        "num_tokens": [512],
        "hidden_size": [128],
        "inter_size": [64],
        "topk": [2],
        "num_experts": [8],
        "moe_tp_size": [2],
        "moe_ep_size": [4],
        "moe_dtype": ["bfloat16"],
    },
}


def test_shapes_are_counted_as_work(tmp_path: Path) -> None:
    for name, columns in SHAPES.items():
        path = tmp_path / f"{name}_perf.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        n = len(next(iter(columns.values())))
        more = {"latency": [1.0] * n, "power": [None] * n, "power_limit": [700.0] * n}
        pl.DataFrame({**columns, **more}, schema_overrides={"power": pl.Float64}).write_parquet(path)
    gemm = read_rows(tmp_path, "gemm_bf16")
    assert gemm.flop.tolist() == [2.0 * 1000 * 16384, 2.0 * 128 * 1000 * 512]
    assert gemm.bytes[0] == 2.0 * (1000 * 16384 + 16384 + 1000)
    assert gemm.reread.tolist() == [1.0, 512 * 2 / 32768]
    assert (gemm.seconds.tolist(), gemm.power_w.tolist(), gemm.groups.tolist()) == (
        [1e-3, 1e-3],
        [0.0, 0.0],
        ["1000 16384", "1000 512"],
    )
    fp8 = read_rows(tmp_path, "gemm_fp8")
    assert fp8.bytes[0] == 1000 * 512 + 4.0 * 4 * 512 + 2.0 * 4 * 1000
    context = read_rows(tmp_path, "context_attention")
    assert context.flop.tolist() == [4.0 * 2 * 5000 * 8 * 64, 4.0 * 2 * (10000 - 50) * 8 * 64]
    generation = read_rows(tmp_path, "generation_attention")
    assert generation.flop.tolist() == [4.0 * 3 * s * 2 * 64 * 64 for s in (100, 10)]
    assert generation.bytes.tolist() == [2.0 * 3 * s * 2 * 64 * w + 4.0 * 3 * 8 * 64 for s, w in ((100, 1), (10, 2))]
    moe = read_rows(tmp_path, "moe")
    # 512·2/4 = 256 tokens over two experts of this GPU, half of the inner width
    assert moe.flop[0] == pytest.approx(6.0 * 256 * 128 * 32, rel=1e-6)
    assert len(moe) == 1
    with pytest.raises(UnknownNameError, match="moe"):
        read_rows(tmp_path, "softmax")
    with pytest.raises(InputError, match="found no table of moe"):
        read_rows(tmp_path / "gemm", "moe")


def test_the_fit_finds_the_law_behind_the_meter_and_a_fit_without_the_meter_does_not() -> None:
    rows = made()
    fit = fit_family(rows)
    every = np.arange(len(rows))
    true_w, found_w = law_power(TRUTH, rows), law_power(fit.law, rows)
    assert np.median(np.abs(found_w / true_w - 1)) < 0.04
    # short kernels were not fitted, and are as well predicted
    short = rows.seconds < 3e-4
    assert np.median(np.abs(found_w[short] / true_w[short] - 1)) < 0.05
    assert np.median(np.abs(rows.power_w[short] / true_w[short] - 1)) > 0.2
    naive = fit_family(rows, with_meter=False)
    assert np.median(np.abs(law_power(naive.law, rows) / true_w - 1)) > 2 * np.median(np.abs(found_w / true_w - 1))
    assert np.median(np.abs(reading(fit.law, fit.meter, rows, every) / rows.power_w - 1)) < 0.04


def test_a_meter_forgets_over_a_long_run_and_remembers_over_a_short_one() -> None:
    rows = made()
    which = np.arange(len(rows))
    z = run_over_tau(rows, which, METER)
    order = np.argsort(rows.seconds)
    assert np.all(np.diff(z[order]) > 0)
    # calls ten thousand times as long, at the same rates
    work = (rows.flop * 1e4, rows.bytes * 1e4, rows.reread, rows.seconds * 1e4)
    long = Rows(rows.family, *work, rows.power_w, rows.limit_w, rows.groups)
    settled = np.median(np.abs(reading(TRUTH, METER, long, which) / law_power(TRUTH, long) - 1))
    hurried = np.median(np.abs(reading(TRUTH, METER, rows, which) / law_power(TRUTH, rows) - 1))
    assert settled < 0.02 < 0.1 < hurried


def test_scores_are_of_shapes_never_seen_and_folds_never_split_a_shape() -> None:
    rows = made()
    fold = folds(rows.groups)
    assert all(len(set(fold[rows.groups == g].tolist())) == 1 for g in set(rows.groups.tolist()))
    which, error = left_out(rows)
    assert np.array_equal(which, rows.trustworthy())
    assert np.all(rows.power_w[which] < 0.95 * 700)
    assert np.mean(np.abs(np.expm1(error))) < 0.05
    _, raw = left_out(rows, with_meter=False)
    assert np.mean(np.abs(raw)) > np.mean(np.abs(error))


def test_families_without_an_order_start_from_one_value() -> None:
    rows = made("gemm_fp8")
    assert MEMORY["gemm_fp8"] == 0
    fit = fit_family(rows)
    assert fit.law.static_w > 0
    flat = Rows("moe", rows.flop, rows.bytes, 0 * rows.reread, rows.seconds, rows.power_w, rows.limit_w, rows.groups)
    assert fit_family(flat).law.reread == 0.0


@pytest.mark.data
def test_left_out_shapes_of_measured_kernels_stay_within_the_stated_errors(data_dir: Path) -> None:
    root = data_dir / "kernels" / "aiconfigurator" / "h200_sxm"
    for family in ("gemm_bf16", "gemm_fp8"):
        rows = read_rows(root, family)
        which, error = left_out(rows)
        mape = float(np.abs(np.expm1(error)).mean())
        assert mape <= SHARES[family]
        assert mape == pytest.approx(LAW.residuals[family]["left_out_mape"], abs=0.003)
        assert len(which) == LAW.residuals[family]["rows"]
    assert all(LAW.residuals[family]["left_out_mape"] <= share for family, share in SHARES.items())
    assert set(LAW.families) == set(FAMILIES)
