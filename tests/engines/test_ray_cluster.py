"""Campaigns and sweeps spread over a real Ray cluster on this machine, where Ray is installed.

`WATTLANE_RAY_PYTHON` names an interpreter that has ray and wattlane, and xllamacpp for campaigns; Ray is too large for
the lock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wattlane.core.files import read_json, read_parquet
from wattlane.measure.engines.process import free_port

pytestmark = [pytest.mark.engine, pytest.mark.slow]

GRID = """
name = "cluster"
target = "xllamacpp:precision={precision}"
cpu_watts = 10.0
[workload]
text = "burst:n=4,input=8,output=8"
[factors]
precision = ["F16", "Q8_0"]
[repeats]
at_least = 2
"""
START_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def python() -> str:
    chosen = os.environ.get("WATTLANE_RAY_PYTHON") or sys.executable
    needs(chosen, "ray, wattlane")
    return chosen


def needs(python: str, modules: str) -> None:
    found = subprocess.run([python, "-c", f"import {modules}"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"{python}: {found.stderr.strip().splitlines()[-1]}; name one with WATTLANE_RAY_PYTHON")


@pytest.fixture(scope="module")
def address(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of this machine that says it has two GPUs, as no trial of this grid computes on one."""
    port, log = free_port(), tmp_path_factory.mktemp("ray") / "log"
    command = [str(Path(python).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=2", "--include-dashboard=false"]
    with log.open("w") as out:
        head = subprocess.Popen(
            [*command, "--disable-usage-stats"],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline_s = time.monotonic() + START_LIMIT_S
            while "runtime started" not in log.read_text():
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()  # ends what it started
            with suppress(subprocess.TimeoutExpired):
                head.wait(20)
            if head.poll() is None:
                head.kill()
                head.wait()


def run(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "wattlane", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_a_campaign_runs_on_a_real_cluster_and_resumes_there(python: str, address: str, tmp_path: Path) -> None:
    needs(python, "xllamacpp")
    grid, out = tmp_path / "grid.toml", tmp_path / "run"
    grid.write_text(GRID)
    done = run(python, "campaign", str(grid), "-o", str(out), "--ray", address)
    assert done.returncode == 0, done.stderr
    table = read_parquet(out / "campaign.parquet", "campaign")
    assert table["status"].to_list() == ["measured"] * 4
    assert set(table["energy_status"]) == {"modelled"}, "the engine computes on the CPU: no GPU is metered for it"
    assert set(table["requests"]) == {4}
    assert len(list(out.glob("cells/*/*/served.parquet"))) == 4
    again = run(python, "campaign", str(grid), "-o", str(out), "--ray", address, "--set", "repeats.at_least=3")
    assert again.returncode == 0, again.stderr
    assert "trials 6 measured; 4 from an earlier run" in again.stderr
    assert read_json(out / "campaign.json", "campaign")["complete"]


def test_a_sweep_on_a_real_cluster_gives_the_bytes_of_threads(python: str, address: str, tmp_path: Path) -> None:
    points = tmp_path / "points.toml"
    points.write_text('model = "Llama-3.1-8B"\nmax_num_seqs = [16, 64, 256]\nidle_w = [60.0, 70.0]\n')
    arguments = ["sweep", "azure-code", str(points)]
    here = run(python, *arguments, "-o", str(tmp_path / "here"))
    away = run(python, *arguments, "-o", str(tmp_path / "away"), "--ray", address)
    assert (here.returncode, away.returncode) == (0, 0), here.stderr + away.stderr
    assert "6 points: 3 re-priced, 3 replayed" in away.stdout
    for name in ("sweep.parquet", "summary.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "away" / name).read_bytes()
