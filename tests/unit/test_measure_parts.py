from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import wattlane.measure
from wattlane.core.errors import InputError, MeasurementError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.measure.doctor import diagnose
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.gguf_model import PRECISIONS, SHAPES, byte_alphabet, random_gguf, vocabulary
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.recorder import Recorder
from wattlane.measure.spec import parse_spec
from wattlane.measure.sse import EventBuffer, read_chunk
from wattlane.measure.workloads import resolve_workload


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path))
    return tmp_path


def test_public_names_are_pinned_and_callable():
    assert wattlane.measure.__all__ == [
        "Delivery",
        "Finding",
        "Measurement",
        "Meter",
        "Reading",
        "Telemetry",
        "campaign",
        "check_sensors",
        "check_telemetry",
        "compare",
        "diagnose",
        "drive",
        "run",
        "window",
    ]
    assert all(callable(getattr(wattlane.measure, name)) for name in wattlane.measure.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wattlane.measure.nothing  # noqa: B018


def test_options_are_typed_and_problems_reported_together():
    spec = parse_spec("poisson:n=5,rate_rps=2.5")
    assert spec.options_as({"n": 1, "rate_rps": 1.0, "input": 64}) == {"n": 5, "rate_rps": 2.5, "input": 64}
    with pytest.raises(InputError, match=r"unknown option 'size'[\s\S]*n is 'x'; expected an integer"):
        parse_spec("a:size=1,n=x").options_as({"n": 1})
    with pytest.raises(InputError, match="expected key=value"):
        parse_spec("a:n")


@pytest.mark.parametrize("options", ["poisson:rate_rps=20", "deterministic:rate_rps=20", "gamma:rate_rps=20,cv=2"])
def test_generated_workloads_keep_their_rate_and_their_seed(options):
    text = f"{options},n=4000,input=7,output=3"
    load = resolve_workload(text, seed=1)
    assert (len(load), load.input_tokens[0], load.output_tokens[-1]) == (4000, 7, 3)
    assert load.rate_rps == pytest.approx(20, rel=0.15)
    assert np.array_equal(load.arrival_s, resolve_workload(text, seed=1).arrival_s)


def test_a_burst_has_the_stated_defaults():
    load = resolve_workload("burst", seed=0)
    assert (len(load), load.span_s, load.input_tokens[0], load.output_tokens[0]) == (100, 0.0, 64, 32)


def test_workloads_are_taken_as_given_or_from_a_file(tmp_path):
    load = Workload(np.zeros(1), np.ones(1), np.ones(1))
    assert resolve_workload(load, 0) is load
    file = tmp_path / "load.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0.0,5,6\n0.5,7,8\n")
    assert resolve_workload(str(file), 0).output_tokens.tolist() == [6, 8]
    with pytest.raises(UnknownNameError, match="did you mean 'poisson'"):
        resolve_workload("poison", 0)
    with pytest.raises(InputError, match=r"n is 0[\s\S]*output is -1"):
        resolve_workload("poisson:n=0,rate_rps=1,output=-1", 0)
    with pytest.raises(InputError, match="rate_rps is missing"):
        resolve_workload("poisson:n=5", 0)


def test_unknown_engines_and_options_are_refused_before_anything_starts():
    with pytest.raises(UnknownNameError, match="unknown engine 'sglang'"):
        open_engine("sglang:slots=2")
    with pytest.raises(InputError, match="unknown option 'slots'"):
        open_engine("vllm:slots=2")
    with pytest.raises(InputError, match="unknown option 'slot'"):
        open_engine("xllamacpp:slot=2")
    with pytest.raises(InputError, match="slots is 0"):
        open_engine("xllamacpp:slots=0")
    with pytest.raises(InputError, match="http://HOST:PORT"):
        open_engine("http://")
    assert open_engine("http://10.0.0.9:8000/v1,model=m").habits.is_local is False


def test_unknown_model_sizes_and_precisions_are_refused(cache):
    with pytest.raises(UnknownNameError, match="size"):
        random_gguf("huge")
    with pytest.raises(UnknownNameError, match="precision"):
        random_gguf("tiny", "Q9")
    assert list(cache.iterdir()) == []


def test_shapes_have_the_stated_number_of_parameters():
    assert SHAPES["tiny"].parameters == pytest.approx(5e6, rel=0.1)
    assert SHAPES["small"].parameters == pytest.approx(82e6, rel=0.01)


