"""Every trace format: recognised, read right, and refused with a message that helps when damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.workload import load
from wattlane.workload.loaders import FORMATS

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def _file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def _lines(records: list) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _columns(loaded) -> list[list[float]]:
    work = loaded.workload
    return [work.arrival_s.tolist(), work.input_tokens.tolist(), work.output_tokens.tolist()]


def test_azure_2023_keeps_seven_digit_fractions_and_counts_from_the_first_request(tmp_path):
    text = AZURE + "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319601,110,27"
    loaded = load(_file(tmp_path, "a.csv", text))
    assert loaded.format == "azure"
    assert _columns(loaded) == [[0.0, 0.0520001], [4808, 110], [10, 27]]
    assert loaded.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_azure_blocks_count_from_the_same_first_request(tmp_path, monkeypatch):
    monkeypatch.setattr("wattlane.workload.blocks.blocks.__defaults__", (0, 40))
    text = AZURE + "".join(f"2024-05-10 00:00:{i:02d},5,6\n" for i in range(30)) + "   \n" * 30
    loaded = load(_file(tmp_path, "a.csv", text))
    assert loaded.workload.arrival_s.tolist() == list(range(30))
    assert loaded.rows == 30


def test_azure_2024_offsets_of_zero_and_whole_seconds_are_read(tmp_path):
    text = AZURE + "2024-05-10 00:00:00+00:00,5,6\n2024-05-10 00:00:01.500000+00:00,7,8\n"
    assert _columns(load(_file(tmp_path, "a.csv", text))) == [[0.0, 1.5], [5, 7], [6, 8]]


@pytest.mark.parametrize(
    ("header", "tail"),
    [
        pytest.param(BURST, ",Conversation log", id="version 1"),
        pytest.param(
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
            None,
            id="version 2",
        ),
    ],
)
def test_burstgpt_versions_are_read_and_failures_are_counted_apart(tmp_path, header, tail):
    rows = [(5.0, 472, 18), (45.0, 1087, 0), (118.0, 417, 276)]
    if tail:
        body = "".join(f"{t},ChatGPT,{i},{o},{i + o}{tail}\n" for t, i, o in rows)
    else:
        body = "".join(f"{t},77,1.5,GPT-4,{i},{o},{i + o},API log\n" for t, i, o in rows)
    loaded = load(_file(tmp_path, "b.csv", header + body))
    assert (loaded.format, loaded.rows, loaded.bad_rows, loaded.zero_output_rows) == ("burstgpt", 3, 0, 1)
    assert _columns(loaded) == [[0.0, 113.0], [472, 417], [18, 276]]
    assert any("1 rows with zero output tokens" in note for note in loaded.workload.notes)


def test_mooncake_milliseconds_become_seconds_and_prefixes_are_cached_only_on_request(tmp_path):
    records = [
        {"timestamp": 3000, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]},
        {"timestamp": 4500, "input_length": 1024, "output_length": 6, "hash_ids": [0, 1]},
        {"timestamp": 4500, "input_length": 1300, "output_length": 7, "hash_ids": [0, 9, 2]},
    ]
    path = _file(tmp_path, "m.jsonl", _lines(records) + " \n")
    plain, cached = load(path), load(path, format="mooncake-prefix")
    assert plain.format == "mooncake"
    assert _columns(plain) == _columns(cached) == [[0.0, 1.5, 1.5], [1100, 1024, 1300], [5, 6, 7]]
    assert plain.workload.cached_tokens.tolist() == [0, 0, 0]
    assert cached.workload.cached_tokens.tolist() == [0, 1023, 512]


@pytest.mark.data
def test_the_mooncake_trace_reuses_the_share_of_its_prefix_blocks_that_is_known(data_dir: Path):
    path = data_dir / "traces" / "mooncake-fast25" / "conversation_trace.jsonl"
    loaded = load(path, format="mooncake-prefix")
    work = loaded.workload
    assert loaded.rows == len(work) == 12_031
    assert work.cached_tokens.sum() / work.input_tokens.sum() == pytest.approx(0.37, abs=0.01)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_plain_file_keeps_its_own_zero_and_allows_further_columns(tmp_path, form):
    table = pl.DataFrame(
        {
            "tenant": ["a", 'b, "x"'],
            "arrival_s": [5.25, 7.0],
            "input_tokens": [10, 20],
            "output_tokens": [1, 2],
            "cached_tokens": [0, 16],
        }
    )
    path = tmp_path / f"w.{form}"
    {"csv": table.write_csv, "jsonl": table.write_ndjson, "parquet": table.write_parquet}[form](path)
    loaded = load(path)
    assert loaded.format == "plain"
    assert _columns(loaded) == [[5.25, 7.0], [10, 20], [1, 2]]
    assert loaded.workload.cached_tokens.tolist() == [0, 16]


def _vllm(**changes) -> str:
    body = {
        "backend": "vllm",
        "num_prompts": 3,
        "request_rate": 2.0,
        "max_concurrency": None,
        "total_input_tokens": 60,
        "input_lens": [10, 20, 30],
        "output_lens": [4, 0, 6],
        "start_times": [100.5, 100.75, 102.5],
    }
    return json.dumps({key: value for key, value in (body | changes).items() if value != "absent"})


def test_vllm_bench_results_are_read_and_failed_requests_counted(tmp_path):
    loaded = load(_file(tmp_path, "v.json", _vllm()))
    assert (loaded.format, loaded.rows, loaded.zero_output_rows) == ("vllm-bench", 3, 1)
    assert _columns(loaded) == [[0.0, 2.0], [10, 30], [4, 6]]


def test_vllm_bench_at_infinite_rate_without_start_times_is_a_burst(tmp_path):
    loaded = load(_file(tmp_path, "v.json", _vllm(start_times="absent", request_rate="inf")))
    assert loaded.workload.arrival_s.tolist() == [0.0, 0.0]


def _aiperf(start_ns, isl, osl, **metadata) -> dict:
    error = metadata.pop("error", None)
    return {
        "metadata": {"request_start_ns": start_ns, "benchmark_phase": "profiling", **metadata},
        "metrics": {"input_sequence_length": {"value": isl}, "output_sequence_length": {"value": osl}},
        "error": error,
    }


def test_aiperf_exports_keep_nanoseconds_and_leave_out_warm_up_and_failures(tmp_path):
    start = 1_763_066_701_865_462_000
    records = [
        _aiperf(start, 9, 9, benchmark_phase="warmup"),
        _aiperf(start + 1_000, 550, 194),
        _aiperf(start + 251_000, 560, 20),
        _aiperf(start + 300_000, None, None, error={"code": 500}),
        _aiperf(start + 400_000, 1, 1, was_cancelled=True),
    ]
    loaded = load(_file(tmp_path, "profile_export.jsonl", _lines(records)))
    assert (loaded.format, loaded.rows, loaded.bad_rows, loaded.zero_output_rows) == ("aiperf", 4, 0, 2)
    assert loaded.workload.arrival_s == pytest.approx([0.0, 250e-6], abs=1e-12)
    assert loaded.workload.output_tokens.tolist() == [194, 20]
    assert "1 warm-up requests left out" in loaded.workload.notes


@pytest.mark.parametrize(
    "start",
    [
        lambda t: {"request_start_time": t},
        lambda t: {"info": {"timings": {"request_start": t}}},
        lambda t: {"scheduler_info": {"request_timings": {"request_start": t}}},
        lambda t: {"start_time": t},
    ],
)
def test_guidellm_files_of_every_version_are_read(tmp_path, start):
    done = [{**start(1.7e9 + t), "prompt_tokens": 10 + i, "output_tokens": 5} for i, t in enumerate((0.5, 2.0))]
    body = {"benchmarks": [{"requests": {"successful": done, "incomplete": [{}], "errored": None}}]}
    loaded = load(_file(tmp_path, "benchmarks.json", json.dumps(body, indent=1)))
    assert (loaded.format, loaded.rows, loaded.zero_output_rows) == ("guidellm", 3, 1)
    assert loaded.workload.arrival_s == pytest.approx([0.0, 1.5])
    assert loaded.workload.input_tokens.tolist() == [10, 11]


def test_unsorted_rows_are_sorted_together_and_noted(tmp_path):
    text = AZURE + "2024-05-10 00:00:03,3,30\n2024-05-10 00:00:01,1,10\n2024-05-10 00:00:02,2,20\n"
    loaded = load(_file(tmp_path, "a.csv", text))
    assert _columns(loaded) == [[0.0, 1.0, 2.0], [1, 2, 3], [10, 20, 30]]
    assert any("fell 1 times" in note for note in loaded.workload.notes)


def test_bad_rows_are_counted_with_line_and_reason(tmp_path):
    good = "".join(f"{i}.0,10,5\n" for i in range(100))
    bad = '\n,,\nx,10,5\n3,-2,5\n4,10,\n5,10.5,5\n-6,10,5\n7,"10,5\n'
    text = "arrival_s,input_tokens,output_tokens\n" + good + bad
    loaded = load(_file(tmp_path, "w.csv", text), max_bad_share=0.2)
    assert (len(loaded.workload), loaded.bad_rows, loaded.rows) == (100, 7, 107)
    assert list(loaded.bad_examples) == [
        "line 103: arrival_s is missing or not a number; input_tokens is missing or not a number; "
        "output_tokens is missing or not a number (found ',,')",
        "line 104: arrival_s is missing or not a number (found 'x,10,5')",
        "line 105: input_tokens is -2; expected a whole number of at least 1 (found '3,-2,5')",
        "line 106: output_tokens is missing or not a number (found '4,10,')",
        "line 107: input_tokens is 10.5; expected a whole number of at least 1 (found '5,10.5,5')",
        "line 108: arrival_s is -6; expected at least 0 (found '-6,10,5')",
        "line 109: input_tokens is missing or not a number (found '7,\"10,5')",
    ]


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("wattlane.workload.blocks.blocks.__defaults__", (0, 64))
    rows = [f"{i},10,5" for i in range(200)]
    rows[150] = "broken"
    loaded = load(_file(tmp_path, "w.csv", "arrival_s,input_tokens,output_tokens\n" + "\n".join(rows)))
    assert (len(loaded.workload), loaded.bad_examples[0][:9]) == (199, "line 152:")


def test_blank_blocks_of_json_lines_are_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("wattlane.workload.blocks.blocks.__defaults__", (0, 1))
    record = '{"arrival_s": 1, "input_tokens": 2, "output_tokens": 3}\n'
    assert load(_file(tmp_path, "w.jsonl", record + "\n\n" + record)).rows == 2


def test_a_short_line_at_the_start_of_a_block_is_one_bad_row(tmp_path):
    text = "arrival_s,input_tokens,output_tokens\n\nbroken\n1,2,3\n"
    loaded = load(_file(tmp_path, "w.csv", text), max_bad_share=0.5)
    assert (_columns(loaded), loaded.bad_rows) == ([[1.0], [2], [3]], 1)
    assert loaded.bad_examples[0].startswith("line 3:")


def test_a_quote_left_open_spoils_only_its_own_row(tmp_path):
    rows = ["0,1,1", '1,"2,3', "2,3,4", '3,"5",6']
    loaded = load(_file(tmp_path, "w.csv", "\n".join(["arrival_s,input_tokens,output_tokens", *rows])), max_bad_share=1)
    assert loaded.workload.arrival_s[:2].tolist() == [0.0, 2.0]
    assert loaded.bad_examples[0].startswith("line 3:")


def test_more_than_ten_bad_rows_keep_ten_examples(tmp_path):
    text = "arrival_s,input_tokens,output_tokens\n0,1,1\n" + "x,1,1\n" * 30
    loaded = load(_file(tmp_path, "w.csv", text), max_bad_share=1.0)
    assert (loaded.bad_rows, len(loaded.bad_examples)) == (30, 10)
    assert "30 bad rows left out" in loaded.workload.notes
    assert loaded.as_dict()["bad_examples"] == list(loaded.bad_examples)


def test_too_many_bad_rows_are_fatal_and_the_message_says_what_to_do(tmp_path):
    text = "arrival_s,input_tokens,output_tokens\n0,1,1\n1,0,1\n"
    with pytest.raises(InputError, match=r"1 of 2 rows are bad \(50.00%\), above the allowed 1.00%") as caught:
        load(_file(tmp_path, "w.csv", text))
    assert "line 3: input_tokens is 0" in str(caught.value)
    assert "allow a larger share with max_bad_share" in str(caught.value)


CACHED = "arrival_s,input_tokens,output_tokens,cached_tokens\n0,5,5,9\n"
ONE_BENCHMARK = json.dumps({"benchmarks": [{"requests": {}}]})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("e.csv", "", "format not recognised; found nothing that reads", id="empty"),
        pytest.param("x.csv", "a,b\n1,2\n", r"found a, b; expected one of\n  - plain: ", id="unknown columns"),
        pytest.param("x.json", "[1, 2]", "format not recognised", id="a JSON list"),
        pytest.param("x.json", '{"a": 1,', "format not recognised", id="truncated JSON"),
        pytest.param("a.csv", AZURE.strip() + ",x,x\n", "columns x occur more than once", id="columns twice"),
        pytest.param("a.csv", AZURE, "no request that can be served among 0 rows", id="header only"),
        pytest.param("a.csv", AZURE + "yesterday,1,1\n", "line 2: TIMESTAMP is missing or not a number", id="azure"),
        pytest.param("b.csv", BURST + "-1,m,5,5,10,l\n", "line 2: Timestamp is -1; expected at least 0", id="burst"),
        pytest.param("b.csv", BURST + "1,m,5,0,5,l\n", r"among 1 rows \(1 with zero output tokens\)", id="all failed"),
        pytest.param("c.csv", CACHED, "line 2: cached_tokens is 9, above input_tokens", id="cached"),
        pytest.param("a.csv", AZURE + '2024-05-10 00:00:00,"x\ny",1\n', "2 of 2 rows are bad", id="quoted line end"),
        pytest.param(
            "m.jsonl",
            '{"timestamp": 0, "input_length": 1, "output_length": 1}\n{"timestamp": 1, "inp\n',
            r"line 2: timestamp is missing or not a number.*found '\{\"timestamp\": 1",
            id="cut JSON line",
        ),
        pytest.param(
            "w.jsonl",
            '{"arrival_s": 0, "input_tokens": "1", "output_tokens": true}\n[]\n',
            "line 1: input_tokens is missing or not a number; output_tokens is missing",
            id="wrong JSON types",
        ),
        pytest.param("v.json", _vllm(start_times="absent"), "no start_times for a run at request_rate 2.0", id="rate"),
        pytest.param(
            "v.json",
            _vllm(start_times="absent", request_rate="inf", max_concurrency=8),
            "max_concurrency 8; expected the send time of each request",
            id="concurrency",
        ),
        pytest.param("v.json", _vllm(input_lens="absent"), "missing lists input_lens.*--save-detailed", id="summary"),
        pytest.param("v.json", _vllm(output_lens=[1]), "unequal length.*output_lens has 1", id="unequal lists"),
        pytest.param("v.json", _vllm(input_lens=[1, None, 3]), "request 1: input_lens is missing", id="vllm null"),
        pytest.param(
            "p.jsonl", _lines([_aiperf(1, None, 5)]), "line 1: input_sequence_length is missing", id="aiperf metric"
        ),
        pytest.param(
            "p.jsonl", _lines([_aiperf(1, 4, 5, was_cancelled=True)]), "among 1 rows .1 with zero", id="all cancelled"
        ),
        pytest.param(
            "g.json",
            json.dumps({"benchmarks": [{"requests": {"successful": [], "errored": [{}, {}]}}]}),
            "among 2 rows .2 with zero",
            id="all errored",
        ),
        pytest.param("g.json", '{"benchmarks": [{}, {}]}', "found 2 benchmarks; expected 1.*jq", id="sweep"),
        pytest.param("g.json", '{"benchmarks": 3}', "found no list of benchmarks", id="no benchmarks"),
        pytest.param("g.json", ONE_BENCHMARK, r"no benchmarks\[0\].requests.successful", id="no requests"),
        pytest.param(
            "g.json",
            json.dumps({"benchmarks": [{"requests": {"successful": [{"prompt_tokens": 5}, 7]}}]}),
            "request 0: request_start_time is missing.*output_tokens is missing",
            id="guidellm fields",
        ),
        pytest.param("t.parquet", "PAR1 and then nothing", "not a readable Parquet file", id="truncated Parquet"),
    ],
)
def test_a_damaged_file_is_refused_with_what_was_found(tmp_path, name, text, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(_file(tmp_path, name, text))


def test_an_unknown_format_name_lists_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="aiperf, azure, burstgpt, guidellm, mooncake"):
        load(_file(tmp_path, "a.csv", AZURE), format="azur")


def test_a_named_format_that_does_not_fit_names_the_missing_columns(tmp_path):
    with pytest.raises(FileFormatError, match="missing columns TIMESTAMP, ContextTokens, GeneratedTokens; found a, b"):
        load(_file(tmp_path, "x.csv", "a,b\n1,2\n"), format="azure")
    pl.DataFrame({"arrival_s": [0.0]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(FileFormatError, match="missing columns input_tokens, output_tokens"):
        load(tmp_path / "x.parquet", format="plain")


def test_a_parquet_file_of_a_newer_schema_is_refused(tmp_path):
    table = pl.DataFrame({"arrival_s": [0.0], "input_tokens": [1], "output_tokens": [1]})
    table.write_parquet(tmp_path / "x.parquet", metadata={"wattlane.schema": "99"})
    with pytest.raises(FileFormatError, match="found schema 99"):
        load(tmp_path / "x.parquet")


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    table = pl.DataFrame({"arrival_s": [0.0], "input_tokens": [1], "output_tokens": [1]}).clear()
    table.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="among 0 rows"):
        load(tmp_path / "x.parquet")


def test_bad_parquet_rows_are_named_by_row(tmp_path):
    table = pl.DataFrame({"arrival_s": [0.0, None], "input_tokens": [1, 2], "output_tokens": [1, 1]})
    table.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="line 2: arrival_s is missing"):
        load(tmp_path / "x.parquet")


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_its_range_is_refused(tmp_path, share):
    with pytest.raises(InputError, match="expected a share from 0 to 1"):
        load(_file(tmp_path, "a.csv", AZURE), max_bad_share=share)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "nothing.csv")


def test_format_names_are_unique():
    assert len({known.name for known in FORMATS}) == len(FORMATS)


def test_columns_are_of_the_types_the_workload_promises(tmp_path):
    work = load(_file(tmp_path, "w.csv", "arrival_s,input_tokens,output_tokens\n0,1,1\n")).workload
    assert (work.arrival_s.dtype, work.input_tokens.dtype) == (np.float64, np.int64)
