"""The profiler's table (S4): complete, monotone, marked by origin, and close to a held-out law between its cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run
from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.files import write_parquet
from wattlane.model.laws.phase import Case
from wattlane.model.predict import UNITS
from wattlane.model.profiler import AXES, LOADS, MEASURED, grid, interpolate, interpolation_error, profiler_table

CASE = Case(gpu("H100"), model("Llama-3.1-8B-Instruct"))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return profiler_table(grid(CASE, tensor_parallel=[1, 2], precisions=["bf16", "fp8"]))


def test_s4_table_is_complete_and_every_cell_says_where_it_comes_from(table: pl.DataFrame) -> None:
    classes = [f"{i}{o}" for i in "SML" for o in "SML"]
    assert sorted(table["class"].drop_nulls().unique()) == sorted(classes)
    cells = table.filter(pl.col("class").is_not_null())
    assert len(cells) == 9 * len(LOADS) * 2 * 2 * 5
    for name in UNITS:
        fits = table["refused"].is_null()
        assert table.filter(fits)[name].null_count() == 0
        assert set(table.filter(fits)[f"{name}_origin"]) == {"modelled"}
        assert set(table.filter(~fits)[f"{name}_origin"]) <= {"absent"}
    assert table.filter(pl.col("refused").is_not_null())["batch"].min() > 64


def test_s4_more_load_is_slower_and_cheaper_a_token_and_longer_prompts_wait_longer(table: pl.DataFrame) -> None:
    known = table.filter(pl.col("refused").is_null())
    knobs = ["tp", "precision", "clock_hz"]
    for _, part in known.group_by([*knobs, "input_tokens", "output_tokens"]):
        ordered = part.sort("batch")
        assert ordered["itl_s"].is_sorted()
        assert ordered["energy_j_per_output_token"].is_sorted(descending=True)
    for _, part in known.group_by([*knobs, "batch", "output_tokens"]):
        assert part.sort("input_tokens")["ttft_s"].is_sorted()


@pytest.mark.parametrize(("board", "name", "tp"), [("H100", "Llama-3.1-8B-Instruct", 1), ("B200", "Qwen3-30B-A3B", 1)])
def test_s4_interpolation_error_is_below_ten_percent_on_a_held_out_synthetic_law(
    board: str, name: str, tp: int
) -> None:
    found = interpolation_error(Case(gpu(board), model(name), tensor_parallel=tp), points=200)
    for quantity in UNITS:
        assert found.median[quantity] < 0.02, quantity
        assert found.p95[quantity] < 0.10, quantity


def test_interpolation_is_exact_at_the_cells_and_refuses_holes_and_questions_outside(table: pl.DataFrame) -> None:
    part = table.filter((pl.col("tp") == 1) & (pl.col("precision") == "bf16") & (pl.col("batch") <= 32))
    for name in ("power_w", "ttft_s"):
        assert np.allclose(interpolate(part, part, name), part[name].to_numpy(), rtol=1e-9)
    with pytest.raises(InputError, match="batch outside"):
        interpolate(part, part.with_columns(pl.lit(64.0).alias("batch")), "power_w")
    with pytest.raises(InputError, match="full grid over batch, input_tokens"):
        interpolate(part[1:], part, "power_w")
    single = part.filter(pl.col("clock_hz") == part["clock_hz"].max())
    assert np.allclose(interpolate(single, single[:3], "itl_s"), single["itl_s"][:3].to_numpy())


def campaign(folder: Path, **changes: object) -> Path:
    """A campaign of three trials at class SS, load 16; one of them of another precision, one not valid."""
    row = {
        "status": "measured",
        "boundary": "gpu",
        "batch_mean": 15.0,
        "requests": 100,
        "failed": 0,
        "input_tokens": 12_500,
        "output_tokens": 5_200,
        "window_s": 10.0,
        "power_w": 500.0,
        "output_tokens_per_s": 1500.0,
        "ttft_p50_s": None,
        "engine": json.dumps({"model": CASE.model.name, "compute_dtype": "bfloat16", "options": {}}),
        "target": "vllm",
    }
    other = json.dumps({"model": CASE.model.name, "quantization": "fp8", "options": {"tensor_parallel_size": 2}})
    rows = [row, {**row, "power_w": 520.0}, {**row, "engine": other}, {**row, "status": "invalid", "power_w": 9.0}]
    write_parquet(folder / "campaign.parquet", "campaign", pl.DataFrame([{**r, **changes} for r in rows]))
    return folder


def test_s4_measured_trials_replace_modelled_cells_and_only_those_they_stand_for(
    table: pl.DataFrame, tmp_path: Path
) -> None:
    found = profiler_table(grid(CASE, tensor_parallel=[1, 2], precisions=["bf16", "fp8"]), runs=[campaign(tmp_path)])
    mine = found.filter(pl.col("trials") > 0).sort("tp")
    assert mine.select("class", "batch", "tp", "precision", "trials").rows() == [
        ("SS", 16.0, 1, "bf16", 2),
        ("SS", 16.0, 2, "fp8", 1),
    ]
    assert (mine["clock_hz"] == CASE.gpu.clock_max_hz).all()
    one = mine.row(0, named=True)
    assert one["power_w"] == 510.0
    assert one["power_w_lo"] < 510.0 < one["power_w_hi"]
    assert one["itl_s"] == pytest.approx(15.0 / 1500.0)
    assert one["energy_j_per_output_token"] == pytest.approx(510.0 / 1500.0)
    assert (one["power_w_origin"], one["ttft_s_origin"], one["decode_j_per_token_origin"]) == (
        "measured",
        "modelled",
        "modelled",
    )
    assert mine.row(1, named=True)["power_w_lo"] is None  # a single trial has no interval
    rest = found.filter(pl.col("trials") == 0)
    same = table.join(rest.select(*AXES, "tp", "precision"), on=[*AXES, "tp", "precision"], how="semi")
    assert rest.select(MEASURED).equals(same.select(MEASURED))
    far = profiler_table(grid(CASE), runs=[campaign(tmp_path, batch_mean=None)])
    assert far["trials"].sum() == 0


def test_the_verb_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "table.csv")
    asked = ["show", "table", "Llama-3.1-8B-Instruct", "--gpu", "H100", "-o", out]
    assert run([*asked, "--measured", str(campaign(tmp_path))]) == 0
    assert "675 cells: 1 with measured values" in capsys.readouterr().out
    assert pl.read_csv(out).filter(pl.col("power_w_origin") == "measured")["class"].to_list() == ["SS"]
    assert run([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 675
    assert run(["show", "table", "Llama-3.1-8B-Instruct", "-o", out]) == 1
    config = tmp_path / "config.json"
    shape = {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "num_hidden_layers": 32}
    config.write_text(json.dumps({"model_type": "llama", **shape, "vocab_size": 128256, "intermediate_size": 14336}))
    assert run(["show", "table", str(config), "--gpu", "H100", "-o", out]) == 0
    assert run(["show", "table", "Llama-3.1-405B", "--gpu", "L4", "-o", out]) == 1
    assert "no cell fits" in capsys.readouterr().err
