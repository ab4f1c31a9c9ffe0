from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from wattlane.core.types import Boundary, Origin
from wattlane.core.workload import Workload
from wattlane.measure.account import ABSENT, Energy, metered, modelled_cpu, net_of_idle, split
from wattlane.measure.client import Exchange
from wattlane.measure.energy.budget import Budget, Z
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.exchanges import to_table
from wattlane.measure.readings import Channel, Reading
from wattlane.measure.spans import Spans, find_spans
from wattlane.measure.verdict import Circumstances, judge


def readings(times_s, energy_j=None, power_w=None):
    def at(values, i):
        return None if values is None else values[i]

    return [
        Reading(t, "nvml", Boundary.GPU, (Channel("GPU-0", energy_j=at(energy_j, i), power_w=at(power_w, i)),))
        for i, t in enumerate(times_s)
    ]


def rows(*spans, prefill_s=None):
    """Rows of completed requests from (started, first token, end)."""
    return pl.DataFrame(
        {
            "started_s": [float(s[0]) for s in spans],
            "first_token_s": [float(s[1]) for s in spans],
            "end_s": [float(s[2]) for s in spans],
            "server_prefill_s": prefill_s or [None] * len(spans),
        },
        schema_overrides={"server_prefill_s": pl.Float64},
    )


def test_counter_energy_is_the_difference_with_interpolated_edges():
    times_s = np.arange(0, 10.05, 0.1)
    energy = metered(readings(times_s, energy_j=200 * times_s + 7), 2.05, 7.05)
    assert energy.energy_j == pytest.approx(1000)
    assert energy.energy_j_lo < 1000 < energy.energy_j_hi
    assert {*energy.error_parts} == {"tick_j", "edges_j", "sensor_gain_j"}
    assert energy.error_parts["sensor_gain_j"] == pytest.approx(49, rel=0.01)
    assert energy.energy_j_hi - energy.energy_j == pytest.approx(
        np.linalg.norm(list(energy.error_parts.values())), rel=0.1
    )
    assert (energy.status, energy.source, energy.boundary) == (Origin.MEASURED, "nvml counter", Boundary.GPU)


@pytest.mark.parametrize("start_s", np.linspace(1.0, 1.1, 7))
def test_counter_interval_holds_the_truth_for_any_phase_of_a_coarse_tick(start_s):
    times_s = np.arange(0, 6, 0.03)
    energy = metered(readings(times_s, energy_j=100 * np.floor(times_s / 0.25) * 0.25), start_s, start_s + 3)
    assert energy.energy_j_lo <= 300 <= energy.energy_j_hi


@pytest.mark.parametrize(
    ("power_w_at", "length_s", "true_j"),
    [
        (lambda _t: 100.0, 10, 1000),
        (lambda t: 100.0 if t < 5 else 300.0, 10, 2000),
        (lambda t: 700.0 if 10 <= t < 11 else 100.0, 20, 2600),
        (lambda t: 100.0 if int(t) % 2 == 0 else 500.0, 10, 3000),
    ],
)
def test_power_is_integrated_over_repeats_and_to_both_edges(power_w_at, length_s, true_j):
    times_s = np.arange(-0.5, length_s + 0.55, 0.1)
    energy = metered(readings(times_s, power_w=[power_w_at(t) for t in times_s]), 0.0, float(length_s))
    assert energy.energy_j == pytest.approx(true_j, rel=0.02)
    assert energy.energy_j_lo - 1e-6 <= true_j <= energy.energy_j_hi + 1e-6


@pytest.mark.parametrize(
    "record",
    [
        [],
        readings([0.0], energy_j=[1.0]),
        readings([0.0, 0.1, 0.2], energy_j=[None] * 3),
        readings(np.arange(0, 1, 0.1), energy_j=[5.0] * 10),  # a counter that never moves is no measurement of 0 J
        readings([0.0, 5.0], energy_j=[0.0, 500.0]),  # silent for longer than a window allows
        readings(np.arange(2, 3, 0.1), energy_j=np.arange(10)),  # begins after the window
    ],
)
def test_energy_is_absent_never_zero_when_the_record_does_not_suffice(record):
    energy = metered(record, 0.0, 0.9)
    assert energy == ABSENT
    assert energy.as_dict()["energy_j"] is None
    assert str(energy) == "absent"


