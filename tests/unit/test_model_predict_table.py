"""Many predictions by table: the same values as one by one, intervals as by draws, refusals row by row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.cli.app import run
from wattlane.core.errors import FileFormatError, InputError, OutOfRangeError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model.laws.phase import Case
from wattlane.model.predict import UNITS, drawn_interval, predict
from wattlane.model.predict_core import PROMPT_LOG_SD, PROMPT_TOKENS
from wattlane.model.predict_file import predict_file, read_cases, write_predictions
from wattlane.model.predict_rows import CONFORMAL
from wattlane.model.predict_table import ADDED, RESULTS, predict_table
from wattlane.model.profile import profile_for, write_profile

# A half-width by the delta method, against that of 1,000 draws (whose own error is about 6 %).
TOLERANCE = 0.20
LLAMA, EXPERTS = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B-Instruct-2507"


def cases(**columns: object) -> pl.DataFrame:
    base = {"model": LLAMA, "gpu": "H100", "batch": 64, "input_tokens": 1024, "output_tokens": 256}
    size = max((len(v) for v in columns.values() if isinstance(v, list)), default=1)
    return pl.DataFrame({k: v if isinstance(v, list) else [v] * size for k, v in {**base, **columns}.items()})


def test_a_table_and_one_case_give_the_same_values_and_intervals() -> None:
    table = cases(
        model=[LLAMA, EXPERTS, LLAMA, LLAMA],
        gpu=["H100", "B200", "h200", "H100"],
        tp=[1, 2, 4, 1],
        precision=["bf16", "fp8", None, "bf16"],
        clock_hz=[None, None, 1.2e9, None],
        power_cap_w=[None, None, None, 450.0],
    )
    found = predict_table(table).table
    for row in found.iter_rows(named=True):
        case = Case(gpu(row["gpu"]), model(row["model"]), row["precision"] or "bf16", row["tp"], row["clock_hz"])
        one = predict(case, batch=64, input_tokens=1024, output_tokens=256, power_cap_w=row["power_cap_w"])
        for name in UNITS:
            estimate = getattr(one, name)
            assert (row[name], row[f"{name}_lo"], row[f"{name}_hi"]) == pytest.approx(
                (estimate.mean, estimate.lo, estimate.hi), rel=1e-12
            )
        assert row["extrapolated"] == one.extrapolated
        assert row["scope"] == "gpu"
        assert row["refused"] is None
        for name in CONFORMAL:
            sure = one.conformal.get(name)
            assert (row[f"{name}_lo90"], row[f"{name}_hi90"]) == (
                (None, None) if sure is None else pytest.approx((sure.lo, sure.hi), rel=1e-12)
            )
    assert found["forced_clock_hz"].is_null().to_list() == [True, True, True, False]


@pytest.mark.parametrize(
    ("board", "name", "precision", "tp", "clock_hz"),
    [
        ("H100", LLAMA, "bf16", 1, None),
        ("H100", LLAMA, "bf16", 1, 1.1e9),
        ("B200", EXPERTS, "bf16", 4, None),
        ("H200", "meta-llama/Llama-3.1-70B-Instruct", "fp8", 4, None),
    ],
)
def test_intervals_agree_with_those_of_draws(
    board: str, name: str, precision: str, tp: int, clock_hz: float | None
) -> None:
    case = Case(gpu(board), model(name), precision, tp, clock_hz)
    profile = profile_for(case.gpu)
    for asked in ((64.0, 1024.0, 256.0), (16.0, 300.0, 700.0)):
        lo, hi = drawn_interval(profile, case, *asked, draws=400)
        one = predict(case, batch=asked[0], input_tokens=asked[1], output_tokens=asked[2])
        # where a board draws its limit, the width is that of clipping: draws and directions differ in kind
        for q, unit in enumerate(UNITS):
            drawn = np.log(hi[q] / lo[q])
            estimate = getattr(one, unit)
            # a width of half a logarithm, of a board never measured, is past what a linear step can follow
            close = TOLERANCE if drawn < 0.5 else 1.5 * TOLERANCE
            assert np.log(estimate.hi / estimate.lo) == pytest.approx(drawn, rel=close, abs=0.05), (unit, asked)


def test_replicas_add_up_their_watts_and_tokens_and_nothing_else() -> None:
    one, two = predict_table(cases(batch=[32, 64], dp=[1, 2])).table.iter_rows(named=True)
    for name in UNITS:
        factor = 2.0 if name in ("power_w", "tokens_per_s") else 1.0
        assert two[name] == pytest.approx(factor * one[name], rel=1e-12)
    assert two["itl_s"] == pytest.approx(64 / two["tokens_per_s"])


def test_rows_do_not_know_of_each_other() -> None:
    table = cases(batch=[1, 2, 64, 300], input_tokens=[100, None, 5000, 10], gpu=["H100", "B200", "H100", "L40S"])
    whole = predict_table(table).table
    alone = pl.concat([predict_table(table[i : i + 1]).table for i in range(4)], how="vertical_relaxed")
    assert whole.equals(alone)
    assert predict_table(table.reverse()).table.reverse().equals(whole)


def test_an_empty_prompt_is_marginalised_and_wider_and_says_so() -> None:
    given, empty = predict_table(cases(input_tokens=[PROMPT_TOKENS, None])).table.iter_rows(named=True)
    assert "marginalised over a prior" in empty["notes"]
    assert "marginalised" not in given["notes"]

    def width(row: dict[str, float], name: str) -> float:
        return float(np.log(row[f"{name}_hi"] / row[f"{name}_lo"]))

    # the prefill's time grows at least with the prompt: its spread is at least the prior's
    assert width(empty, "ttft_s") > 2 * 1.96 * PROMPT_LOG_SD * 0.9
    for name in ("itl_s", "energy_j_per_output_token"):
        assert width(empty, name) > width(given, name)


def test_a_power_cap_is_kept_and_forces_a_lower_clock_the_tighter_it_is() -> None:
    table = cases(batch=8, output_tokens=1024, power_cap_w=[None, 700.0, 450.0, 400.0, 350.0, 60.0])
    *rows, lost = predict_table(table).table.iter_rows(named=True)
    free, loose, *tight = rows
    assert loose["power_w"] == pytest.approx(free["power_w"], rel=1e-9)
    assert loose["forced_clock_hz"] == gpu("H100").clock_max_hz
    for row in tight:
        assert row["power_w"] <= row["power_cap_w"] * (1 + 1e-9)
        assert row["power_w"] == pytest.approx(min(row["power_cap_w"], free["power_w"]), rel=2e-3)
        assert "rests on priors" in row["notes"]
    clocks = [row["forced_clock_hz"] for row in (loose, *tight)]
    assert clocks == sorted(clocks, reverse=True)
    itl = [row["itl_s"] for row in (loose, *tight)]
    assert itl == sorted(itl)
    assert "power_cap_w is 60; at the lowest clock" in lost["refused"]
    assert lost["forced_clock_hz"] is None


def test_a_row_that_cannot_be_predicted_names_all_its_problems_and_the_others_stand() -> None:
    table = cases(
        model=["nosuch", LLAMA, LLAMA, LLAMA, "Llama-3.2-1B", None, LLAMA, LLAMA],
        gpu=["H9000", "H100", "H100", "H100", "H100", "H100", "L40S", "H100"],
        batch=["4", "0", "900", "five", "4", "4", "4", "1"],
        tp=[None, None, None, 1.5, 1, 1, None, 1],
        num_gpus=[None, None, None, None, 2, 1, None, None],
        dp=[None, None, None, None, 1, 1, None, 3],
        ep=[1, 1, 1, 3, 1, 1, 1, 1],
        precision=["bf16"] * 6 + ["nvfp4x", "bf16"],
        output_tokens=[256, 0, 9000, 256, 256, 256, 256, 256],
    )
    found = predict_table(table)
    assert (found.predicted, found.bad, found.far) == (0, 8, 0)
    said = found.table["refused"].to_list()
    for row, texts in enumerate(
        [
            ["unknown model 'nosuch'", "unknown GPU 'H9000'"],
            ["batch is 0; expected at least 1", "output_tokens is 0"],
            ["a batch of 900 keeps 4,971,600 tokens"],
            ["batch is 'five'; expected a number", "tp is 1.5; expected a whole number", "ep is 3; expected 1 or tp"],
            ["num_gpus is 2; expected tp x dp = 1 x 1 = 1"],
            ["model is empty"],
            ["precision is 'nvfp4x'"],
            ["batch 1 over 3 replicas"],
        ]
    ):
        assert all(text in said[row] for text in texts), said[row]
        assert "nan" not in said[row]
    assert found.table.select(RESULTS).null_count().row(0) == (8,) * len(RESULTS)
    mixed = predict_table(cases(batch=[64, 0]))
    assert (mixed.predicted, mixed.table["power_w"].is_null().to_list()) == (1, [False, True])


def test_far_rows_are_refused_and_outside_ones_marked() -> None:
    table = cases(model=[LLAMA, "Llama-3.2-1B", LLAMA], batch=[1, 8, 2900], input_tokens=16, output_tokens=16)
    found = predict_table(table)
    assert (found.predicted, found.bad, found.far) == (1, 0, 2)
    near, small, wide = found.table.iter_rows(named=True)
    assert near["extrapolated"] is True
    assert near["extrapolated_why"].startswith("batch outside [")
    assert "more than 4 times outside the fitted range: active_params 1.236e+09 against" in small["refused"]
    assert "batch 2900 against" in wide["refused"]


def test_doubts_about_engine_and_experts_are_said() -> None:
    found = predict_table(
        cases(model=EXPERTS, gpu="H100", tp=2, ep=[2, 1, None], engine=["vllm", None, "sglang"])
    ).table
    plain, split, other = found["extrapolated_why"].fill_null("").to_list()
    assert "engine" not in plain
    assert "experts split by tensor parallelism" in split
    assert "engine sglang: the profile is of vLLM" in other
    assert found["itl_s"][0] != found["itl_s"][1]
    assert found["itl_s"][0] == found["itl_s"][2]  # whole experts on every GPU unless asked otherwise


def test_columns_that_are_missing_or_taken_are_named_together() -> None:
    with pytest.raises(
        InputError, match=r"missing columns model or model_config, output_tokens[\s\S]*power_w, itl_s_lo"
    ):
        predict_table(pl.DataFrame({"gpu": ["H100"], "batch": [1], "power_w": [3.0], "itl_s_lo": [1.0]}))
    empty = predict_table(cases()[:0])
    assert (len(empty.table), empty.predicted) == (0, 0)
    assert set(RESULTS) <= set(empty.table.columns)


def test_a_config_of_a_model_and_a_profile_of_ones_own_are_used(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
    }
    (tmp_path / "own.json").write_text(json.dumps(config))
    h100 = profile_for(gpu("H100"))
    dense = h100.families["dense"]
    slower = replace(dense, parameters={**dense.parameters, "host_s": 0.02})
    write_profile(replace(h100, name="mine", families={**h100.families, "dense": slower}), tmp_path / "mine.json")
    cases(model=[None, LLAMA], model_config=["own.json", None], note=["kept", "too"]).write_csv(tmp_path / "cases.csv")
    shipped = predict_file(tmp_path / "cases.csv", tmp_path / "a.parquet")
    assert (shipped["predicted"], shipped["refused"], shipped["deployments"]) == (2, 0, 2)
    predict_file(tmp_path / "cases.csv", tmp_path / "b.csv", tmp_path / "mine.json")
    a, b = pl.read_parquet(tmp_path / "a.parquet"), pl.read_csv(tmp_path / "b.csv")
    assert a["note"].to_list() == ["kept", "too"]
    assert a["itl_s"][0] == pytest.approx(a["itl_s"][1], rel=1e-9)
    assert (b["itl_s"] - a["itl_s"]).to_list() == pytest.approx([0.02 - dense.parameters["host_s"]] * 2, rel=0.1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_every_format_round_trips(tmp_path: Path, suffix: str) -> None:
    found = predict_table(cases(batch=[1, 0], input_tokens=[512, None]))
    write_predictions(found.table, tmp_path / f"p{suffix}")
    again = read_cases(tmp_path / f"p{suffix}")
    assert again["power_w"].to_list() == pytest.approx(found.table["power_w"].to_list())
    assert again["refused"].to_list() == found.table["refused"].to_list()


def test_the_verb_writes_the_table_and_its_exit_code_says_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = str(tmp_path / "cases.csv"), str(tmp_path / "out.parquet")
    cases(batch=[64, 0]).write_csv(source)
    assert run(["predict", source, "-o", out]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("2 rows, 1 deployments: 1 predicted, 0 of them extrapolated, 1 refused")
    assert "refused, 1 rows: batch is 0; expected at least 1" in printed.err
    assert set(ADDED) - {"forced_clock_hz"} <= set(pl.read_parquet(out).columns)
    assert run(["predict", source, "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predicted"] == 1
    cases(batch=2900, input_tokens=16, output_tokens=16).write_csv(source)
    assert run(["predict", source, "-o", out]) == 5
    cases(batch=0).write_csv(source)
    assert run(["predict", source, "-o", out]) == 1
    assert run(["predict", source]) == 2
    assert run(["predict", source, "-o", str(tmp_path / "out.txt")]) == 1
    assert run(["predict", str(tmp_path / "cases.txt"), "-o", out]) == 1


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{not json\n")
    with pytest.raises(FileFormatError, match="expected jsonl with a row a case"):
        read_cases(broken)
    with pytest.raises(InputError, match="no such file"):
        read_cases(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"expected one of \.csv"):
        write_predictions(cases(), tmp_path / "x.txt")
    cases(batch=2900, input_tokens=16, output_tokens=16).write_parquet(tmp_path / "far.parquet")
    with pytest.raises(OutOfRangeError):
        predict_file(tmp_path / "far.parquet", tmp_path / "out.csv")


def test_draws_are_for_a_plain_question() -> None:
    with pytest.raises(InputError, match="draws are for one replica"):
        predict(Case(gpu("H100"), model(LLAMA)), batch=4, input_tokens=None, output_tokens=9, draws=5)
