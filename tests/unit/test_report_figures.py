from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import summary, write_run

from wattlane.core.files import write_json, write_parquet
from wattlane.report import canvas, units
from wattlane.report.figures import FIGURES, find
from wattlane.report.figures.frontier import best, points, thinned
from wattlane.report.figures.knobs import setting
from wattlane.report.figures.power import series
from wattlane.report.run import Run, load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(write_run(tmp_path_factory.mktemp("figures") / "run"))


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_figure_is_text_with_title_and_colours_of_the_page(run: Run, name: str) -> None:
    drawn = find(name).draw(run)
    assert drawn is not None
    assert "<text" in drawn
    assert f'<title id="{name}-title">{find(name).title}</title>' in drawn
    assert find(name).describe(run)[:20] in drawn
    bare_colours = set(re.findall(r"(?<!, )#[0-9a-f]{6}", drawn))
    assert bare_colours <= {"#000000"}
    assert len(drawn) < 120_000


def test_numbers_in_a_figure_keep_their_digits(run: Run) -> None:
    body = summary()
    for name in ("baseline", "plan", "without_clocks", "tuned_baseline"):
        for field in ("prefill_j", "decode_j", "idle_j"):
            body[name][field] *= 2
    write_json(run.folder.parent / "small" / "summary.json", "summary", body)
    drawn = find("phases").draw(load(run.folder.parent / "small"))
    assert drawn is not None
    texts = re.findall(r">([\d.]+)</text>", drawn)
    assert {"2.06", "0.371", "1.13"} <= set(texts)  # baseline: whole, prefill, decode


@pytest.mark.parametrize(
    ("knob", "value", "expected"),
    [
        ("clock_hz", None, "maximum"),
        ("clock_hz", 8.4e8, "840 MHz"),
        ("clock_hz", "840 MHz", "840 MHz"),
        ("power_cap_w", 350, "350 W"),
        ("release_window_s", 0.05, "50 ms"),
        ("replicas", "2", "2"),
        ("max_num_seqs", 1024, "1,024"),
        ("max_num_seqs", None, "absent"),
    ],
)
def test_knobs_may_be_numbers_words_or_unset(knob: str, value: object, expected: str) -> None:
    assert setting(knob, value).replace("\u00a0", " ") == expected


def test_two_figures_of_a_page_share_no_id(run: Run) -> None:
    first, second = (set(re.findall(r' id="([^"]+)"', find("power").draw(run, p) or "")) for p in ("a-", "b-"))
    assert first
    assert not first & second


def test_dark_colours_are_told_apart_from_dark_paper() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    dark = dict(canvas.PALETTE.values())
    for light, (name, colour) in canvas.PALETTE.items():
        if name in ("paper", "grid", "on-colour"):
            continue
        least = 4.5 if name in ("ink", "muted") else 2.4
        assert contrast(light, canvas.PAPER) > least, name
        assert contrast(colour, dark["paper"]) > least, name


def test_power_in_many_bins_keeps_its_mean(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", "summary", {})
    watts = np.random.default_rng(1).uniform(100, 700, 7200)
    table = pl.DataFrame({"run": ["plan"] * 7200, "t_s": 10.0 * np.arange(7200), "power_w": watts})
    write_parquet(tmp_path / "power.parquet", "power", table)
    found = series(load(tmp_path))
    assert list(found) == ["plan"]
    assert len(found["plan"][1]) <= 180
    assert found["plan"][1].mean() == pytest.approx(watts.mean(), rel=1e-12)


def test_rows_without_a_value_are_left_out(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", "summary", {})
    rows = pl.DataFrame(
        {"energy_j_per_request": [1.0, None, 3.0], "ttft_p99_s": [0.5, 0.5, 0.0], "feasible": [True, True, True]}
    )
    write_parquet(tmp_path / "frontier.parquet", "frontier", rows)
    found = points(load(tmp_path))
    assert found is not None
    assert [len(column) for column in found] == [1, 1, 1]


def test_overloaded_configurations_leave_room_for_the_rest(run: Run, tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", "summary", summary())
    rows = pl.DataFrame(
        {
            "energy_j_per_request": [900.0, 800.0, 700.0],
            "ttft_p99_s": [0.4, 4.0, 400.0],
            "feasible": [True, False, False],
        }
    )
    write_parquet(tmp_path / "frontier.parquet", "frontier", rows)
    assert "3 configurations tried, 1 keep the SLO" in find("frontier").describe(load(tmp_path))
    assert "1 slower ones are outside the axis" in find("frontier").describe(load(tmp_path))
    assert "outside the axis" not in find("frontier").describe(run)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1, 1e4)), min_size=1, max_size=60))
def test_frontier_holds_exactly_what_nothing_beats(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    kept = {(float(x[i]), float(y[i])) for i in best(x, y)}
    beaten = {(a, b) for a, b in pairs if any((c <= a and d <= b) and (c, d) != (a, b) for c, d in pairs)}
    assert kept == set(pairs) - beaten


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1, 1e4)), min_size=1, max_size=200))
def test_thinning_leaves_one_row_a_cell_and_the_extremes(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    rows = thinned(x, y)
    assert 1 <= len(rows) <= len(pairs)
    assert len(set(rows.tolist())) == len(rows)


@given(st.floats(-1e12, 1e12, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9))
def test_three_digits_are_within_half_a_percent_of_the_value(value: float) -> None:
    text = units.digits(value).replace(",", "").replace("−", "-")
    assert math.isclose(float(text), value, rel_tol=5.1e-3, abs_tol=1e-12)
    assert "e" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.one(None, units.ENERGY), "absent"),
        (units.one(0.0, units.ENERGY), "0 J"),
        (units.one(708.2, units.ENERGY), "708 J"),
        (units.one(0.0123, units.TIME), "12.3 ms"),
        (" | ".join(units.row([1030.0, None, 708.0], units.ENERGY)), "1,030 J | absent | 708 J"),
        (" | ".join(units.row([4e6, 2.0], units.ENERGY)), "4.00 MJ | 2.00 J"),
        (units.exact(0.1, units.TIME), "100 ms"),
        (units.duration(1190), "19.8 min"),
        (units.duration(86400), "24.0 h"),
        (units.attained(0.99996), "99.99 %"),
        (units.attained(1.0), "100 %"),
        (units.percent(-0.0001), "0.0 %"),
        (units.change(2.0, 3.0), "+50.0 %"),
        (units.change(0.0, 3.0), "absent"),
        (units.points(0.99, 0.995), "+0.50 points"),
        (units.words(1.58), "1.58"),
        (units.words(3e-9), "3.000e−09"),
        (units.words([]), "absent"),
        (units.words(True), "yes"),
    ],
)
def test_numbers_read_as_people_write_them(text: str, expected: str) -> None:
    assert text.replace("\u00a0", " ") == expected


def test_rounding_of_a_sum_is_shown_as_zero_not_with_digits() -> None:
    assert units.one(5.8e-14, units.ENERGY).split(units.GLUE)[0] == "0"
    assert units.row([0.343, 5.8e-14], units.ENERGY)[0].startswith("343")