def test_d4_gross_and_net_are_both_kept_and_net_is_gross_minus_idle_exactly():
    times_s = np.arange(0, 20.05, 0.02)
    powers = np.where(times_s < 8, 100.0, 300.0)
    shown = np.concatenate(([0.0], np.cumsum(powers[:-1] * 0.02)))
    idle, gross = metered(readings(times_s, shown), 1.0, 7.0), metered(readings(times_s, shown), 10.0, 18.0)
    net = net_of_idle(gross, 8.0, idle, 6.0, IdleLevel.WEIGHTS_LOADED)
    assert net.energy_j == gross.energy_j - idle.energy_j / 6.0 * 8.0
    assert net.energy_j_lo < 1600 < net.energy_j_hi
    assert net.error_parts["sensor_gain_j"] == pytest.approx(0.049 * net.energy_j, rel=0.01)
    assert "weights_loaded" in net.source
    assert net_of_idle(idle, 6.0, gross, 8.0, IdleLevel.CONTEXT).energy_j == pytest.approx(-1200, rel=0.01)
    assert net_of_idle(gross, 8.0, ABSENT, 0.0, IdleLevel.CONTEXT) == ABSENT


def test_windows_of_one_card_differ_by_their_random_parts_alone():
    energy = Energy(Budget(1000.0, {"tick": 30.0 / Z}, {"sensor_gain": 40.0 / Z}))
    assert (energy.energy_j_lo, energy.energy_j_hi) == (pytest.approx(950), pytest.approx(1050))
    assert energy.budget.own_half == pytest.approx(30)


def test_a_bound_is_in_the_window_s_own_error_in_full_and_not_mixed_with_the_gain():
    """sqrt(half² − gain²) would give 46 J here: bounds add to the interval, they are no part of its squares."""
    energy = Energy(Budget(4000.0, {"tick": 1.0 / Z}, {"sensor_gain": 100.0 / Z}, {"lag": 10.0}))
    assert energy.budget.own_half == pytest.approx(11)
    about = energy.as_dict()
    assert (about["random_half_j"], about["bounds_j"]) == (pytest.approx(1), 10)


def test_a_frozen_counter_falls_back_to_power():
    times_s = np.arange(0, 2.05, 0.1)
    energy = metered(readings(times_s, energy_j=[5.0] * 21, power_w=[50.0] * 21), 0.0, 2.0)
    assert energy.energy_j == pytest.approx(100)
    assert energy.source == "nvml power"


def test_d1_w1_cpu_seconds_times_assumed_watts_is_modelled():
    energy = modelled_cpu(3.0, 12.5)
    assert energy.energy_j == pytest.approx(37.5)
    assert energy.status is Origin.MODELLED
    assert modelled_cpu(None, 12.5) == ABSENT


def test_spans_of_requests_one_after_another_do_not_overlap():
    spans = find_spans(rows((0, 1, 3), (5, 6, 7)), 10.0)
    assert (spans.prefill_only_s, spans.decode_only_s, spans.both_s, spans.idle_s) == pytest.approx((2, 3, 0, 5))
    assert spans.method == "time to first token"


def test_spans_of_batched_requests_separate_what_was_active_together():
    spans = find_spans(rows((0, 1, 4), (2, 3, 5)), 5.0)
    assert (spans.prefill_only_s, spans.decode_only_s, spans.both_s) == pytest.approx((1, 3, 1))
    assert (spans.prefill_s, spans.decode_s, spans.idle_s) == pytest.approx((2, 4, 0))


def test_server_times_take_queueing_out_of_prefill():
    spans = find_spans(rows((0, 2, 3), prefill_s=[0.5]), 3.0)
    assert (spans.prefill_only_s, spans.decode_only_s, spans.idle_s) == pytest.approx((0.5, 1, 1.5))
    assert spans.method == "server timings"
    mixed = find_spans(rows((0, 2, 3), (5, 6, 7), prefill_s=[0.5, None]), 7.0)
    assert mixed.prefill_only_s == pytest.approx(1.5)
    assert "server timings for 1 requests" in mixed.method


def test_spans_of_a_run_without_a_first_token_are_empty():
    table = rows((0, 1, 2)).with_columns(first_token_s=pl.lit(None, pl.Float64))
    assert find_spans(table, 2.0).busy_s == 0


TOTAL = Energy(Budget(110.0, {"tick": 2.0 / Z}), "nvml counter", Boundary.GPU, Origin.MEASURED)


IDLE = Energy(Budget(5.0, {"tick": 0.3}), "nvml counter", Boundary.GPU, Origin.MEASURED)


def test_phase_energies_sum_to_the_total_without_idle_and_are_modelled():
    prefill, decode = split(TOTAL, Spans(2, 6, 2, 20, "server timings"), IDLE, 5.0)
    assert prefill.energy_j + decode.energy_j == pytest.approx(100)
    assert prefill.energy_j == pytest.approx(30)
    assert prefill.error_parts["overlap_j"] == pytest.approx(10)
    assert prefill.energy_j_lo <= 20
    assert prefill.energy_j_hi >= 40
    assert prefill.error_parts["idle_tick_j"] == pytest.approx(0.3 * Z * (10 / 5) * 0.3)  # 10 s idle, 30 % of the rest
    assert prefill.status is decode.status is Origin.MODELLED
    assert "divided by time" in prefill.source


