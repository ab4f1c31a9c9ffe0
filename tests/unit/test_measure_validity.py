"""Faults are caught and rightly named, clean runs pass, and the published rows are judged as they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import InputError
from wattlane.core.types import Boundary
from wattlane.measure.readings import Channel, Reading
from wattlane.measure.validity.codes import RULES, Code, Level, Reason
from wattlane.measure.validity.estimates import averaging_lag_s, refresh_s
from wattlane.measure.validity.judge import examine
from wattlane.measure.validity.levels import constant_across, level_reason
from wattlane.measure.validity.ratios import Side, ratios, told
from wattlane.measure.validity.repeats import repeated
from wattlane.measure.validity.scene import Activity, CardFacts, Scene, to_series
from wattlane.measure.validity.seeded import clean, draw, record, scene_of
from wattlane.measure.validity.seeded_faults import FAULTS
from wattlane.measure.validity.settle import EXPLAINS, settle
from wattlane.measure.validity.suite import alarms, confusion

# arXiv 2601.22362, serving runs: name, seconds, GPU and total Wh per request (10,000 requests), GPUs
PUBLISHED = [
    ("8B 0", 2427, 0.00969, 0.01744, 1),
    ("8B U(0,.05)", 1340, 0.01164, 0.01606, 1),
    ("8B U(.05,.3)", 1772, 0.02291, 0.03006, 1),
    ("8B U(.3,.5)", 4011, 0.05529, 0.06850, 1),
    ("8B fixed .05", 509, 0.00107, 0.00276, 1),
    ("8B fixed .3", 3006, 0.00611, 0.01602, 1),
    ("8B fixed .5", 5005, 0.01009, 0.02648, 1),
    ("70B 0", 2443, 0.04022, 0.04803, 4),
    ("70B U(0,.05)", 1457, 0.02489, 0.02955, 4),
    ("70B U(.05,.3)", 1766, 0.07638, 0.08202, 4),
    ("70B U(.3,.5)", 4013, 0.20271, 0.22102, 4),
]
CONTEXT_IDLE_W, TDP_W = 120.0, 700.0


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_of_fault_is_named(kind):
    (row,) = confusion(range(8), {kind: FAULTS[kind]})
    assert row.right >= 7 / 8, dict(row.named)


def test_clean_runs_of_all_loads_raise_no_alarm():
    raised = alarms(range(100))
    assert len(raised) <= 2, raised


@pytest.mark.slow
def test_fault_suite_95_percent_rightly_named_and_2_percent_false_alarms():
    rows = confusion(range(1000, 1040))
    assert len({row.code for row in rows}) >= 16
    assert min(row.right for row in rows) >= 0.95, {row.kind: dict(row.named) for row in rows if row.right < 0.95}
    assert len(alarms(range(1000, 1500))) <= 10


def test_d3_exactly_the_three_fixed_delay_rows_are_at_idle_and_three_are_warned():
    found = {}
    for name, seconds, gpu_wh, _, gpus in PUBLISHED:
        reason = level_reason(gpu_wh * 10_000 * 3600 / seconds / gpus, CONTEXT_IDLE_W, TDP_W)
        if reason is not None:
            found[name] = (reason.code, reason.level)
    idle, near = (Code.BUSY_AT_IDLE, Level.QUARANTINED), (Code.BUSY_NEAR_IDLE, Level.WARNED)
    assert found == {
        "8B fixed .05": idle,
        "8B fixed .3": idle,
        "8B fixed .5": idle,
        "8B 0": near,
        "70B 0": near,
        "70B U(0,.05)": near,
    }


def test_d3_memory_of_70_watts_in_all_eleven_rows_is_a_constant_and_gpu_power_is_not():
    seconds = [row[1] for row in PUBLISHED]
    reason = constant_across("RAM", [round(70.0 * s / 3600, 4) * 3600 for s in seconds], seconds)
    assert reason is not None
    assert (reason.code, reason.level) == (Code.CONSTANT_VALUE, Level.QUARANTINED)
    assert "RAM is 70.0 W in all 11 runs" in str(reason)
    assert constant_across("GPU", [row[2] * 3.6e7 for row in PUBLISHED], seconds) is None
    assert constant_across("RAM", [700.0, 700.0, 700.0], [10.0, 10.0, 10.0]) is None  # the same run thrice


def test_d15_the_published_figures_give_three_different_ratios_with_their_note():
    sequential = Side("sequential", {"GPU": 0.2017, "GPU+host": 0.2447}, {"precision": "fp32", "kernels": "eager"})
    server = Side("server", {"GPU": 0.01164, "GPU+host": 0.01606}, {"precision": "bf16", "kernels": "TGI"})
    found = {(r.over, r.under): r for r in ratios(sequential, server)}
    assert f"{found['sequential [GPU]', 'server [GPU+host]'].value:.1f}" == "12.6"
    assert f"{found['sequential [GPU+host]', 'server [GPU+host]'].value:.1f}" == "15.2"
    assert f"{found['sequential [GPU]', 'server [GPU]'].value:.1f}" == "17.3"
    text = told(found.values())
    assert (
        "12.6x = sequential [GPU] / server [GPU+host] (not like for like: boundary, kernels, precision differ)" in text
    )
    assert "17.3x = sequential [GPU] / server [GPU] (not like for like: kernels, precision differ)" in text
    assert "no like-for-like ratio" in text


def test_d15_a_ratio_of_equal_conditions_is_like_for_like():
    one, two = Side("b=1", {"GPU": 8.0}, {"precision": "bf16"}), Side("b=16", {"GPU": 2.0}, {"precision": "bf16"})
    (ratio,) = ratios(one, two)
    assert str(ratio) == "4.0x = b=1 [GPU] / b=16 [GPU] (like for like)"
    with pytest.raises(InputError, match="expected joules above 0"):
        ratios(one, Side("none", {"GPU": 0.0}))


def test_d16_intervals_over_repeats_cover_the_truth_at_the_stated_rate():
    rng = np.random.default_rng(3)
    covered, runs = 0, 2000
    for _ in range(runs):
        prompts = rng.normal(100.0, 30.0, 12)
        table = prompts + rng.normal(0.0, 2.0, (5, 1)) + rng.normal(0.0, 1.0, (5, 12))
        found = repeated(table.tolist())
        covered += found.lo <= prompts.mean() <= found.hi
    assert 0.93 <= covered / runs <= 0.97


def test_d16_sd_over_prompts_is_distinct_from_sd_over_repeats():
    table = [[10.0 + repeat, 50.0 + repeat, 90.0 + repeat] for repeat in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    found = repeated(table)
    assert found.sd_over_prompts == pytest.approx(40.0)
    assert found.sd_over_repeats == pytest.approx(0.7905694)
    assert "over 5 repeats" in str(found)
    with pytest.raises(InputError, match="expected at least 5"):
        repeated(table[:4])
    with pytest.raises(InputError, match="not finite"):
        repeated([*table[:4], [1.0, float("nan"), 2.0]])


def test_every_code_has_a_rule_and_causes_do_not_hide_each_other():
    assert set(RULES) == set(Code)
    for cause, symptoms in EXPLAINS.items():
        assert cause not in symptoms
        assert all(cause not in EXPLAINS.get(symptom, ()) for symptom in symptoms)


def test_a_cause_hides_its_symptoms_but_not_graver_ones():
    unit = Reason(Code.WRONG_UNIT, "x")
    assert settle([Reason(Code.COUNTER_DISAGREES, "y"), unit]).codes == (Code.WRONG_UNIT,)
    warned = replace(unit, level=Level.WARNED)
    both = settle([Reason(Code.ABOVE_LIMIT, "y"), warned])
    assert both.codes == (Code.ABOVE_LIMIT, Code.WRONG_UNIT)
    assert both.quarantined
    assert settle([]).status == settle([Reason(Code.ENERGY_SOURCE, "z", Level.NOTE)]).status == "valid"
    assert not settle([warned]).quarantined


def test_a_reason_says_what_was_found_expected_and_to_do():
    text = str(Reason(Code.STALE_SOURCE, "GPU-0 is renewed about every 30 s"))
    assert text.startswith(
        "stale_source: GPU-0 is renewed about every 30 s; expected a window of at least 5 refreshes;"
    )
    assert "read the device itself" in text


def test_an_exporter_of_30_s_and_a_window_of_10_s_is_refused_not_a_number():
    scene = FAULTS["exporter of 30 s"].make(4)
    activity = replace(scene.activity, end_s=scene.activity.start_s + 10.0)
    verdict = examine(replace(scene, activity=activity))
    assert verdict.quarantined
    assert verdict.codes[0] is Code.STALE_SOURCE


def test_true_refresh_is_found_through_repeated_reads():
    times_s = np.arange(0.0, 200.0, 0.5)
    assert refresh_s(times_s, np.floor(times_s / 30.0)) == pytest.approx(30.0, abs=0.5)
    assert refresh_s(times_s, np.full(400, 5.0)) == pytest.approx(199.5)
    assert refresh_s(times_s, np.full(400, np.nan)) is None


@pytest.mark.parametrize("average_s", [0.5, 1.0, 2.0])
def test_averaging_lag_is_seen_beside_the_counter(average_s):
    setup = draw(5, load="square-wave", length_s=30.0)
    series = record(replace(setup, sensor=replace(setup.sensor, average_s=average_s, tick_s=0.05)))
    assert averaging_lag_s(replace(series, power_w=series.average_w)) == pytest.approx(average_s, abs=0.2)
    assert averaging_lag_s(series) == pytest.approx(0.0, abs=0.15)


def test_averaging_lag_of_a_steady_load_is_not_known():
    setup = draw(5, load="constant", length_s=30.0)
    assert averaging_lag_s(record(setup).within(1.0, 29.0)) is None


def test_an_idle_engine_may_draw_idle_power():
    scene = FAULTS["busy run at idle watts"].make(2)
    assert examine(replace(scene, activity=replace(scene.activity, busy_share=0.1))).codes == ()
    assert examine(replace(scene, activity=replace(scene.activity, busy_share=None))).codes == ()


def test_a_power_limit_at_the_factorys_value_is_told_and_does_not_quarantine():
    scene = FAULTS["lowered power limit"].make(1)
    facts = {name: replace(fact, default_limit_w=fact.limit_w) for name, fact in scene.facts.items()}
    verdict = examine(replace(scene, facts=facts))
    assert (verdict.status, verdict.codes) == ("warned", (Code.POWER_THROTTLE,))


def test_a_wall_clock_step_quarantines_only_records_joined_by_wall_time():
    scene = FAULTS["wall clock step"].make(1)
    assert examine(scene).status == "warned"
    assert examine(replace(scene, activity=replace(scene.activity, joined_by_wall_time=True))).quarantined


def test_a_superchip_without_stated_scope_is_warned():
    scene = scene_of(draw(3))
    facts = {name: replace(fact, name="NVIDIA GH200 480GB", scope="") for name, fact in scene.facts.items()}
    assert examine(replace(scene, facts=facts)).status == "warned"
    stated = {name: replace(fact, scope="module") for name, fact in scene.facts.items()}
    assert examine(replace(scene, facts=stated)).codes == (Code.MODULE_SCOPE,)


def test_devices_that_come_and_go_have_gaps_not_zeros():
    readings = [
        Reading(0.0, "nvml", Boundary.GPU, (Channel("a", 1.0), Channel("b", 5.0))),
        Reading(1.0, "nvml", Boundary.GPU, (Channel("a", 2.0),)),
    ]
    a, b = to_series(readings)
    assert a.counter_j.tolist() == [1.0, 2.0]
    assert b.counter_j[0] == 5.0
    assert np.isnan(b.counter_j[1])
    assert not a.has_power
    verdict = examine(Scene((a,), Activity(0.0, 1.0), {"a": CardFacts(limit_w=700.0)}))
    assert verdict.codes == (Code.MISSING_SAMPLES,) or verdict.quarantined


def test_same_seed_same_run():
    one, two = clean(9), clean(9)
    assert all(np.array_equal(a.power_w, b.power_w) for a, b in zip(one.series, two.series, strict=True))


def test_the_page_lists_every_code_with_its_meaning_and_remedy():
    page = (Path(__file__).resolve().parents[2] / "docs" / "concepts" / "validity.md").read_text(encoding="utf-8")
    for code, rule in RULES.items():
        row = f"| `{code.value}` | {rule.level.value} | {rule.found} | {rule.expected} | {rule.remedy} |"
        assert row in page, f"docs/concepts/validity.md lacks: {row}"
    assert page.count("\n| `") == len(RULES) + len(("valid", "warned", "quarantined"))
