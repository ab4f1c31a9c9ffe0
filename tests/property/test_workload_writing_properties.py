"""A workload written and loaded is the same workload, in every form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.errors import InputError
from wattlane.core.files import sha256
from wattlane.core.workload import Workload
from wattlane.workload import convert, load, write

ROWS = st.lists(
    st.tuples(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6), st.booleans()), min_size=1, max_size=30
)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_loaded_back(tmp_path_factory, suffix, rows):
    arrivals, inputs, outputs, hits = (np.array(column) for column in zip(*sorted(rows), strict=True))
    before = Workload(arrivals, inputs, outputs, np.where(hits, inputs - 1, 0))
    path = write(before, tmp_path_factory.mktemp("w") / f"x.{suffix}")
    loaded = load(path)
    assert (loaded.bad_rows, loaded.zero_output_rows, loaded.format) == (0, 0, "plain")
    assert loaded.sha256 == sha256(path)
    for column in ("arrival_s", "input_tokens", "output_tokens", "cached_tokens"):
        assert np.array_equal(getattr(loaded.workload, column), getattr(before, column))


def test_a_trace_converts_to_a_plain_file(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:01,5,6\n2024-05-10 00:00:03,7,8\n")
    loaded = convert(source, tmp_path / "w.jsonl")
    assert loaded.format == "azure"
    assert (tmp_path / "w.jsonl").read_text().splitlines()[1] == '{"arrival_s":2.0,"input_tokens":7,"output_tokens":8}'


def test_an_unknown_suffix_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match=r"found suffix '.txt'; expected one of .csv, .jsonl, .parquet"):
        convert(tmp_path / "missing.csv", tmp_path / "w.txt")
