"""Runs in one schema, whichever layout their file has; nothing is taken for what it is not, nothing lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from measure_fake_trial import FakeRunner
from published_layouts import GRID, SWEEP, cached_j, write_easli, write_wilkins

from wattlane.core.errors import FileFormatError, InputError, MeasurementError, UnknownNameError
from wattlane.core.files import write_parquet
from wattlane.measure import campaign
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.schedule import Here
from wattlane.model.records import Records, read_records
from wattlane.model.records.schema import SCHEMA


def plain_csv(path: Path, *extra: str, rows: int = 6) -> Path:
    names = ",".join(["input_tokens", "output_tokens", "energy_j", "runtime_s", *(e.partition("=")[0] for e in extra)])
    values = [e.partition("=")[2].split("|") for e in extra]
    lines = [
        ",".join([f"{8 * i}", f"{i * i}", f"{3.5 * i}", f"{i / 10}", *(v[i % len(v)] for v in values)])
        for i in range(1, rows + 1)
    ]
    path.write_text("\n".join([names, *lines]) + "\n")
    return path


def test_a_plain_table_has_the_schema_and_keeps_its_other_columns(tmp_path):
    records = read_records(plain_csv(tmp_path / "r.csv", "model=a", "batch=2|4", "kv_cache= False", "rack=x|y"))
    assert records.table.columns == [*SCHEMA, "rack"]
    assert (records.layout, len(records), records.only("model"), records.only("source")) == ("plain", 6, "a", "r.csv")
    assert records.only("kv_cache") is False
    assert records.only("batch") is None
    assert records.factors == ["batch", "rack"]
    assert records.table["system"].null_count() == 6
    assert records.observations().energy_j[0] == 3.5
    write_parquet(tmp_path / "r.parquet", "runs", records.table)
    assert read_records(tmp_path / "r.parquet").table.equals(records.table)


def test_flags_and_columns_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="line 3: 'maybe'"):
        read_records(plain_csv(tmp_path / "r.csv", "kv_cache=true|true|maybe"))
    write_parquet(tmp_path / "r.parquet", "runs", pl.DataFrame({"input_tokens": [1]}))
    with pytest.raises(FileFormatError, match="missing columns output_tokens, energy_j, runtime_s"):
        read_records(tmp_path / "r.parquet")
    with pytest.raises(UnknownNameError, match="wilkins"):
        read_records(plain_csv(tmp_path / "s.csv"), "spreadsheet")
    with pytest.raises(InputError, match="no such file"):
        read_records(tmp_path / "none.csv")
    with pytest.raises(InputError, match="expected that of a campaign"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="found no table of runs"):
        read_records([])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="missing columns input_tokens"):
        read_records(tmp_path / "binary.csv")


def test_rows_are_chosen_by_value_and_what_one_law_cannot_mean_is_named(tmp_path):
    records = read_records(plain_csv(tmp_path / "r.csv", "model=a|b", "gpus=1|2", "boundary=gpu"))
    problems = records.mixed()
    assert len(problems) == 2
    assert "rows of 2 values of model (b, a)" in problems[0]
    assert records.where({"model": "a", "gpus": "1"}).mixed() == []
    with pytest.raises(InputError, match="no row with model = 'c'; expected one of 'b', 'a'"):
        records.where({"model": "c"})
    with pytest.raises(InputError, match="no column 'rack'"):
        records.where({"rack": "c"})
    many = read_records(plain_csv(tmp_path / "m.csv", "model=a|b|c|d|e|f|g|h|i|j", rows=20))
    assert ", ..." in many.mixed()[0]


def test_absent_energy_is_never_zero_and_cannot_be_fitted():
    rows = {"input_tokens": [1, 2], "output_tokens": [1, 2], "energy_j": [None, 2.0], "runtime_s": [1.0, -1.0]}
    with pytest.raises(InputError, match="energy_j is absent or not above 0 in 1 of 2 rows"):
        Records.of(pl.DataFrame(rows), "plain").observations()


def test_published_grid_is_read_through_its_prompts(tmp_path):
    path = write_wilkins(tmp_path / "all-stats-raw.csv")
    records = read_records(path)
    assert (records.layout, len(records)) == ("wilkins", 243)
    assert records.notes[0] == "243 of 246 rows are inference with GPU energy"
    assert records.only("kv_cache") is False
    assert (records.only("batch"), records.only("boundary")) == (1.0, "gpu")
    one = records.where({"model": "Llama-2-7b-chat-hf", "input_tokens": "2048", "output_tokens": "8"})
    assert len(one) == 1
    assert one.table["energy_j"][0] == pytest.approx(0.9 * (6 * 8 + 0.04 * (2048 * 8 + 32)), rel=0.15)
    assert sorted(set(records.table["input_tokens"])) == [float(i) for i in GRID]


def test_other_units_and_broken_headers_of_the_published_layout(tmp_path):
    path = write_wilkins(tmp_path / "a.csv", SWEEP, {"m": 1.0})
    text = path.read_text()
    in_joules = tmp_path / "j.csv"
    in_joules.write_text(text.replace("GPU Energy (mJ)", " GPU Energy (J)"))
    assert read_records(in_joules).table["energy_j"].sum() == pytest.approx(
        1000 * read_records(path).table["energy_j"].sum()
    )
    shifted = tmp_path / "s.csv"
    shifted.write_text(text.replace("GPU Energy (mJ),", "GPU Energy (mJ)", 1))
    with pytest.raises(FileFormatError, match="lacks a comma"):
        read_records(shifted)
    renamed = tmp_path / "r.csv"
    renamed.write_text(text.replace("GPU Energy (mJ)", "GPU Energy (kWh)"))
    with pytest.raises(FileFormatError, match="lacks a comma"):
        read_records(renamed)
    idle = tmp_path / "i.csv"
    idle.write_text(text.replace("inference", "warm-up"))
    with pytest.raises(FileFormatError, match="expected some with 'inference'"):
        read_records(idle)


@pytest.mark.parametrize(("gpus", "packages"), [(1, 0), (2, 0), (2, 2)])
def test_headerless_layout_takes_generated_tokens_and_the_gpus_alone(tmp_path, gpus, packages):
    path = write_easli(tmp_path / f"vllm-Llama-2-70b-chat-hf-{gpus}.csv", gpus, packages=packages)
    records = read_records(path)
    assert (records.layout, len(records)) == ("easli", 3 * 58)
    assert (records.only("model"), records.only("gpus")) == ("Llama-2-70b-chat-hf", float(gpus))
    assert records.table["source"].unique(maintain_order=True).to_list() == ["alpaca", "self-oss", "orca"]
    assert float(records.table["output_tokens"].min()) >= 2
    table = records.observations()
    assert table.energy_j == pytest.approx(cached_j(table.input_tokens, table.output_tokens), rel=0.1)
    said = " ".join(records.notes)
    for count, why in ((3, "start-up"), (3, "one output token"), (3, "energy or runtime")):
        assert f"{count} rows left out: {why}" in said


def test_headerless_files_that_hold_no_request_say_what_they_hold(tmp_path):
    path = write_easli(tmp_path / "vllm.csv", requests=0)
    with pytest.raises(FileFormatError, match="3 start-up"):
        read_records(path)
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(FileFormatError, match="it is empty"):
        read_records(tmp_path / "x.csv", "easli")
    rows = write_easli(tmp_path / "vllm-m-1.csv", requests=5).read_text().splitlines()
    broken = [
        rows[1].replace(",vLLM", ",none"),
        rows[1].replace("start-inference-0,", "start-inference-0,x"),
        *rows[1:6],
    ]
    (tmp_path / "vllm-m-2.csv").write_text("\n".join(broken) + "\n")
    found = read_records(tmp_path / "vllm-m-2.csv", "easli")
    assert found.only("source") == "segment 1"
    assert "1 rows left out: not of this layout" in found.notes
    assert "1 rows left out: a count, the runtime or an energy is not a number" in found.notes


CAMPAIGN = """
name = "lengths"
target = "fake:precision=F16"
[workload]
text = "burst:n=4,input={input},output={output}"
[factors]
input = [8, 64, 512]
output = [8, 64, 512]
[repeats]
at_least = 2
"""


def run_campaign(folder, power_w=300.0, text=CAMPAIGN, **options):
    def window_s(trial):
        load = trial.cell.load.workload(trial.cell.seed)
        return float(1e-4 * load.input_tokens[0] + 0.02 * load.output_tokens[0]) * (1 + 0.01 * trial.number)

    runner = FakeRunner(window_s, power_w, **options)
    campaign(parse_grid("g", text), folder, scheduler=Here(folder, runner))
    return folder


def test_a_campaign_gives_one_record_a_trial_per_request(tmp_path):
    folder = run_campaign(tmp_path / "run")
    records = read_records(folder)
    assert (records.layout, len(records), records.notes) == ("campaign", 18, ())
    row = records.where({"input_tokens": "64", "output_tokens": "8", "trial": "1"}).table.row(0, named=True)
    assert row["runtime_s"] == pytest.approx((0.0064 + 0.16) * 1.01)
    assert row["energy_j"] == pytest.approx(300 * row["runtime_s"] / 4)
    assert (row["boundary"], row["energy_status"], row["backend"], row["batch"]) == ("gpu", "measured", "fake", 4.0)
    assert (row["kv_cache"], row["factor_input"], row["source"]) == (True, 64, "run")
    again = read_records(folder / "campaign.parquet")
    assert again.table.equals(records.table)


def test_a_campaign_says_what_of_it_could_not_be_used(tmp_path):
    text = CAMPAIGN.replace("input = [8, 64, 512]", "input = [8, 64]").replace("output = [8, 64, 512]", "output = [8]")
    bare = run_campaign(tmp_path / "bare", power_w=None, text=text)
    with pytest.raises(InputError, match="energy is absent or 0 in all 4 measured trials"):
        read_records(bare)
    half = run_campaign(tmp_path / "half", text=text, fails=lambda t: MeasurementError("no") if t.number else None)
    assert read_records(half).notes == ("2 trials left out: failed",)
    none = run_campaign(tmp_path / "none", text=text, fails=lambda t: MeasurementError("no"))
    with pytest.raises(InputError, match=r"no measured trial \(2 failed\)"):
        read_records(none)
    table = pl.read_parquet(half / "campaign.parquet").with_columns(
        energy_j=pl.when(pl.col("factor_input") == 8).then(None).otherwise(pl.col("energy_j"))
    )
    write_parquet(half / "campaign.parquet", "campaign", table)
    assert "1 trials left out: energy absent" in read_records(half).notes
    table = table.with_columns(energy_j=pl.col("energy_j").fill_null(0.0))
    write_parquet(half / "campaign.parquet", "campaign", table)
    assert "1 trials left out: energy below what their meter can tell from 0" in read_records(half).notes
    for served in (half / "cells").rglob("served.parquet"):
        rows = pl.read_parquet(served)
        rows.with_columns(input_tokens=pl.Series(np.arange(1, 1 + len(rows)) * 10)).write_parquet(served)
    assert "in 2 trials request lengths vary" in " ".join(read_records(half).notes)


def test_several_files_are_put_together_and_keep_their_notes(tmp_path):
    one = write_easli(tmp_path / "vllm-a-1.csv", requests=12)
    both = read_records([one, plain_csv(tmp_path / "r.csv", "model=b")])
    assert both.layout == "easli and plain"
    assert len(both) == 3 * 10 + 6
    assert both.notes[0].startswith("vllm-a-1.csv: 3 rows left out")
