"""An engine killed with SIGKILL in mid-run: what was recorded is kept, and the result says what happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from engine_targets import target_of

from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.measure import run

pytestmark = [pytest.mark.engine, pytest.mark.slow]

LOAD = "deterministic:n=200,rate_rps=20,input=24,output=8"
MARKS = {"xllamacpp": "xllamacpp_server", "transformers": "serve", "vllm": "api_server"}
ENDED_BEFORE_THE_KILL = 20


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("name", MARKS)
def test_killed_engine_leaves_a_partial_result_that_says_so(name: str, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(ended: int, _failed: int, _offered: int) -> None:
        if ended >= ENDED_BEFORE_THE_KILL and not killed:
            for pid in children(os.getpid()):
                if MARKS[name] in Path(f"/proc/{pid}/cmdline").read_text():
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)

    result = run(target_of(name), LOAD, tmp_path, seed=1, limit_s=30, on_progress=kill)
    assert len(killed) == 1
    assert not result.valid
    assert not result.complete
    assert result.reasons[0].startswith("engine_ended")
    assert "SIGKILL" in result.reasons[0]
    deadline_s = time.monotonic() + 10
    while members(killed[0]) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert members(killed[0]) == [], "a killed server must not leave children behind"
    body = read_json(tmp_path / "measurement.json", "measurement")
    assert body["complete"] is False
    assert sum(body["outcomes"].values()) == 200
    table = read_served(tmp_path / "served.parquet")
    done = table.filter(pl.col("outcome") == "completed")
    assert ENDED_BEFORE_THE_KILL <= len(done) < 200
    assert body["tokens"]["output"] == done["output_tokens"].sum()
    assert table.filter(pl.col("outcome") != "completed")["error"].null_count() == 0
