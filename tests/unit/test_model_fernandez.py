"""Checks F3 to F5 of Fernandez et al. 2025 (arXiv 2504.17674): lookup, ideal, gaps and savings; each printed number."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError, UnknownNameError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.files import write_json
from wattlane.model.flops import context_sum, request_flop
from wattlane.model.laws.ideal import (
    Device,
    Gap,
    Ideal,
    device_of,
    gap,
    published_devices,
    read_ideal,
    sensitivity,
    write_ideal,
)
from wattlane.model.laws.table import Cell, LookupTable, read_cells, read_table, write_table

LLAMA_8B, OLMOE = model("Llama-3.1-8B"), model("Qwen3-30B-A3B")
# Table 4, energy over ideal in percent (PyTorch, vLLM), with the printed saving and the shares that follow.
TABLE_4 = {
    "BurstGPT": (506.52, 63.75, 73.00, 16.5, 61.1),
    "Azure code": (102.79, 26.59, 37.58, 49.3, 79.0),
    "Azure conversation": (490.23, 64.22, 72.18, 16.9, 60.9),
}


def test_f3_ten_requests_in_batches_of_four_cost_250_j_fractional_and_300_j_in_whole_batches() -> None:
    cells = {(128, 64): Cell(4, 100.0, 2.0)}
    assert LookupTable("m", cells).workload({(128, 64): 10}).energy_j == 250.0
    assert LookupTable("m", cells, mode="ceil").workload({(128, 64): 10}).energy_j == 300.0
    assert LookupTable("m", cells, mode="ceil").workload({(128, 64): 12}).runtime_s == 6.0
    # requests of one bin share its batches
    assert LookupTable("m", cells, mode="ceil").workload({(100, 60): 5, (128, 64): 5}).energy_j == 300.0


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 1e4)), min_size=2, max_size=2),
    st.floats(0.1, 100.0),
)
def test_f3_linear_in_the_measured_energy_and_additive_over_cells(
    drawn: list[tuple[int, float]], factor: float
) -> None:
    keys = [(32, 8), (64, 16)]
    cells = {k: Cell(7.0, e, 1.0) for k, (_, e) in zip(keys, drawn, strict=True)}
    counts = {k: float(n) for k, (n, _) in zip(keys, drawn, strict=True)}
    scaled = {k: Cell(7.0, factor * c.energy_j, 1.0) for k, c in cells.items()}
    for mode in ("fractional", "ceil"):
        law = LookupTable("m", cells, mode=mode)
        whole = law.workload(counts).energy_j
        assert sum(law.workload({k: n}).energy_j for k, n in counts.items()) == pytest.approx(whole)
        assert LookupTable("m", scaled, mode=mode).workload(counts).energy_j == pytest.approx(factor * whole)


def test_f3_a_missing_cell_is_an_error_or_a_marked_interpolation() -> None:
    cells = {
        (128, 16): Cell(8, 80.0, 1.0),
        (128, 64): Cell(4, 160.0, 4.0),
        (512, 16): Cell(8, 320.0, 2.0),
        (2048, 64): Cell(2, 640.0, 9.0),
        (2048, 32): Cell(2, 500.0, 9.0),
    }
    strict = LookupTable("m", cells)
    with pytest.raises(InputError, match=r"2 problems[\s\S]*cell \(128, 32\)[\s\S]*cell \(512, 64\)"):
        strict.workload({(128, 30): 1, (500, 64): 1, (1, 1): 1})
    law = LookupTable("m", cells, missing="interpolate")
    found = law.workload({(128, 32): 4, (128, 16): 8})
    # 10 and 40 J a request at 16 and 64 tokens: 20 at 32, geometric middle
    assert found.energy_j == pytest.approx(80.0 + 4 * 20.0)
    assert found.interpolated == ((128, 32),)
    assert found.requests == 12
    assert law.request_cost(100, 16) == (1.0, 10.0)
    # no neighbours in its row, but in its column
    assert law.workload({(512, 64): 1}).energy_j == pytest.approx((40.0 * 320.0) ** 0.5)
    with pytest.raises(InputError, match="no measured neighbours on both sides"):
        law.workload({(2048, 16): 1})
    with pytest.raises(OutOfRangeError, match="bins up to 2048 and 64"):
        law.workload({(2049, 8): 1})
    with pytest.raises(OutOfRangeError, match="found 0"):
        law.workload({(0, 8): 1})


def test_f3_cells_are_read_from_a_file_with_all_bad_rows_named(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("input_tokens,output_tokens,batch,energy_j,runtime_s\n32,8,4,100,2\n32,8,4,110,3\n64,8,4,200,4\n")
    cells = read_cells(path)
    assert cells[32, 8] == Cell(4.0, 105.0, 2.5)
    pl.read_csv(path).write_parquet(tmp_path / "cells.parquet")
    assert read_cells(tmp_path / "cells.parquet") == cells
    law = LookupTable("m", cells, "ceil", "interpolate", {"note": "x"})
    write_table(law, tmp_path / "law.json")
    again = read_table(tmp_path / "law.json")
    assert (again.cells, again.mode, again.missing, again.provenance) == (cells, "ceil", "interpolate", {"note": "x"})
    path.write_text("input_tokens,output_tokens,batch,energy_j,runtime_s\n32,8,4,-1,2\n64,8,4,1,1\n64,8,5,1,1\n")
    with pytest.raises(InputError, match=r"line 2: energy_j is -1[\s\S]*repeats with batches \[4.0, 5.0\]"):
        read_cells(path)
    path.write_text("input_tokens\n1\n")
    with pytest.raises(FileFormatError, match="missing columns output_tokens, batch"):
        read_cells(path)
    path.write_text("")
    with pytest.raises(FileFormatError, match="not a readable table"):
        read_cells(path)
    write_json(path, "law", {"law": "table", "mode": "round", "missing": "error", "cells": []})
    with pytest.raises(UnknownNameError, match="fractional"):
        read_table(path)
    write_json(path, "law", {"law": "table", "mode": "ceil", "missing": "error", "cells": [[1]]})
    with pytest.raises(FileFormatError, match="expected rows of input_tokens"):
        read_table(path)
    with pytest.raises(InputError, match=r"3 problems[\s\S]*found no cells"):
        LookupTable("m", {}, "round", "guess")
    with pytest.raises(InputError, match="expected values above 0"):
        LookupTable("m", {(1, 1): Cell(0, 1.0, 1.0)})


def test_f4_a_pflop_on_the_a6000_is_968_7_j_sparse_and_1938_j_dense() -> None:
    a6000 = published_devices()["A6000"]
    assert 1e15 * a6000.j_per_flop(sparse=True) == pytest.approx(968.7, abs=0.05)
    assert 1e15 * a6000.j_per_flop() == pytest.approx(1938, abs=0.5)
    assert a6000.j_per_flop(sparse=True) * 1e12 == pytest.approx(0.969, abs=5e-4)
    a100 = published_devices()["A100"]
    assert (a100.tdp_w, a100.dense_flop_per_s) == (300.0, 312e12)
    # +26.59 % is 1.226 pJ/FLOP: at 300 W 245 TFLOP/s, above the dense peak; at the dense rate below 190 W
    j_per_flop = a6000.j_per_flop(sparse=True) * 1.2659
    assert j_per_flop * 1e12 == pytest.approx(1.226, abs=1e-3)
    assert 300 / j_per_flop / 1e12 == pytest.approx(245, abs=0.5)
    assert 300 / j_per_flop > a6000.dense_flop_per_s
    assert j_per_flop * a6000.dense_flop_per_s < 190


def test_f4_the_sensitivity_names_every_choice_of_peak_and_count() -> None:
    found = sensitivity(LLAMA_8B, published_devices()["A6000"], {(1000, 100): 10, (30, 1): 4})
    assert list(found) == ["sparse, least", "sparse, profiler", "dense, least", "dense, profiler"]
    assert found["dense, least"] / found["sparse, least"] == pytest.approx(309.7 / 154.8)
    assert found["dense, profiler"] > found["dense, least"]


def test_f4_flops_of_dense_and_mixture_models_are_those_of_a_count_token_by_token() -> None:
    def counted(m: object, tin: int, tout: int) -> float:
        head = m.vocab * m.hidden  # type: ignore[attr-defined]
        flop = 0.0
        for position in range(1, tin + tout):
            weights = m.active_params if position >= tin else m.active_params - head  # type: ignore[attr-defined]
            windowed = m.window_layers if m.window_tokens else 0  # type: ignore[attr-defined]
            seen = (m.layers - windowed) * position + windowed * min(position, m.window_tokens or position)  # type: ignore[attr-defined]
            flop += 2 * weights + m.attention_flop_per_token_context * seen / m.layers  # type: ignore[attr-defined]
        return flop

    for m in (LLAMA_8B, OLMOE, model("gpt-oss-20b"), model("DeepSeek-V3")):
        for lengths in ((1, 1), (300, 5), (40, 200)):
            assert request_flop(m, *lengths) == pytest.approx(counted(m, *lengths), rel=1e-12)
    assert OLMOE.active_params < 0.2 * OLMOE.total_params
    assert request_flop(OLMOE, 100, 1) < 0.2 * 2 * OLMOE.total_params * 100
    profiled = request_flop(LLAMA_8B, 512, 1, "profiler")
    assert profiled == 2 * LLAMA_8B.active_params * 512 + LLAMA_8B.attention_flop_per_token_context * 512**2
    assert context_sum(LLAMA_8B, 0, 3) == 6
    with pytest.raises(InputError, match="at least 1 of each"):
        request_flop(LLAMA_8B, 0, 1)
    with pytest.raises(UnknownNameError, match="least, profiler"):
        request_flop(LLAMA_8B, 1, 1, "deepspeed")


def test_f4_the_ideal_of_a_workload_adds_up_and_reads_back(tmp_path: Path) -> None:
    law = Ideal(LLAMA_8B, published_devices()["A6000"], sparse=True, convention="profiler")
    counts = {(128, 64): 3.0, (512, 8): 2.0}
    each = sum(n * law.request_cost(*tokens)[1] for tokens, n in counts.items())
    assert law.workload_j(counts) == pytest.approx(each)
    runtime_s, energy_j = law.request_cost(128, 64)
    assert energy_j == pytest.approx(300.0 * runtime_s)
    write_ideal(law, tmp_path / "law.json")
    assert read_ideal(tmp_path / "law.json") == law
    assert device_of(gpu("A6000")).sparse_flop_per_s == pytest.approx(309.7e12, rel=1e-3)
    numbers = {"tdp_w": 1, "dense_flop_per_s": 1, "sparse_flop_per_s": 1}
    write_json(tmp_path / "x.json", "law", {"law": "ideal", **numbers, "convention": "least", "geometry": {"a": 1}})
    with pytest.raises(FileFormatError, match="geometry"):
        read_ideal(tmp_path / "x.json")
    write_json(tmp_path / "x.json", "law", {"law": "ideal", **numbers, "convention": "most"})
    with pytest.raises(UnknownNameError, match="profiler"):
        read_ideal(tmp_path / "x.json")
    with pytest.raises(InputError, match="at least the dense one"):
        Device("x", 1.0, 2.0, 1.0)


@pytest.mark.parametrize("name", sorted(TABLE_4))
def test_f5_savings_and_shares_of_table_4_follow_from_its_gaps(name: str) -> None:
    torch, vllm, saving, torch_share, vllm_share = TABLE_4[name]
    slow, fast = Gap(torch / 100), Gap(vllm / 100)
    assert 100 * fast.saving_against(slow) == pytest.approx(saving, abs=0.01)
    assert 100 * slow.ideal_share == pytest.approx(torch_share, abs=0.05)
    assert 100 * fast.ideal_share == pytest.approx(vllm_share, abs=0.05)
    assert gap(1.0 + vllm / 100, 1.0).value == pytest.approx(vllm / 100)


def test_f5_under_estimates_are_50_7_to_83_5_and_21_0_to_39_1_percent() -> None:
    def range_of(column: int) -> tuple[float, float]:
        under = [100 * (1 - Gap(row[column] / 100).ideal_share) for row in TABLE_4.values()]
        return min(under), max(under)

    assert range_of(0) == pytest.approx((50.7, 83.5), abs=0.05)
    assert range_of(1) == pytest.approx((21.0, 39.1), abs=0.05)


def test_f5_with_the_dense_peak_vllm_would_be_better_than_ideal() -> None:
    dense = [100 * Gap(row[1] / 100).at_peak_times(0.5).value for row in TABLE_4.values()]
    assert dense == pytest.approx([-18, -37, -18], abs=0.5)
    with pytest.raises(InputError, match="above -1"):
        Gap(-1.0)
    with pytest.raises(InputError, match="above 0"):
        gap(1.0, 0.0)
