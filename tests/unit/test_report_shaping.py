"""The page of an arrival shaping study: joules by rate, shape and engine with intervals, the curve of the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import write_json
from wattlane.report import figure, page
from wattlane.report.shapings import figures
from wattlane.report.shapings.page import render
from wattlane.report.shapings.result import load

GLUE = "\u00a0"


def band(mean: float, half: float = 0.0) -> dict[str, float]:
    return {"mean": mean, "lo": mean - half, "hi": mean + half}


def measures(joules: float) -> dict[str, Any]:
    times = {key: band(0.2) for key in ("ttft_mean_s", "ttft_p99_s", "tbt_p99_s")}
    return {"energy_j_per_request": band(joules, 2.0), "slo_attainment": band(0.99), "mean_batch": band(3.0), **times}


def cell(rate: float, shape: str, engine: str, joules: float) -> dict[str, Any]:
    effects = {"rate": band(0.0), "shape": band(-5.0, 1.0), "engine": band(0.0)}
    place = {"rate_rps": rate, "shape": shape, "engine": engine, "idle_floor_j": 120.0 / rate}
    return {**place, **measures(joules), "above_idle_floor_j": band(joules - 120.0 / rate, 2.0), "effects_j": effects}


def window(rate: float, held_s: float, saving: float, verdict: str) -> dict[str, Any]:
    place = {"rate_rps": rate, "window_s": held_s, "verdict": verdict}
    return {**place, **measures(300.0), "saving_fraction": band(saving, 0.001), "added_ttft_s": band(held_s / 2)}


def body(verdict: str = "pays") -> dict[str, Any]:
    engines = ("max_num_seqs=256", "max_num_seqs=16")
    joules = {(1.0, "burst"): 200.0, (1.0, "poisson"): 400.0, (10.0, "burst"): 50.0, (10.0, "poisson"): 80.0}
    return {
        "workload": "shape azure-conv",
        "model": "8B",
        "gpu": "H100",
        "precision": "bf16",
        "law": "H100",
        "origin": "modelled",
        "boundary": "gpu",
        "slo": {"ttft_s": 1.0, "tbt_s": 0.1, "attainment": 0.99},
        "grid": {"seeds": 5},
        "idle_w": 120.0,
        "base": {"rate_rps": 1.0, "shape": "poisson", "engine": engines[0]},
        "cells": [cell(rate, shape, engine, j) for engine in engines for (rate, shape), j in joules.items()],
        "windows": [window(r, s, 0.02 * s, verdict) for r in (1.0, 10.0) for s in (0.1, 0.5)],
        "findings": ["At 1 requests/s it pays."],
    }


def written(folder: Path, content: dict[str, Any]) -> Path:
    write_json(folder / "shaping.json", "arrival shaping", content)
    return folder


def test_the_page_shows_energy_with_intervals_and_the_window(tmp_path: Path) -> None:
    text = page([written(tmp_path / "run", body())], tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"400.0{GLUE}±{GLUE}2.0" in text
    assert f"A window saves up to 1.0{GLUE}% of the energy at 99.00{GLUE}% attainment" in text
    assert "Rate alone moves the energy of a request 5.00 times, from 1 to 10 requests/s" in text
    assert "shapes differ by at most 2.00 times" in text
    assert f"{chr(0x2212)}5.0{GLUE}±{GLUE}1.0" in text
    for words in ("max_num_seqs=16", "Windows over Poisson arrivals", "At 1 requests/s it pays.", "Provenance"):
        assert words in text
    assert text.count("<svg") == 2


def test_a_study_in_which_no_window_pays_says_so(tmp_path: Path) -> None:
    run = load(written(tmp_path, body("only adds latency")))
    assert "No release window pays" in render([run])
    assert "Comparison of 2 arrival shaping studies" in render([run, run])


def test_figures_are_saved_and_described(tmp_path: Path) -> None:
    run = load(written(tmp_path, body("misses the SLO")))
    said = figures.describe_energy(run)
    assert f"Poisson arrivals on max_num_seqs=256: 400{GLUE}J at 1 requests/s, 80.0{GLUE}J at 10." in said
    assert f"200{GLUE}J (burst) to 400{GLUE}J (poisson)" in said
    for name in ("energy", "window"):
        assert figure(tmp_path, name, tmp_path / f"{name}.png").stat().st_size > 10_000
    with pytest.raises(UnknownNameError, match="figure of arrival shaping"):
        figure(tmp_path, "nothing", tmp_path / "x.png")


def test_a_study_without_windows_or_cells_has_no_figure_of_them(tmp_path: Path) -> None:
    run = load(written(tmp_path, body() | {"windows": [], "cells": []}))
    assert figures.plot_energy(run) is None
    assert figures.plot_window(run) is None


def test_files_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no shaping\.json"):
        load(tmp_path)
    with pytest.raises(FileFormatError, match="idle_w"):
        load(written(tmp_path, body() | {"idle_w": "much"}))
