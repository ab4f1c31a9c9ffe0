"""Ceiling bins: the published edges, exclusions and inflation, and adaptive bins against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.workload import bin_lengths, load


def _lengths(inputs, outputs) -> Workload:
    return Workload(np.zeros(len(inputs)), np.array(inputs), np.array(outputs))


@pytest.mark.parametrize("scheme", ["fernandez-printed", "fernandez-full"])
@pytest.mark.parametrize(
    ("length", "edge", "side"),
    [
        (1, {"fernandez-printed": 32, "fernandez-full": 16}, "input"),
        (33, {"fernandez-printed": 128, "fernandez-full": 64}, "input"),
        (8192, 8192, "input"),
        (8193, None, "input"),
        (1, 8, "output"),
        (9, 16, "output"),
        (512, 512, "output"),
        (513, None, "output"),
    ],
)
def test_a_length_goes_to_the_least_edge_not_below_it(scheme, length, edge, side):
    edge = edge[scheme] if isinstance(edge, dict) else edge
    pair = ([length], [8]) if side == "input" else ([32], [length])
    binned = bin_lengths(_lengths(*pair), scheme)
    cells = binned.as_dict()["cells"]
    if edge is None:
        assert (cells, binned.excluded, binned.input_inflation, binned.output_inflation) == ([], 1, None, None)
    else:
        assert [cell[0 if side == "input" else 1] for cell in cells] == [edge]
        assert binned.excluded == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("kind", "excluded", "input_inflation", "output_inflation", "output_share"),
    [("code", 27, 1.382, 1.407, 0.088), ("conv", 563, 1.429, 1.310, 0.083)],
)
def test_azure_2023_traces_have_their_published_exclusions_and_inflation(
    data_dir: Path, kind, excluded, input_inflation, output_inflation, output_share
):
    work = load(data_dir / "traces" / "azure-llm-2023" / f"AzureLLMInferenceTrace_{kind}.csv").workload
    binned = bin_lengths(work, "fernandez-printed")
    assert binned.excluded == excluded
    assert binned.input_inflation == pytest.approx(input_inflation, abs=1e-3)
    assert binned.output_inflation == pytest.approx(output_inflation, abs=1e-3)
    assert binned.excluded_output_token_share == pytest.approx(output_share, abs=5e-4)
    assert binned.counts.sum() + excluded == binned.requests == len(work)


def test_the_hand_counted_example():
    binned = bin_lengths(_lengths([30, 32, 100, 9000], [8, 10, 10, 4]))
    body = binned.as_dict()
    assert body["cells"] == [[32, 8, 1], [32, 16, 1], [128, 16, 1]]
    assert (body["excluded"], body["excluded_share"]) == (1, 0.25)
    assert binned.excluded_input_token_share == pytest.approx(9000 / 9162)
    assert binned.input_inflation == pytest.approx((32 + 32 + 128) / 162)
    assert "4 requests in 3 cells, 1 excluded" in repr(binned)
    json.dumps(body, allow_nan=False)


def test_log_spaced_edges_have_equal_ratios_and_end_at_the_longest():
    edges = bin_lengths(_lengths([1, 10, 1000], [1, 1, 1]), "log-spaced", input_bins=3).input_edges
    assert edges.tolist() == [10, 100, 1000]


def test_adaptive_edges_follow_the_lengths():
    work = _lengths([10] * 50 + [11] * 50 + [500] * 3 + [8000], [3] * 104)
    binned = bin_lengths(work, "adaptive", input_bins=3, output_bins=5)
    assert binned.input_edges.tolist() == [11, 500, 8000]
    assert binned.output_edges.tolist() == [3]
    assert bin_lengths(work, "adaptive", input_bins=1).input_edges.tolist() == [8000]
    assert bin_lengths(work, "adaptive").input_edges.tolist() == [10, 11, 500, 8000]


def test_an_unknown_scheme_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="adaptive, fernandez-full, fernandez-printed, log-spaced"):
        bin_lengths(_lengths([1], [1]), "quantile")


def test_bin_counts_that_make_no_sense_are_reported_together():
    with pytest.raises(InputError, match=r"(?s)input_bins is 0.*output_bins given; fernandez-full has fixed edges"):
        bin_lengths(_lengths([1], [1]), "fernandez-full", input_bins=0, output_bins=3)
