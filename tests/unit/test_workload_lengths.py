"""Token lengths: moments, histograms, resampling, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import write_json
from wattlane.core.workload import Workload
from wattlane.workload.binning import bin_lengths
from wattlane.workload.generation import generate
from wattlane.workload.lengths import draw
from wattlane.workload.lengths.drawn import within
from wattlane.workload.lengths.histogram import JointHistogram, draw_cells
from wattlane.workload.lengths.trace import resample
from wattlane.workload.shaping import shape


def seed() -> np.random.SeedSequence:
    return np.random.SeedSequence(7)


def test_fixed_lengths_are_fixed() -> None:
    drawn = draw("kind=fixed,input_tokens=12,output_tokens=3", 4, seed())
    assert drawn.input_tokens.tolist() == [12] * 4
    assert drawn.output_tokens.tolist() == [3] * 4


def test_lognormal_has_the_mean_and_sd_asked_for_on_one_side_and_the_median_on_the_other() -> None:
    spec = "kind=lognormal,input_mean_tokens=1000,input_sd_tokens=500,output_median_tokens=100,output_sigma=0.8"
    drawn = draw(spec, 200_000, seed())
    assert drawn.input_tokens.mean() == pytest.approx(1000, rel=0.01)
    assert drawn.input_tokens.std() == pytest.approx(500, rel=0.02)
    assert np.median(drawn.output_tokens) == pytest.approx(100, rel=0.02)
    assert np.log(drawn.output_tokens).std() == pytest.approx(0.8, rel=0.02)


def test_lognormal_counts_what_the_maximum_cuts_and_the_workload_says_so() -> None:
    spec = (
        "kind=lognormal,input_mean_tokens=1000,input_sd_tokens=500,output_median_tokens=100,output_sigma=0.8,"
        "max_input_tokens=1200"
    )
    drawn = draw(spec, 1000, seed())
    assert drawn.input_tokens.max() == 1200
    assert drawn.clipped > 100
    assert "cut at the stated maximum" in generate(n=1000, arrival="kind=burst", lengths=spec).notes[-1]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("kind=fixed,input_tokens=0,output_tokens=1", "at least 1 token each"),
        ("kind=fixed,input_tokens=1.5,output_tokens=1", "a whole number"),
        ("kind=lognormal,input_mean_tokens=5", "2 problems"),
        (
            "kind=lognormal,input_mean_tokens=5,input_sd_tokens=-1,output_median_tokens=-5,output_sigma=1,"
            "max_input_tokens=0",
            "3 problems",
        ),
        ("kind=histogram,path=absent.json", "no such file"),
        ("kind=trace,path=absent.csv", "no such file"),
    ],
)
def test_wrong_lengths_say_what_was_expected(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        draw(spec, 3, seed())


def test_a_joint_histogram_keeps_its_cells_and_their_shares(tmp_path: Path) -> None:
    path = tmp_path / "lengths.json"
    body = {"input_edges_tokens": [1, 10, 100], "output_edges_tokens": [1, 2, 50], "counts": [[3, 0], [0, 1]]}
    write_json(path, "joint_histogram", body)
    drawn = draw({"kind": "histogram", "path": path, "spacing": "uniform"}, 40_000, seed())
    short = drawn.input_tokens < 10
    assert short.mean() == pytest.approx(0.75, abs=0.01)
    assert (drawn.output_tokens[short] == 1).all()
    assert drawn.output_tokens[~short].min() == 2
    assert drawn.output_tokens[~short].max() == 49
    assert drawn.input_tokens[~short].mean() == pytest.approx(54.5, abs=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": None}, "missing counts"),
        ({"counts": [[1]]}, "expected \\(2, 2\\)"),
        ({"counts": [[1, -1], [0, 0]]}, "below 0"),
        ({"counts": [["a", 1], [0, 0]]}, "not numbers"),
        ({"input_edges_tokens": [0, 10, 5]}, "ascending edges from 1"),
    ],
)
def test_a_malformed_histogram_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    body = {"input_edges_tokens": [1, 10, 100], "output_edges_tokens": [1, 2, 50], "counts": [[3, 0], [0, 1]], **change}
    kept = {"schema": 1, "kind": "joint_histogram"} | {k: v for k, v in body.items() if v is not None}
    path = tmp_path / "lengths.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises((FileFormatError, InputError), match=words):
        draw({"kind": "histogram", "path": path}, 3, seed())


def test_a_binned_trace_gives_lengths_with_the_same_bin_counts(tmp_path: Path) -> None:
    trace = draw("kind=shape,name=azure-conv", 5000, seed())
    known = Workload(np.zeros(5000), trace.input_tokens, trace.output_tokens)
    binned = bin_lengths(known, "log-spaced", input_bins=8, output_bins=6)
    path = tmp_path / "bins.json"
    write_json(path, "bins", binned.as_dict())
    drawn = draw({"kind": "histogram", "path": path}, 50_000, seed())
    made = bin_lengths(Workload(np.zeros(50_000), drawn.input_tokens, drawn.output_tokens), "log-spaced")
    again = np.searchsorted(binned.input_edges, drawn.input_tokens)
    shares = np.bincount(again, minlength=len(binned.input_edges)) / 50_000
    assert shares == pytest.approx(binned.counts.sum(axis=1) / 5000, abs=0.01)
    assert made.excluded == 0


def test_log_spacing_favours_short_lengths() -> None:
    lows, highs = np.full(50_000, 10, np.int64), np.full(50_000, 999, np.int64)
    rng = np.random.default_rng(0)
    assert np.median(within(rng, lows, highs, "log")) == pytest.approx(100, rel=0.03)
    assert np.median(within(rng, lows, highs, "uniform")) == pytest.approx(505, rel=0.03)
    with pytest.raises(InputError, match="spacing is 'cubic'"):
        within(rng, lows, highs, "cubic")


def test_draw_cells_gives_the_same_pairs_for_the_same_seed() -> None:
    histogram = JointHistogram(np.array([1, 5, 9]), np.array([1, 3]), np.array([[1.0], [2.0]]))
    one = draw_cells(np.random.default_rng(1), 100, histogram)
    other = draw_cells(np.random.default_rng(1), 100, histogram)
    assert one.input_tokens.tobytes() == other.input_tokens.tobytes()
    assert set(one.output_tokens) <= {1, 2}


def test_resampling_keeps_rows_together() -> None:
    trace = Workload(np.arange(3.0), np.array([10, 20, 30]), np.array([1, 2, 3]), np.array([0, 5, 6]))
    drawn = resample(np.random.default_rng(0), 1000, trace)
    assert drawn.cached_tokens is not None
    rows = set(
        zip(drawn.input_tokens.tolist(), drawn.output_tokens.tolist(), drawn.cached_tokens.tolist(), strict=True)
    )
    assert rows == {(10, 1, 0), (20, 2, 5), (30, 3, 6)}


def test_lengths_come_from_a_trace_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,10,1\n1,20,2\n", encoding="utf-8")
    made = generate(n=200, arrival="kind=poisson,rate_rps=1", lengths={"kind": "trace", "path": path})
    assert set(zip(made.input_tokens.tolist(), made.output_tokens.tolist(), strict=True)) == {(10, 1), (20, 2)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({}, "exactly one"), ({"n": 1, "duration_s": 1.0}, "exactly one"), ({"n": 1, "seed": -1}, "seed is -1")],
)
def test_generate_refuses_what_is_not_one_workload(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        generate(arrival="kind=burst", lengths="kind=fixed,input_tokens=1,output_tokens=1", **arguments)


def test_a_generated_workload_says_how_it_was_made() -> None:
    made = generate(
        n=3, arrival="kind=poisson,rate_rps=2.5", lengths="kind=fixed,input_tokens=1,output_tokens=1", seed=9
    )
    assert made.notes == (
        "arrival kind=poisson,rate_rps=2.5",
        "lengths kind=fixed,input_tokens=1,output_tokens=1",
        "seed 9",
    )


def test_a_shipped_shape_gives_lengths_with_its_means() -> None:
    drawn = draw("kind=shape,name=azure-conv", 200_000, seed())
    statistics = shape("azure-conv").statistics
    assert drawn.input_tokens.mean() == pytest.approx(statistics["input_tokens"]["mean"], rel=0.01)
    assert drawn.output_tokens.mean() == pytest.approx(statistics["output_tokens"]["mean"], rel=0.01)


def test_an_own_shape_file_gives_the_lengths_of_the_shape(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    shape("azure-code").write(path)
    own = draw({"kind": "shape", "name": str(path)}, 500, seed())
    assert np.array_equal(own.input_tokens, draw("kind=shape,name=azure-code", 500, seed()).input_tokens)
