"""The page of a suite: every saving beside its attainment, who is not ranked, and every loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import write_json
from wattlane.report import figure, page
from wattlane.report.suites import figures, tables
from wattlane.report.suites.page import render
from wattlane.report.suites.result import load

GLUE = "\u00a0"


def spread(median: float, half: float = 0.0) -> dict[str, float]:
    return {"median": median, "lo": median - half, "hi": median + half}


def row(name: str, rank: int | None, joules: float, saving: float, attained: float) -> dict[str, Any]:
    times = {key: spread(0.25) for key in ("ttft_p50_s", "ttft_p99_s", "tbt_p50_s", "tbt_p99_s", "busy_share")}
    return {
        "controller": name,
        "ranked": rank is not None,
        "rank": rank,
        "energy_j_per_good_token": spread(joules, 0.01),
        "energy_j_per_request": spread(200 * joules),
        "attainment": spread(attained),
        "mean_power_w": spread(1500.0),
        "saving": spread(saving, 0.02),
        "saving_without_tail": spread(saving),
        "shares": {"prefill": 0.3, "decode": 0.5, "idle": 0.2, "reconfiguration": 0.05, "tail": 0.1},
        "knobs": {"max_num_batched_tokens": 2048.0, "max_num_seqs": 256.0, "clock": 1.0, "floor": 0.0},
        **times,
    }


def described(name: str, claim: str = "no energy claim") -> dict[str, str]:
    return {"name": name, "title": f"the {name}", "source": f"paper of {name}", "claim": claim, "rule": "rule"}


def suite(*, reached: bool = True, loads: tuple[float, ...] = (0.3, 0.6)) -> dict[str, Any]:
    names = {0.3: "low", 0.6: "medium"}
    rows = [row("ours", 1, 0.1, 0.5, 0.995), row("default", 2, 0.2, 0.0, 1.0), row("hasty", None, 0.05, 0.75, 0.93)]
    aim = {"aim": 0.3, "reached": reached, "saving": spread(0.5 if reached else 0.2)}
    prior = {"p10": 0.41, "p50": 0.43, "p90": 0.47}
    full = {"rate_rps": 60.0, "attainment": 0.991, "missed_rps": 60.5, "missed_attainment": 0.989}
    loss = {"traffic": "hour", "load": 0.6, "controller": "hasty", "seeds": 5, "dearer": 1, "missed": 4}
    step = {key: rows[0][key] for key in ("controller", "ranked", "energy_j_per_good_token", "saving", "attainment")}
    return {
        "suite": "slo-energy",
        "scenario": {
            "name": "tiny",
            "model": "8B",
            "gpu": "H100",
            "replicas": 4,
            "slo": {"ttft_s": 1.0, "tbt_s": 0.1, "attainment": 0.99},
            "clocks_mhz": [900.0, 1400.0, 1980.0],
        },
        "method": {"scored_seeds": [1, 2, 3, 4, 5]},
        "origin": "modelled",
        "boundary": "gpu",
        "controllers": [described("default"), described("ours", "none published"), described("hasty", "up to 90 %")],
        "default": "default",
        "ours": "ours",
        "traffic": [
            {
                "name": "hour",
                "source": "shape",
                "requests": 1000,
                "rate_rps": 5.0,
                "full_load": {**full, "knobs": {"max_num_seqs": 256.0}},
                "thinning": {"default": {"energy_change": 0.01, "attainment_change": -0.002}},
            }
        ],
        "tables": [{"traffic": "hour", "load": at, "name": names.get(at), "rows": rows} for at in loads],
        "losses": [{**loss, "worst_saving": -0.1, "least_attainment": 0.93}],
        "ablation": [{"traffic": "hour", "load": 0.6, "rows": [{**step, "title": "all of it"}]}],
        "aims": [
            {
                "traffic": "hour",
                "load": 0.6,
                "attainment": spread(0.995),
                "against_default": {**aim, "under_clock_prior": prior},
                "against_lowest_clock": {"aim": 0.05, "reached": reached, "saving": spread(0.08)},
                "without_clocks": {
                    "controller": "x",
                    "ranked": True,
                    "saving": spread(0.29),
                    "attainment": spread(0.999),
                },
            }
        ],
        "provenance": {"seed": 1},
    }


def written(folder: Path, body: dict[str, Any]) -> Path:
    write_json(folder / "suite.json", "suite", body)
    return folder


def test_the_page_answers_first_and_shows_every_part(tmp_path: Path) -> None:
    text = page([written(tmp_path / "run", suite())], tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"50.0{GLUE}% less energy than the tuned default at 99.50{GLUE}% attainment" in text
    assert f"without clock control 29.0{GLUE}% at 99.90{GLUE}%" in text
    for words in (
        "Energy against load",
        "Attainment against load",
        "Every loss",
        "all of it",
        "Full load",
        "up to 90 %",
    ):
        assert words in text
    assert 'class="answer none"' not in text
    assert text == page([tmp_path / "run" / "suite.json"], tmp_path / "again.html").read_text(encoding="utf-8")


def test_a_missed_aim_is_said_plainly(tmp_path: Path) -> None:
    text = render([load(written(tmp_path, suite(reached=False)))])
    assert f"The aim of 30{GLUE}% less than the default on hour is missed." in text
    assert 'class="answer none"' in text


def test_a_controller_below_the_slo_stands_in_the_table_without_a_rank(tmp_path: Path) -> None:
    run = load(written(tmp_path, suite()))
    shown = tables.at_load(run, run.suite.tables[0])
    assert [line[1] for line in shown.rows] == ["1", "2", tables.NOT_RANKED]


def test_wherever_a_saving_stands_the_attainment_stands_too(tmp_path: Path) -> None:
    run = load(written(tmp_path, suite()))
    parts = [tables.at_load(run, run.suite.tables[0]), tables.shares(run, run.suite.tables[0]), tables.losses(run)]
    parts += [tables.aims(run, run.suite.aims), tables.ablation(run, run.suite.ablation[0])]
    for table in parts:
        words = " ".join(table.head)
        assert "saving" in words or "less than" in words
        assert "attainment" in words
    claims = tables.claims(run)
    assert claims.rows[1][-1] == f"50.0{GLUE}% at 99.50{GLUE}%"


def test_tuned_clocks_are_shown_in_megahertz(tmp_path: Path) -> None:
    run = load(written(tmp_path, suite()))
    shown = tables.settings(run, run.suite.tables[0]).rows[0][1]
    assert f"clock 1400{GLUE}MHz" in shown
    assert f"lowest clock 900{GLUE}MHz" in shown


def test_figures_name_the_best_and_how_far_each_keeps_the_slo(tmp_path: Path) -> None:
    run = load(written(tmp_path, suite()))
    assert f"30{GLUE}% load: the ours, 50.0{GLUE}% less than the default at 99.50{GLUE}% attainment" in (
        figures.describe_energy(run)
    )
    said = figures.describe_attainment(run)
    assert f"60{GLUE}%: " in said
    assert "the hasty" not in said
    assert figure(tmp_path, "energy", tmp_path / "energy.png").stat().st_size > 10_000
    with pytest.raises(UnknownNameError, match="figure of a suite"):
        figure(tmp_path, "nothing", tmp_path / "x.png")


def test_nothing_replayed_is_absent_and_not_an_error(tmp_path: Path) -> None:
    body = suite(loads=()) | {"aims": [], "ablation": [], "losses": []}
    text = render([load(written(tmp_path, body))])
    assert "The controllers at the loads that were replayed" in text
    assert "absent: this run has no suite.json with at least one load" in text


def test_a_page_holds_one_kind_and_says_what_a_folder_lacks(tmp_path: Path) -> None:
    one = written(tmp_path / "a", suite())
    (tmp_path / "b").mkdir()
    write_json(tmp_path / "b" / "summary.json", "summary", {})
    with pytest.raises(InputError, match="studies and suites together"):
        page([one, tmp_path / "b"], tmp_path / "page.html")
    both = render([load(one), load(one)])
    assert "Comparison of 2 suites" in both
    with pytest.raises(InputError, match=r"found no suite\.json"):
        load(tmp_path / "b")
    bad = written(tmp_path / "c", suite() | {"tables": 3})
    with pytest.raises(FileFormatError, match="tables"):
        load(bad)
