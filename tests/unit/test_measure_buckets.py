"""Length buckets with latency beside energy (D17), and the denominator of energy per request (D13)."""

from __future__ import annotations

import json

import polars as pl
import pytest
from measure_fake_server import serving

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.core.types import Boundary, Origin, Slo
from wattlane.measure import run, trial
from wattlane.measure.account import ABSENT, Energy
from wattlane.measure.buckets import ALL, PhaseCosts, by_length
from wattlane.measure.energy.budget import Budget
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.ratios import per_success

COSTS = PhaseCosts(30.0, 90.0, "gpu")


def rows(*lengths: tuple[int, int], outcome: str = "completed") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "outcome": [outcome] * len(lengths),
            "arrival_s": [float(i) for i in range(len(lengths))],
            "first_token_s": [i + n_in / 1000 for i, (n_in, _) in enumerate(lengths)],
            "end_s": [i + 2.0 for i in range(len(lengths))],
            "input_tokens": [n_in for n_in, _ in lengths],
            "cached_tokens": [0] * len(lengths),
            "output_tokens": [n_out for _, n_out in lengths],
            "gaps_s": [[0.01] * (n_out - 1) for _, n_out in lengths],
        }
    )


def test_d17_buckets_hold_latency_beside_energy():
    table = rows((100, 5), (100, 15), (800, 10))
    short, long, whole = by_length(table, COSTS, (128, 512, 2048), slo=Slo(ttft_s=0.5))
    assert [short["bucket"], long["bucket"], whole["bucket"]] == ["0-127 in", "512-2047 in", ALL]
    assert short["energy_j_per_request"] == pytest.approx((30 * 200 / 1000 + 90 * 20 / 30) / 2)
    assert short["energy_j_per_output_token_with_prefill"] == pytest.approx((6 + 60) / 20)
    assert long["ttft_p99_s"] == pytest.approx(0.8)
    assert (short["slo_attainment"], long["slo_attainment"]) == (1.0, 0.0)
    for row in (short, long, whole):
        assert {"ttft_p50_s", "tbt_p99_s", "e2e_p99_s", "energy_j_per_request", "energy_status", "boundary"} <= set(row)
        assert (row["energy_status"], row["boundary"]) == ("modelled", "gpu")


def test_buckets_sum_to_the_energy_of_the_phases():
    table = pl.concat([rows(*((n, 1 + n % 31) for n in range(1, 3000, 7))), rows((50, 3), outcome="timed_out")])
    *buckets, whole = by_length(table, COSTS, (64, 256, 1024), (10, 20))
    assert len(buckets) == 12
    for name in ("prefill_j", "decode_j", "requests", "completed", "failed", "input_tokens", "output_tokens"):
        assert sum(row[name] for row in buckets) == pytest.approx(whole[name])
    assert whole["prefill_j"] + whole["decode_j"] == pytest.approx(120)
    assert buckets[0]["bucket"] == "0-63 in, 0-9 out"


def test_the_first_token_of_a_request_costs_no_decode():
    one, many, whole = by_length(rows((100, 1), (200, 31)), COSTS, (150,))
    assert (one["decode_j"], many["decode_j"]) == (0.0, pytest.approx(90.0))
    assert one["energy_j_per_request"] == pytest.approx(10.0)
    [only, _] = by_length(rows((100, 1), (100, 1)), COSTS)
    assert only["prefill_j"] + only["decode_j"] == pytest.approx(120.0)  # nobody decoded: it all went into reading
    assert whole["energy_j_per_request"] == pytest.approx(60.0)


def test_energy_is_absent_without_costs_and_failures_are_in_no_denominator():
    table = pl.concat([rows((10, 5), (10, 5)), rows((10, 5), outcome="failed")])
    bare = by_length(table)[0]
    assert (bare["energy_j_per_request"], bare["energy_status"], bare["boundary"]) == (None, "absent", None)
    first = by_length(table, COSTS)[0]
    assert (first["requests"], first["completed"], first["failed"]) == (3, 2, 1)
    assert first["energy_j_per_request"] == pytest.approx(60)
    lost = by_length(rows((10, 5), outcome="failed"), COSTS)[0]
    assert lost["energy_j_per_request"] is None
    assert lost["ttft_p50_s"] is None


