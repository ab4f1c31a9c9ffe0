"""What a study prints: the answer in one sentence, absent values as absent, progress as bars or lines."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from wattlane.cli import progress, tables
from wattlane.cli.tables import headline, study_table


def deployment() -> dict[str, Any]:
    """Return the knobs of a side."""
    return {
        "replicas": 2,
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "clock_hz": None,
        "release_window_s": 0.0,
    }


def body(lo: float, hi: float, fraction: float = 0.2, **plan: Any) -> dict[str, Any]:
    """Return as much of a summary as the table reads."""
    side = {
        "label": "vllm 0.11 defaults",
        "requests": 19366,
        "failed": 0,
        "energy_j_per_request": 123.4,
        "energy_j_per_output_token": None,
        "mean_power_w": 400.0,
        "ttft_p99_s": 0.5,
        "tbt_p99_s": 0.05,
        "slo_attainment": 0.991,
        "deployment": deployment(),
    }
    commands = {"plan": ["vllm serve [x]"], "clock": [], "rollback": ["vllm serve y"]}
    return {
        "baseline": side,
        "plan": side | plan,
        "without_clocks": side,
        "saving_fraction": fraction,
        "saving_interval": [lo, hi],
        "saving_without_clocks": 0.0,
        "saving_without_clocks_interval": [0.0, 0.0],
        "saving_against_tuned": 0.1,
        "saving_against_tuned_interval": [0.05, 0.15],
        "verdict": "saving" if lo > 0 else "no saving shown",
        "commands": commands,
        "warnings": ["look out"],
    }


def test_a_saving_names_its_interval_baseline_and_attainment() -> None:
    assert headline(body(0.1, 0.3)) == (
        "The plan uses 20% less GPU energy (10% to 30%, modelled) than vllm 0.11 defaults, "
        "with 99.1% of requests within their SLOs."
    )


@pytest.mark.parametrize("lo", [-0.1, 0.0])
def test_an_interval_that_holds_zero_is_a_tie(lo: float) -> None:
    said = headline(body(lo, 0.3))
    assert said.startswith("No saving shown, a tie")
    assert "20%" not in said


def test_a_plan_that_costs_more_is_not_called_a_tie() -> None:
    said = headline(body(-0.5, -0.3, -0.4))
    assert said.startswith("No saving shown: the best plan found uses 40% more GPU energy")
    assert "(30% to 50%, modelled)" in said
    assert "tie" not in said


def test_table_prints_absent_as_absent_and_commands_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    study_table(body(0.1, 0.3, deployment=deployment() | {"clock_hz": 840e6, "release_window_s": 0.1}))
    shown = capsys.readouterr().out
    for part in ("absent", "19,366", "99.1 %", "500 ms", "840 MHz", "100 ms", "maximum", "20.0% [10.0%, 30.0%]"):
        assert part in shown
    assert "none shown [0.0%, 0.0%]" in shown
    assert "  vllm serve [x]" in shown
    assert "privileged):" not in shown
    assert "note: look out" in shown


def test_in_a_terminal_the_table_has_the_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    wide = Console(file=out, width=180, force_terminal=True, color_system=None)
    monkeypatch.setattr(tables, "Console", lambda **_: wide)
    study_table(body(0.1, 0.3))
    assert wide.width == 180
    assert "19,366" in out.getvalue()


def test_progress_outside_a_terminal_is_a_line_at_every_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "say", Console(file=out, width=80))
    with progress.steps() as report:
        for n in range(201):
            report("draws", n, 200, "")
        for n in range(1, 121):
            report("search", n, 0, "words")
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("draws")] == [f"draws: {n} of 200" for n in range(0, 201, 20)]
    assert [line for line in lines if line.startswith("search")] == [f"search: {n} points, words" for n in (1, 50, 100)]


def test_progress_in_a_terminal_is_a_bar_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "say", Console(file=out, width=100, force_terminal=True, color_system=None))
    with progress.steps() as report:
        report("search", 3, 0, "2 replicas")
        report("draws", 1, 20, "")
        report("draws", 20, 20, "")
    shown = out.getvalue()
    for part in ("search", "2 replicas", "draws", "20 of 20"):
        assert part in shown
