"""Each real engine gets 200 requests in four arrival shapes: every request is sent on time and accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
import pytest
from engine_targets import target_of

from wattlane.measure.engines.base import Engine
from wattlane.measure.engines.registry import open_engine
from wattlane.measure.load import Delivery, drive
from wattlane.measure.verdict import lateness_p99_s
from wattlane.measure.warmup import warm_up
from wattlane.measure.workloads import resolve_workload

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SHAPES = {
    "burst": "burst:n=200,input=24,output=8",
    "fixed": "deterministic:n=200,rate_rps=40,input=24,output=8",
    "poisson": "poisson:n=200,rate_rps=40,input=24,output=8",
    "gamma": "gamma:n=200,rate_rps=40,cv=2,input=24,output=8",
}
# Late by more than this in every one of so many tries would be a fault of the dispatcher: its neighbours only ever add.
LATE_LIMIT_S = 0.25
BURST_LATE_LIMIT_S = 2.0  # 200 connections are opened one after the other
TRIES = 3


@pytest.fixture(scope="module", params=["xllamacpp", "transformers", "vllm"])
def engine(request: pytest.FixtureRequest, cache: None, pinned: None) -> Iterator[Engine]:
    with open_engine(target_of(request.param)) as opened:
        warm_up(opened)
        yield opened


@pytest.mark.parametrize("shape", SHAPES)
def test_d12_d13_200_requests_are_sent_on_time_and_all_accounted_for(
    engine: Engine, shape: str, figure: Callable[[str], None]
) -> None:
    load = resolve_workload(SHAPES[shape], seed=3)
    limit_s = BURST_LATE_LIMIT_S if shape == "burst" else LATE_LIMIT_S
    for _ in range(TRIES):
        table = drive(engine.base_url, load, Delivery(engine.model, engine.habits, seed=3, limit_s=120))
        check_account(table, engine)
        late_s = lateness_p99_s(table)
        assert late_s is not None
        if late_s < limit_s:
            break
    assert late_s < limit_s
    ttft_s = table["first_token_s"] - table["arrival_s"]
    figure(
        f"{engine.describe()['name']:13s} {shape:8s} 200 of 200 completed in {table['end_s'].max():6.2f} s, "
        f"TTFT p50 {1e3 * ttft_s.median():7.1f} ms, sent late p99 {1e3 * late_s:6.2f} ms"
    )


def check_account(table: pl.DataFrame, engine: Engine) -> None:
    assert table["request_id"].to_list() == list(range(200))
    assert set(table["outcome"]) == {"completed"}, table["error"].drop_nulls().to_list()[:3]
    assert set(table["output_tokens"]) == {8}
    if engine.habits.token_ids is not None:
        assert set(table["input_tokens"]) == {24}
    assert (table["started_s"] >= table["offered_s"]).all()
    assert (table["first_token_s"] > table["started_s"]).all()
    assert (table["end_s"] >= table["first_token_s"]).all()
