"""Laws of shapes that hold for any workload."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.workload import Workload
from wattlane.workload import make_shape
from wattlane.workload.shaping import read_shape


@st.composite
def workloads(draw) -> Workload:
    gaps = draw(st.lists(st.floats(0, 90), min_size=2, max_size=60).filter(lambda found: sum(found) > 0.5))
    n = len(gaps) + 1
    tokens = st.lists(st.integers(1, 9000), min_size=n, max_size=n)
    return Workload(np.concatenate(([0.0], np.cumsum(gaps))), np.array(draw(tokens)), np.array(draw(tokens)))


@given(workloads(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_sample_keeps_requests_minutes_and_the_range_of_lengths(workload, seed):
    made = make_shape(workload, name="t", source="s", licence="l", source_sha256="")
    drawn = made.sample(seed)
    minutes = np.bincount((drawn.arrival_s // 60).astype(int), minlength=len(made.per_minute))
    assert len(drawn) == len(workload)
    assert minutes.tolist() == made.per_minute.tolist()
    assert (drawn.arrival_s[0], drawn.arrival_s[-1]) == (0.0, workload.arrival_s[-1])
    for column in ("input_tokens", "output_tokens"):
        values, source = getattr(drawn, column), getattr(workload, column)
        assert source.min() <= values.min()
        assert values.max() <= source.max()


@given(workload=workloads())
@settings(max_examples=20, deadline=None)
def test_a_shape_read_back_draws_nearly_the_same_workload(workload, tmp_path_factory):
    path = tmp_path_factory.mktemp("shape") / "s.json"
    made = make_shape(workload, name="t", source="s", licence="l", source_sha256="")
    made.write(path)
    one, other = made.sample(1), read_shape(path).sample(1)
    assert np.allclose(one.arrival_s, other.arrival_s, rtol=1e-6, atol=1e-6)
    assert np.array_equal(one.input_tokens, other.input_tokens)
    assert np.array_equal(one.output_tokens, other.output_tokens)