def test_requests_without_usage_stand_where_they_were_asked_for():
    table = rows((700, 5), outcome="timed_out").with_columns(
        input_tokens=pl.lit(None, pl.Int64), asked_input_tokens=pl.lit(700, pl.Int64)
    )
    assert by_length(table, COSTS)[0]["bucket"] == "512-2047 in"


def test_d17_edges_are_configurable_and_checked():
    assert [row["bucket"] for row in by_length(rows((5, 2), (15, 2)), None, (10,))] == ["0-9 in", "10+ in", ALL]
    assert [row["bucket"] for row in by_length(rows((5, 2)), None, ())] == ["0+ in", ALL]
    with pytest.raises(InputError, match=r"input edges is \[5, 5\][\s\S]*output edges is \[0\][\s\S]*no requests"):
        by_length(rows(), None, (5, 5), (0,))


def test_d13_ten_percent_timeouts_change_the_denominator_by_ten_percent(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.1)
    with serving("every_tenth_hangs") as server:
        result = run(
            server.base_url,
            "burst:n=20,input=6,output=4",
            tmp_path,
            meter=SimulatedMeter.constant(40.0),
            limit_s=1.0,
        )
    assert result.outcomes == {"completed": 18, "timed_out": 2}
    assert not result.valid  # 90 % success
    assert result.reasons[0].startswith("failed_requests: 2 of 20 requests did not complete (10.0%, limit 1%)")
    body = read_json(tmp_path / "measurement.json", "measurement")
    table = read_served(tmp_path / "served.parquet")
    found = per_success(result.energy, table)
    assert (found.completed, found.offered) == (18, 20)
    assert found.completed == 0.9 * found.offered
    assert found.request.energy_j == pytest.approx(body["energy"]["energy_j"] / 18)
    assert found.output_token.energy_j == pytest.approx(body["energy"]["energy_j"] / (18 * 4))
    assert body["energy_per"]["output_token"]["energy_j_hi"] == pytest.approx(body["energy"]["energy_j_hi"] / 72)
    assert body["energy_per"] == found.as_dict()
    assert "18 of 20" in str(found)
    costs = PhaseCosts.of(body)
    assert (costs.prefill_j, costs.boundary) == (body["phases"]["prefill"]["energy_j"], "gpu")
    whole = by_length(table, costs)[-1]
    assert (whole["completed"], whole["failed"]) == (18, 2)


def test_a_ratio_without_energy_or_without_success_is_absent():
    five = Energy(Budget(5.0, {"tick": 0.1}), "x", Boundary.GPU, Origin.MEASURED)
    assert per_success(ABSENT, rows((1, 1))).request == ABSENT
    lost = per_success(five, rows((1, 1), outcome="failed"))
    assert (lost.request, lost.output_token) == (ABSENT, ABSENT)
    assert str(lost) == "energy absent; 0 of 1 requests completed"
    without = rows((1, 4), (1, 6)).with_columns(output_tokens=pl.Series([4, None]))
    assert per_success(five, without).output_token == ABSENT  # the second's tokens are in the joules, not in the count
    assert per_success(five, without).request.energy_j == 2.5
    whole = per_success(five, rows((1, 4), (1, 6)))
    assert str(whole).endswith("; 0.5 [0.4804, 0.5196] J per output token, prefill and idle included")


def test_the_verb_divides_by_prompt_length_where_asked(tmp_path, capsys):
    with serving("llamacpp") as server:
        arguments = ["measure", server.base_url, "burst:n=4,input=6,output=4", "-o", str(tmp_path), "--buckets", "5,50"]
        assert command(arguments) == 0
        out = capsys.readouterr().out
        assert command([*arguments, "--json"]) == 0
        body = json.loads(capsys.readouterr().out)
    assert "5-49 in" in out
    assert "4 of 4" in out
    assert "Energy by bucket: absent" in out
    assert [row["bucket"] for row in body["buckets"]] == ["5-49 in", ALL]
    assert command(["measure", "http://127.0.0.1:1", "burst:n=1", "-o", str(tmp_path), "--buckets", "a"]) == 1
    assert "expected token counts such as 128,512,2048" in capsys.readouterr().err
