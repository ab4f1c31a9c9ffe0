"""Laws of binning for any workload: nothing is lost, nothing shrinks, adaptive is optimal."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattlane.core.workload import Workload
from wattlane.workload import bin_lengths
from wattlane.workload.bins import SCHEMES
from wattlane.workload.bins.adaptive import edges

LENGTHS = st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 2_000)), min_size=1, max_size=60)


def _workload(pairs) -> Workload:
    inputs, outputs = (np.array(column) for column in zip(*pairs, strict=True))
    return Workload(np.zeros(len(pairs)), inputs, outputs)


@given(LENGTHS, st.sampled_from([scheme.name for scheme in SCHEMES]))
def test_counts_and_excluded_add_up_and_no_length_shrinks(pairs, scheme):
    binned = bin_lengths(_workload(pairs), scheme)
    assert binned.counts.sum() + binned.excluded == len(pairs)
    assert (np.diff(binned.input_edges) > 0).all()
    assert (np.diff(binned.output_edges) > 0).all()
    for inflation in (binned.input_inflation, binned.output_inflation):
        assert inflation is None or inflation >= 1.0
    if scheme in ("log-spaced", "adaptive"):
        assert binned.excluded == 0


@given(LENGTHS, st.integers(1, 9))
def test_adaptive_pads_no_more_than_log_spaced_at_as_many_bins(pairs, count):
    work = _workload(pairs)
    adaptive, spaced = (
        bin_lengths(work, scheme, input_bins=count, output_bins=count) for scheme in ("adaptive", "log-spaced")
    )
    assert adaptive.input_inflation <= spaced.input_inflation
    assert adaptive.output_inflation <= spaced.output_inflation


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 8))
def test_adaptive_equals_the_exhaustive_minimum(lengths, count):
    values, counts = (column.tolist() for column in np.unique(lengths, return_counts=True))

    @cache
    def least(j: int, bins: int) -> float:
        if j == 0:
            return 0.0
        if bins == 0:
            return np.inf
        return min(least(i, bins - 1) + values[j - 1] * sum(counts[i:j]) for i in range(j))

    found = edges(np.array(lengths), count)
    assert len(found) <= count
    assert found[np.searchsorted(found, lengths)].sum() == least(len(values), count)
