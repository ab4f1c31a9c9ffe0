"""The nouns refuse values that cannot be, and say all that is wrong at once."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from wattlane.core.errors import InputError
from wattlane.core.types import Boundary, Deployment, Estimate, Ledger, Origin, Outcome, Phase, Request, Slo
from wattlane.core.workload import Workload


def test_closed_sets_have_exactly_these_members() -> None:
    assert [*Phase] == ["prefill", "decode", "idle"]
    assert [*Origin] == ["measured", "modelled", "absent"]
    assert [*Boundary] == ["gpu", "gpu+host", "cpu package", "wall"]
    assert [*Outcome] == ["completed", "refused", "failed", "timed_out", "cancelled"]


def test_slo_refuses_all_impossible_targets_together() -> None:
    with pytest.raises(InputError, match="slo: 3 problems") as raised:
        Slo(ttft_s=0, tbt_s=float("nan"), attainment=1.5)
    for key in ("ttft_s", "tbt_s", "attainment"):
        assert key in str(raised.value)
    assert Slo(attainment=1).attainment == 1


def test_deployment_refuses_all_impossible_values_together() -> None:
    bad = {
        "tensor_parallel": 0,
        "replicas": -1,
        "max_num_seqs": 0,
        "max_num_batched_tokens": 0,
        "gpu_memory_utilization": 1.1,
        "clock_hz": 0.0,
        "power_cap_w": -5.0,
        "release_window_s": float("nan"),
    }
    with pytest.raises(InputError, match="deployment: 8 problems") as raised:
        Deployment("m", "H100", **bad)  # type: ignore[arg-type]
    assert all(key in str(raised.value) for key in bad)
    for key, value in bad.items():
        with pytest.raises(InputError, match=f"deployment: {key} is {re.escape(str(value))}"):
            Deployment("m", "H100", **{key: value})  # type: ignore[arg-type]


def test_values_are_frozen() -> None:
    for value in (Slo(), Deployment("m", "H100"), Request(0, 0.0, 1, 1), Ledger(1, 1, 0, 0)):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)


def test_estimate_outside_its_interval_is_refused_and_extrapolation_is_shown() -> None:
    with pytest.raises(ValueError, match="outside its interval"):
        Estimate(1.0, 2.0, 3.0, "J")
    assert str(Estimate(2.0, 1.0, 3.0, "J")) == "2 J [1, 3]"
    assert str(Estimate(2.0, 1.0, 3.0, "J", extrapolated=True)).endswith("(extrapolated)")


def test_ledger_closes_only_when_every_share_is_there() -> None:
    whole = Ledger(metered_j=10.0, prefill_j=4.0, decode_j=3.0, idle_j=2.0, overhead_j=1.0)
    assert whole.residual_j == 0
    assert whole.balanced()
    dropped = dataclasses.replace(whole, decode_j=2.999)
    assert dropped.residual_j == pytest.approx(0.001)
    assert not dropped.balanced()
    assert dropped.balanced(tolerance=1e-3)
    assert not Ledger(0.0, 1e-12, 0.0, 0.0).balanced()


def workload(**columns: object) -> Workload:
    good = {"arrival_s": [0.0, 1.0, 3.0], "input_tokens": [5, 6, 7], "output_tokens": [1, 2, 3]}
    return Workload(**{key: np.array(value) for key, value in {**good, **columns}.items()})  # type: ignore[arg-type]


def test_workload_holds_requests_in_order_of_arrival() -> None:
    made = workload()
    assert len(made) == 3
    assert list(made)[1] == Request(1, 1.0, 6, 2, 0)
    assert made.span_s == 3
    assert made.rate_rps == 1
    assert "3 requests" in repr(made)
    assert workload(arrival_s=[2.0, 2.0, 2.0]).rate_rps == float("inf")


def test_workload_takes_rows_with_new_arrivals() -> None:
    made = workload(cached_tokens=[0, 3, 1]).take(np.array([2, 1]), np.array([0.0, 0.5]), "chosen")
    assert [request.input_tokens for request in made] == [7, 6]
    assert [request.cached_tokens for request in made] == [1, 3]
    assert made.name == "chosen"
    assert made.take(np.array([0]), np.array([0.0])).name == "chosen"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"arrival_s": [], "input_tokens": [], "output_tokens": []}, "found no requests"),
        ({"input_tokens": [5, 6]}, "input_tokens has 2 values; expected 3"),
        ({"output_tokens": [1, 0, 1]}, "output_tokens holds 0 at row 1; expected at least 1"),
        ({"cached_tokens": [0, 0, -1]}, "cached_tokens holds -1 at row 2"),
        ({"arrival_s": [0.0, np.nan, 1.0]}, "not finite"),
        ({"arrival_s": [0.0, 2.0, 1.0]}, "arrival_s falls at row 2"),
        ({"arrival_s": [0.0, 2.0, 1.0], "input_tokens": [0, 1, 1]}, "2 problems"),
    ],
)
def test_workload_that_cannot_be_is_refused(columns: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        workload(**columns)
