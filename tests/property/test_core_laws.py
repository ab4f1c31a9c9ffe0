"""What must hold for any values: accounts close, attainment is monotone, files round-trip, geometry scales."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.core.facts.models import Model, all_models
from wattlane.core.files import read_json, write_json
from wattlane.core.served import judged_gap_s, latency
from wattlane.core.types import Ledger, Slo

JOULES = st.floats(0, 1e9)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JOULES, JOULES, JOULES, JOULES)
def test_ledger_of_its_own_sum_is_balanced(prefill_j: float, decode_j: float, idle_j: float, overhead_j: float) -> None:
    metered_j = prefill_j + decode_j + idle_j + overhead_j
    assert Ledger(metered_j, prefill_j, decode_j, idle_j, overhead_j).balanced()


@given(st.floats(1, 1e9), st.floats(1e-6, 1))
def test_ledger_missing_a_share_is_not_balanced(metered_j: float, share: float) -> None:
    assert not Ledger(metered_j, metered_j * (1 - share), 0.0, 0.0).balanced()


@given(st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=250))
def test_judged_gap_lies_between_median_and_largest(gaps_s: list[float]) -> None:
    values = np.array(gaps_s)
    assert np.median(values) <= judged_gap_s(values) <= values.max()


ROWS = st.lists(
    st.tuples(st.floats(0, 5), st.lists(st.floats(0, 2, width=32), max_size=5), st.booleans()), min_size=1, max_size=12
)


def served(rows: list[tuple[float, list[float], bool]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "arrival_s": [0.0] * len(rows),
            "first_token_s": [ttft if done else None for ttft, _, done in rows],
            "end_s": [ttft + sum(gaps) if done else None for ttft, gaps, done in rows],
            "outcome": ["completed" if done else "failed" for *_, done in rows],
            "gaps_s": [gaps for _, gaps, _ in rows],
        },
        schema_overrides={"gaps_s": pl.List(pl.Float32), "first_token_s": pl.Float64, "end_s": pl.Float64},
    )


@given(ROWS, st.floats(0.01, 5), st.floats(0.01, 2), st.floats(1, 3))
@settings(deadline=None)
def test_attainment_counts_requests_and_never_falls_as_targets_loosen(
    rows: list[tuple[float, list[float], bool]], ttft_s: float, tbt_s: float, looser: float
) -> None:
    table = served(rows)
    tight = latency(table, Slo(ttft_s, tbt_s))
    assert tight.slo_attainment <= latency(table, Slo(ttft_s * looser, tbt_s * looser)).slo_attainment
    by_hand = sum(done and ttft <= ttft_s and max(gaps, default=0.0) <= tbt_s for ttft, gaps, done in rows)
    assert tight.slo_attainment == by_hand / len(rows)
    assert tight.failed == sum(not done for *_, done in rows)


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda key: key not in {"schema", "kind"}), PLAIN))
@settings(max_examples=40, deadline=None)
def test_json_round_trips_any_plain_value(payload: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.json"
        write_json(path, "any", payload)
        body = read_json(path, "any")
    assert {key: value for key, value in body.items() if key not in {"schema", "kind"}} == payload


@given(st.sampled_from(sorted(all_models())))
def test_counts_are_ordered_for_every_model(name: str) -> None:
    known = all_models()[name]
    assert 0 < known.dense_params <= known.active_params <= known.total_params
    assert known.window_layers <= known.layers
    assert known.heads % known.kv_heads == 0
    assert known.experts_per_token <= known.experts


@given(st.integers(1, 64), st.integers(1, 4))
def test_doubling_the_layers_doubles_what_is_not_vocabulary(layers: int, group: int) -> None:
    one = Model("m", layers, 256, 4 * group, 4, 64, 512, 1000)
    two = dataclasses.replace(one, layers=2 * layers)
    assert two.kv_elements_per_token == 2 * one.kv_elements_per_token
    head = 1000 * 256
    assert two.dense_params - head == 2 * (one.dense_params - head)
