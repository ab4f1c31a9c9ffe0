"""The shaping verb: tables, JSON and the file say the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run


@pytest.mark.slow
def test_verb_prints_tables_and_json_and_lists_wrong_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work.csv"
    rows = "\n".join(f"{i / 2},{100 + i},{10 + i}" for i in np.arange(32))
    work.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}\n")
    out = tmp_path / "run"
    words = ["shaping", str(work), "--model", "Llama-3.1-8B-Instruct", "-o", str(out), "--rates", "1,4"]
    words += ["--limits", "64,4", "--windows-s", "0.5", "--requests", "32", "--seeds", "2"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "Windows over Poisson arrivals" in shown
    assert "At 4 requests/s" in shown
    assert run([*words, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["windows"] == json.loads((out / "shaping.json").read_text())["windows"]
    assert run([*words, "--rates", "x"]) == 1
    assert "--rates is 'x'" in capsys.readouterr().err