def test_phase_energies_are_absent_when_nothing_can_be_divided():
    assert split(ABSENT, Spans(1, 1, 0, 2, "x")) == (ABSENT, ABSENT)
    assert split(TOTAL, Spans(0, 0, 0, 2, "x")) == (ABSENT, ABSENT)
    assert split(TOTAL, Spans(1, 1, 0, 200, "x"), IDLE, 0.5) == (ABSENT, ABSENT)  # idle alone is above the total


def test_idle_seconds_of_unknown_power_widen_the_phases_and_are_not_charged_to_them_in_silence():
    """Half of the window is idle: the phases hold between half of the energy (idle at mean power) and all of it."""
    prefill, decode = split(TOTAL, Spans(2, 8, 0, 20, "server timings"))
    assert prefill.energy_j + decode.energy_j == pytest.approx(110 * 0.75)
    assert decode.error_parts["idle_j"] == pytest.approx(110 * 0.25 * 0.8)
    assert decode.energy_j_lo < 110 * 0.5 * 0.8 < 110 * 0.8 < decode.energy_j_hi
    cpu = modelled_cpu(11.0, 10.0)  # CPU seconds hold no idle energy
    assert sum(e.energy_j for e in split(cpu, Spans(2, 8, 0, 20, "server timings"))) == pytest.approx(110)


def verdict(outcomes, **changes):
    from wattlane.core.types import Outcome

    n = len(outcomes)
    load = Workload(np.zeros(n), np.full(n, 4), np.full(n, 2))
    exchanges = []
    for outcome in outcomes:
        done = outcome == "completed"
        exchanges.append(
            Exchange(
                sent_s=1.0,
                end_s=2.0,
                text_s=[1.5, 1.6] if done else [],
                input_tokens=4 if done else None,
                output_tokens=2 if done else None,
                error=None if done else "connection reset",
                outcome=Outcome(outcome),
            )
        )
    usual = {
        "energy": ABSENT,
        "spans": Spans(1, 1, 0, 2, "x"),
        "meter_reason": "no sensor here",
        "has_meter": False,
        "cpu_w": None,
        "engine_ended": None,
        "interrupted": False,
        "open_loop": True,
    }
    return judge(to_table(load, exchanges, 0.99), Circumstances(**(usual | changes)))


def codes(found):
    return [reason.partition(":")[0] for reason in found.reasons]


def test_d13_one_failure_in_a_hundred_is_allowed_and_two_are_not():
    allowed = verdict(["completed"] * 99 + ["failed"])
    refused = verdict(["completed"] * 98 + ["failed"] * 2)
    assert allowed.valid
    assert not refused.valid
    assert "connection reset" in refused.reasons[0]


def test_each_circumstance_has_its_reason():
    assert codes(verdict(["completed"])) == ["energy_absent"]
    assert codes(verdict(["completed"], interrupted=True))[0] == "interrupted"
    assert codes(verdict(["completed"], engine_ended="it ended"))[0] == "engine_ended"
    assert "never moved" in verdict(["completed"], has_meter=True).reasons[0]
    assert codes(verdict(["completed"], energy=modelled_cpu(1.0, 10.0))) == ["energy_modelled", "phases_modelled"]
    assert codes(verdict(["completed"], energy=TOTAL)) == ["energy_source", "phases_modelled"]
    assert "phases_overlap" in codes(verdict(["completed"], spans=Spans(1, 1, 1, 3, "x")))


def test_rows_without_usage_or_with_merged_chunks_are_pointed_out():
    load = Workload(np.zeros(1), np.full(1, 4), np.full(1, 8))
    from wattlane.core.types import Outcome

    silent = Exchange(sent_s=1.0, end_s=2.0, text_s=[1.5], outcome=Outcome.COMPLETED)
    short = Exchange(sent_s=1.0, end_s=2.0, text_s=[1.5], outcome=Outcome.COMPLETED, output_tokens=3, input_tokens=4)
    seen = Circumstances(ABSENT, Spans(1, 1, 0, 2, "x"), "none", False, None, None, False, True)
    assert "usage_missing" in codes(judge(to_table(load, [silent], 1.0), seen))
    found = codes(judge(to_table(load, [short], 0.5), seen))
    assert {"gaps_incomplete", "short_outputs", "generator_late"} <= set(found)
