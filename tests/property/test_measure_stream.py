from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.measure.spans import find_spans
from wattlane.measure.sse import EventBuffer

PAYLOADS = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda text: not text.startswith(" ")
)


@given(st.lists(PAYLOADS, max_size=6), st.lists(st.integers(0, 400), max_size=8))
def test_events_do_not_depend_on_how_the_network_cuts_the_bytes(payloads, cuts):
    raw = "".join(f"data: {payload}\n\n" for payload in payloads).encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    buffer, events = EventBuffer(), []
    for start, end in itertools.pairwise(edges):
        events += buffer.feed(raw[start:end])
    assert events + buffer.close() == payloads


INSTANTS = st.lists(st.floats(0, 50), min_size=3, max_size=3).map(sorted)


@given(st.lists(INSTANTS, min_size=1, max_size=12))
def test_spans_match_a_count_on_a_grid_of_instants(requests):
    started, first, end = (np.array(column) for column in zip(*requests, strict=True))
    table = pl.DataFrame(
        {"started_s": started, "first_token_s": first, "end_s": end, "server_prefill_s": [None] * len(first)},
        schema_overrides={"server_prefill_s": pl.Float64},
    )
    spans = find_spans(table, 50.0)
    edges = np.unique(np.concatenate((started, first, end)))
    expected = np.zeros(3)
    for a, b in itertools.pairwise(edges):
        middle = (a + b) / 2
        reads = bool(((started < middle) & (middle < first)).any())
        writes = bool(((first < middle) & (middle < end)).any())
        if reads or writes:
            expected[2 if reads and writes else int(writes)] += b - a
    assert [spans.prefill_only_s, spans.decode_only_s, spans.both_s] == pytest.approx(expected.tolist(), abs=1e-9)
    assert spans.busy_s + spans.idle_s == pytest.approx(50.0)
