"""Campaigns and comparisons on the embedded engine: two precisions by two batch limits, killed and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import read_served
from wattlane.measure import campaign, compare
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.trials import finished
from wattlane.measure.comparing.differences import Verdict

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
pytestmark = [pytest.mark.engine, pytest.mark.slow]

GRID = """
name = "precision-by-slots"
target = "xllamacpp:precision={precision},slots={slots}"
order = "interleaved"
seed = 3
cpu_watts = 10.0
[workload]
text = "burst:n=6,input=16,output=4"
[factors]
precision = ["F16", "Q8_0"]
slots = [1, 4]
[repeats]
at_least = 2
"""
PAIR = """
name = "pair"
target = "xllamacpp:precision={precision},slots=1"
order = "interleaved"
[workload]
text = "burst:n=4,input=8,output=48"
[factors]
precision = ["F32", "Q8_0"]
[repeats]
at_least = 2
at_most = 3
metric = "tbt_mean_s"
relative = 1e-6
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def stamps(folder: Path) -> dict[str, int]:
    files = folder.glob("cells/*/*/measurement.json")
    return {str(file.parent): file.stat().st_mtime_ns for file in files if finished(file.parent)}


def test_a_killed_campaign_resumes_without_redoing_or_losing_a_finished_trial(tmp_path):
    grid, out = tmp_path / "grid.toml", tmp_path / "run"
    grid.write_text(GRID)
    command = [sys.executable, "-m", "wattlane", "campaign", str(grid), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + 60
        while len(stamps(out)) < 3 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        time.sleep(0.3)  # into the next trial
        process.send_signal(signal.SIGKILL)
    before = stamps(out)
    assert 3 <= len(before) < 8
    assert not (out / "campaign.json").exists() or not read_json(out / "campaign.json")["complete"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    after = stamps(out)
    assert len(after) == 8
    assert before.items() <= after.items()
    body = read_json(out / "campaign.json", "campaign")
    assert (body["complete"], body["trials"]) == (True, {"measured": 8})
    table = read_parquet(out / "campaign.parquet", "campaign")
    assert set(table["factor_precision"]) == {"F16", "Q8_0"}
    assert table["output_tokens"].to_list() == [24] * 8
    assert (table["batch_max"] >= 1).all()
    assert set(table["engine_name"]) == {"xllamacpp"}
    assert table["kv_cache"].all()
    prompts = [read_served(Path(folder) / "served.parquet")["input_tokens"].to_list() for folder in after]
    assert prompts == [[16] * 6] * 8


def test_trials_stop_at_the_cap_and_two_precisions_differ_or_say_what_would_tell(tmp_path):
    result = campaign(parse_grid("pair", PAIR), tmp_path)
    assert result.summary["trials"] == {"measured": 6}
    assert {cell["stopped"] for cell in result.summary["cells"]} == {"cap of 3 trials reached"}
    full, short = (tmp_path / "cells" / cell["cell"] for cell in result.summary["cells"])
    [same] = compare(full, full).pairings
    assert {one.verdict for one in same.differences} == {Verdict.NOT_SHOWN}
    assert same.unlike == ()
    [pairing] = compare(full, short).pairings
    assert pairing.unlike == ("precision: F32 against Q8_0",)
    gap = next(one for one in pairing.differences if one.metric == "tbt_mean_s")
    assert gap.n == 3
    assert gap.verdict in (Verdict.LOWER, Verdict.HIGHER) or (gap.verdict is Verdict.NOT_SHOWN and gap.needed)
    [runs] = compare(full / "000", short / "000").pairings
    assert runs.matching["matched"] == 4
