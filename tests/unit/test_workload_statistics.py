"""`describe`: the numbers printed for public traces, and the definitions behind them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.workload import Workload
from wattlane.workload import describe, load
from wattlane.workload.statistics import gap_cv, ranks


def _workload(arrivals, inputs, outputs) -> Workload:
    return Workload(np.array(arrivals, float), np.array(inputs), np.array(outputs))


@pytest.mark.data
@pytest.mark.parametrize(
    ("kind", "rows", "input_printed", "output_printed", "medians"),
    [
        ("code", 8819, (2047.85, 1973.88), (27.88, 59.86), (1469, 13)),
        ("conv", 19366, (1154.70, 1108.82), (211.13, 162.87), (1020, 129)),
    ],
)
def test_azure_2023_traces_have_their_published_length_statistics(
    data_dir: Path, kind, rows, input_printed, output_printed, medians
):
    loaded = load(data_dir / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{kind}.csv")
    facts = describe(loaded.workload)
    assert (loaded.format, loaded.rows, loaded.bad_rows, loaded.zero_output_rows) == ("azure", rows, 0, 0)
    assert facts["requests"] == rows
    for side, printed in (("input_tokens", input_printed), ("output_tokens", output_printed)):
        assert (round(facts[side]["mean"], 2), round(facts[side]["std"], 2)) == printed
    assert (facts["input_tokens"]["p50"], facts["output_tokens"]["p50"]) == medians
    assert sum(facts["requests_per_minute"]) == rows


def test_description_of_a_small_workload_follows_the_definitions():
    facts = describe(_workload([5.0, 6.0, 8.0, 66.0], [10, 20, 20, 30], [1, 2, 2, 3]))
    assert (facts["span_s"], facts["rate_rps"], facts["longest_gap_s"]) == (61.0, 4 / 61.0, 58.0)
    assert facts["gap_cv"] == pytest.approx(np.std([1, 2, 58], ddof=1) / (61 / 3))
    assert facts["input_tokens"] == {
        "total": 80,
        "mean": 20.0,
        "std": pytest.approx(np.sqrt(200 / 3)),
        "min": 10,
        "p50": 20.0,
        "p90": pytest.approx(27.0),
        "p95": pytest.approx(28.5),
        "p99": pytest.approx(29.7),
        "max": 30,
    }
    assert facts["requests_per_minute"] == [3, 1]
    assert facts["distinct_length_pairs"] == 3
    assert facts["input_output_correlation"] == {"pearson": pytest.approx(1.0), "spearman": pytest.approx(1.0)}


@pytest.mark.parametrize(
    "arrivals", [pytest.param([3.0], id="one request"), pytest.param([3.0, 3.0, 3.0], id="a burst")]
)
def test_what_cannot_be_told_is_none_and_the_description_stays_json(arrivals):
    n = len(arrivals)
    facts = describe(_workload(arrivals, [7] * n, [2] * n))
    assert facts["rate_rps"] is None
    assert facts["gap_cv"] is None
    assert facts["input_output_correlation"] == {"pearson": None, "spearman": None}
    json.dumps(facts, allow_nan=False)


def test_ties_share_their_mean_rank():
    assert ranks(np.array([30, 10, 10, 20])).tolist() == [4.0, 1.5, 1.5, 3.0]


def test_gap_cv_of_evenly_spaced_arrivals_is_zero():
    assert gap_cv(np.arange(10.0)) == pytest.approx(0.0, abs=1e-12)