def test_vocabulary_is_unique_and_every_merge_builds_a_token():
    tokens, merges = vocabulary(4096)
    assert len(tokens) == len(set(tokens)) == 4096
    assert len(set(byte_alphabet())) == 256
    assert {merge.replace(" ", "") for merge in merges} <= set(tokens)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_model_file_holds_every_tensor_in_the_asked_precision(precision, cache):
    gguf = pytest.importorskip("gguf")
    path = random_gguf("tiny", precision)
    reader = gguf.GGUFReader(path)
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert set(found) == {name for name, _ in SHAPES["tiny"].tensors()}
    assert found["blk.0.attn_q.weight"].tensor_type.name == precision
    assert found["output_norm.weight"].tensor_type.name == "F32"
    weight = gguf.quants.dequantize(found["blk.1.ffn_up.weight"].data, found["blk.1.ffn_up.weight"].tensor_type)
    assert weight.std() == pytest.approx(0.02, rel=0.05)
    output = gguf.quants.dequantize(found["output.weight"].data, found["output.weight"].tensor_type)
    silent = np.flatnonzero(~output.any(axis=1))
    assert silent.tolist() == [*range(5), *range(133, 261)]


def test_model_file_is_cached_and_the_same_for_the_same_seed(cache):
    pytest.importorskip("gguf")
    path = random_gguf("tiny", "F16", seed=3)
    first = path.read_bytes()
    made_at_ns = path.stat().st_mtime_ns
    assert random_gguf("tiny", "F16", seed=3).stat().st_mtime_ns == made_at_ns
    path.unlink()
    assert random_gguf("tiny", "F16", seed=3).read_bytes() == first
    assert random_gguf("tiny", "F16", seed=4).read_bytes() != first
    assert [file.suffix for file in path.parent.iterdir()] == [".gguf", ".gguf"]


def test_events_survive_any_line_ending_comments_and_a_missing_last_blank_line():
    buffer = EventBuffer()
    assert buffer.feed(b": ping\r\ndata: a\r\n\r\ndata:b\ndata: c\n\nda") == ["a", "b\nc"]
    assert buffer.feed(b"ta: end") == []
    assert buffer.close() == ["end"]


@pytest.mark.parametrize(
    "data",
    ['{"choices": 5}', '{"choices": [3]}', '{"choices": [{"delta": "x"}], "usage": 7, "timings": []}', "{}"],
)
def test_odd_events_say_nothing_rather_than_fail(data):
    chunk = read_chunk(data)
    assert (chunk.has_text, chunk.usage, chunk.timings, chunk.error) == (False, None, None, None)


def test_events_that_are_not_json_objects_are_errors():
    assert "not a JSON object" in read_chunk("<html>").error
    assert read_chunk('{"error": "full"}').error == "full"
    assert read_chunk('{"error": {"code": 1}}').error == "{'code': 1}"
    assert read_chunk("[DONE]").is_done


def test_recorder_keeps_every_reading_and_the_edges():
    with Recorder(SimulatedMeter.constant(10.0), None, period_s=0.01) as recorder:
        start_s = recorder.mark()
        end_s = start_s
        while end_s - start_s < 0.1:
            end_s = recorder.mark()
    table = recorder.table(start_s)
    assert len(table) == len(recorder.readings)
    assert table["time_s"].is_sorted()
    assert table["energy_j"].is_sorted()
    assert set(table["origin"]) == {"modelled"}
    assert recorder.cpu_used_s(start_s, end_s) is None


def test_doctor_says_what_to_do_about_each_absence():
    findings = diagnose()
    kinds = {finding.kind for finding in findings}
    assert kinds == {"sensor", "engine", "machine", "can measure"}
    assert {finding.status for finding in findings} <= {"ok", "limited", "absent"}
    energy = next(finding for finding in findings if (finding.kind, finding.name) == ("can measure", "energy"))
    assert energy.status == "ok" or "never as 0" in energy.detail
    assert all(finding.advice for finding in findings if finding.kind != "machine" and finding.status == "absent")


def test_doctor_lists_engines_that_are_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    absent = {f.name for f in diagnose() if f.kind == "engine" and f.status == "absent"}
    assert {"xllamacpp", "gguf", "vllm", "transformers"} <= absent


def test_a_server_that_cannot_start_is_an_error_with_its_last_words(tmp_path):
    pytest.importorskip("xllamacpp")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing else")
    with pytest.raises(MeasurementError, match=r"while starting; its last words:\n {2}\S"):
        open_engine(f"xllamacpp:model={broken}").__enter__()


def test_importing_measure_loads_no_engine_and_no_client():
    names = "('aiohttp', 'pynvml', 'gguf', 'numpy', 'polars')"
    code = f"import sys, wattlane.measure; print([m for m in {names} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
