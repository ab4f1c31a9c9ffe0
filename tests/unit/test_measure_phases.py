"""Phases in process: difference of runs, boundary inside the run (D5), and the test of their disagreement."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Origin
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.phases.boundary import Edges, by_boundary, run_in_phases
from wattlane.measure.phases.difference import by_difference
from wattlane.measure.phases.disagree import Verdict, compare
from wattlane.measure.phases.part import Part, Repeats, Split, minus
from wattlane.measure.phases.tails import chi2_tail, f_tail, t_quantile, t_tail
from wattlane.measure.tokens import TokenCount, count_static

PREFILL_W, DECODE_W, IDLE_W = 650.0, 330.0, 70.0
PREFILL_S, STEP_S = 0.4, 0.025


class FakeGpu:
    """A clock, a queue of work with its power, and a meter that sees what is drawn; nothing takes real time."""

    def __init__(self, tick_s: float = 0.02) -> None:
        self.now_s = 0.0
        self.steps: list[tuple[float, float]] = []  # (end, watts), ascending
        self.meter = SimulatedMeter(self.energy_j, lambda _t: 0.0, tick_s, lambda: self.now_s)
        self.readings = [self.meter.read()]

    def clock(self) -> float:
        return self.now_s

    def energy_j(self, until_s: float) -> float:
        joules, at_s = 0.0, 0.0
        for end_s, watts in self.steps:
            length_s = min(end_s, until_s) - at_s
            if length_s <= 0:
                break
            joules, at_s = joules + watts * length_s, end_s
        return joules + IDLE_W * max(until_s - max(at_s, 0.0), 0.0)

    def wait(self, length_s: float, watts: float = IDLE_W) -> None:
        """Advance the clock in steps of 5 ms and read the meter at each."""
        end_s = self.now_s + length_s
        self.steps.append((end_s, watts))
        while self.now_s < end_s - 1e-12:
            self.now_s = min(self.now_s + 0.005, end_s)
            self.readings.append(self.meter.read())

    def enqueue(self, length_s: float, watts: float) -> None:
        """Hand work over in no time; it is done when somebody synchronises."""
        self.pending = [*getattr(self, "pending", []), (length_s, watts)]

    def synchronise(self) -> None:
        for length_s, watts in getattr(self, "pending", []):
            self.wait(length_s, watts)
        self.pending = []


def generate(gpu: FakeGpu, tokens: int, synchronise=None) -> Edges:
    edges = run_in_phases(
        lambda: gpu.enqueue(PREFILL_S, PREFILL_W),
        lambda _: gpu.enqueue(STEP_S * (tokens - 1), DECODE_W),
        gpu.synchronise if synchronise is None else synchronise,
        gpu.clock,
    )
    gpu.wait(0.313)
    return edges


def test_d5_phases_sum_to_the_whole_on_a_fake_clock():
    gpu, counted = FakeGpu(), count_static([1000], [129])
    gpu.wait(0.507)
    runs = [generate(gpu, 129) for _ in range(5)]
    split = by_boundary(gpu.readings, runs, counted)
    assert split.prefill.energy_j + split.decode.energy_j == pytest.approx(split.total.energy_j, rel=0.005)
    assert split.prefill.energy_j == pytest.approx(PREFILL_W * PREFILL_S, rel=0.05)
    assert split.decode.energy_j == pytest.approx(DECODE_W * STEP_S * 128, rel=0.01)
    assert split.total.energy_j == pytest.approx(PREFILL_W * PREFILL_S + DECODE_W * STEP_S * 128, rel=0.005)
    assert (split.prefill.tokens, split.decode.tokens) == (1000, 128)
    assert split.origin is Origin.MODELLED
    assert split.prefill.duration_s + split.decode.duration_s == pytest.approx(split.total.duration_s)


def test_d5_the_difference_covers_output_minus_one_tokens_and_says_so():
    gpu, counted = FakeGpu(), count_static([1000], [129])
    gpu.wait(0.5)
    whole = by_boundary(gpu.readings, [generate(gpu, 129) for _ in range(3)], counted)
    first_j, first_s = PREFILL_W * PREFILL_S, PREFILL_S
    generated = [whole.total.energy_j + d for d in (-3.0, 0.0, 3.0)]
    split = by_difference(
        Repeats(generated, [whole.total.duration_s] * 3),
        Repeats([first_j - 1, first_j, first_j + 1], [first_s] * 3),
        counted,
    )
    assert split.decode.tokens == 128
    assert split.notes[0].startswith("decode_tokens: decode covers 128 of 129")
    assert split.prefill.energy_j + split.decode.energy_j == pytest.approx(split.total.energy_j, rel=0.005)
    assert split.decode.energy_j == pytest.approx(DECODE_W * STEP_S * 128, rel=0.01)
    assert split.decode.duration_s == pytest.approx(STEP_S * 128)


def test_without_synchronisation_the_boundary_is_when_work_was_handed_over():
    gpu = FakeGpu()
    calls = iter([False, False, True])

    def forgetful() -> None:
        if next(calls):
            gpu.synchronise()

    careless = generate(gpu, 129, forgetful)
    assert careless.boundary_s == careless.start_s
    careful = generate(gpu, 129)
    assert careful.boundary_s - careful.start_s == pytest.approx(PREFILL_S)


def test_state_of_prefill_reaches_decode():
    seen = []
    run_in_phases(lambda: "cache", seen.append)
    assert seen == ["cache"]


def test_both_variances_are_propagated():
    generated, first = [100.0, 104.0, 96.0, 100.0], [40.0, 43.0, 37.0]
    split = by_difference(Repeats(generated, [1.0] * 4), Repeats(first, [0.5] * 3), count_static([10], [5]))
    v1, v2 = np.var(generated, ddof=1) / 4, np.var(first, ddof=1) / 3
    dof = (v1 + v2) ** 2 / (v1**2 / 3 + v2**2 / 2)
    half = stats.t.ppf(0.975, dof) * math.sqrt(v1 + v2)
    assert split.decode.dof == pytest.approx(dof)
    assert split.decode.interval_j() == pytest.approx((60 - half, 60 + half))
    body = split.as_dict()
    assert body["decode"]["energy_j_lo"] == pytest.approx(60 - half)
    assert body["status"] == "measured"


def test_a_negative_decode_is_reported_and_not_clamped():
    counted = count_static([1000], [2])
    split = by_difference(Repeats([100.0, 99.0, 101.0], [1.0] * 3), Repeats([103.0, 101.0, 102.0], [1.0] * 3), counted)
    assert split.decode.energy_j == pytest.approx(-2.0)
    assert any(note.startswith("decode_negative: the difference is -2 J") for note in split.notes)
    unsure = by_difference(Repeats([100.0, 90.0, 110.0], [1.0] * 3), Repeats([99.0, 98.0, 97.0], [1.0] * 3), counted)
    assert any(note.startswith("decode_not_shown") for note in unsure.notes)
    with pytest.raises(InputError, match="at least 2"):
        by_difference(Repeats([1.0, 2.0], [1.0] * 2), Repeats([1.0, 2.0], [1.0] * 2), count_static([5, 5], 1))


def test_the_meters_own_error_widens_the_interval_and_carries_a_single_run():
    bare = Repeats([10.0, 12.0], [1.0, 1.0]).part(1)
    assert bare.se_j == pytest.approx(1.0)
    assert Repeats([10.0, 12.0], [1.0, 1.0], [3.0, 3.0]).part(1) == bare  # the spread of two holds it: t is 12.7
    wide = Repeats([10.0, 10.1], [1.0, 1.0], [3.0, 3.0]).part(1)
    assert (wide.se_j, wide.dof) == (pytest.approx(3 / math.sqrt(2)), math.inf)
    single = Repeats([10.0], [1.0], [3.0]).part(1)
    assert single.se_j == 3.0
    assert single.dof == math.inf
    assert "10 J" in str(single)
    assert Part(5.0, 0.0, 1.0, 1.0, 1).interval_j() == (5.0, 5.0)


def test_the_gain_of_the_card_stays_in_the_phases_however_often_they_are_repeated():
    """Twenty repeats tell each phase to a hair, and the card is off by 2.5 %: the interval must hold the truth."""
    counted, seconds = TokenCount(1, 10, 10, 11, 11), [1.0] * 20
    rng, held, held_without, n = np.random.default_rng(8), 0, 0, 300
    for _ in range(n):
        gain = math.exp(rng.normal(0, 0.025))
        whole, first = (gain * rng.normal(joules, 0.2, 20) for joules in (100.0, 40.0))
        repeats = [Repeats(x.tolist(), seconds, [0.1] * 20, (0.025 * x).tolist()) for x in (whole, first)]
        decode = by_difference(repeats[0], repeats[1], counted).decode
        held += decode.interval_j()[0] <= 60.0 <= decode.interval_j()[1]
        lo_j, hi_j = replace(decode, gain_j=0.0).interval_j()
        held_without += lo_j <= 60.0 <= hi_j
    assert 0.92 <= held / n <= 0.98
    assert held_without < 0.5 * n


def test_repeats_without_an_error_and_with_gaps_are_refused_together():
    with pytest.raises(InputError, match="no interval"):
        Repeats([1.0], [1.0])
    with pytest.raises(InputError, match=r"no repeats[\s\S]*as many"):
        Repeats([], [1.0])
    with pytest.raises(InputError, match="not finite"):
        Repeats([math.nan, 1.0], [1.0, 1.0])


def test_a_meter_that_misses_a_window_is_a_measurement_error():
    gpu, counted = FakeGpu(), count_static([10], [9])
    edges = generate(gpu, 9)
    with pytest.raises(MeasurementError, match=r"1 of 1 windows"):
        by_boundary(gpu.readings[:3], [edges], counted)
    with pytest.raises(InputError, match="0 runs"):
        by_boundary(gpu.readings, [], counted)


def split_of(prefill_j: float, decode_j: float, se_j: float, decode_tokens: int = 128) -> Split:
    prefill, decode = (Part(mean_j, se_j, 8.0, 1.0, n) for mean_j, n in ((prefill_j, 1000), (decode_j, decode_tokens)))
    return Split(prefill, decode, minus(prefill, decode, 129), "m", ())


def test_methods_agree_disagree_or_are_not_decided():
    close = compare(split_of(260, 1000, 2), split_of(262, 1004, 2))
    assert close.verdict is Verdict.AGREE
    wide = compare(split_of(260, 1000, 60), split_of(262, 1004, 60))
    assert wide.verdict is Verdict.NOT_DECIDED
    apart = compare(split_of(260, 1000, 2), split_of(262, 1100, 2))
    assert [one.verdict for one in apart.phases] == [Verdict.AGREE, Verdict.DISAGREE]
    assert apart.verdict is Verdict.DISAGREE
    assert "decode: 1000 J against 1100 J, disagree" in str(apart)
    body = apart.as_dict()
    assert body["phases"]["decode"]["difference_j"] == -100
    assert [one["prefill"]["energy_j"] for one in body["methods"]] == [260, 262]


def test_splits_of_different_tokens_or_without_errors_are_not_compared():
    with pytest.raises(InputError, match="128 and 127"):
        compare(split_of(1, 2, 1), split_of(1, 2, 1, decode_tokens=127))
    with pytest.raises(InputError, match="no error"):
        compare(split_of(1, 2, 0), split_of(1, 2, 0))


def test_equal_methods_are_called_different_in_at_most_a_twentieth_of_the_cases():
    rng = np.random.default_rng(0)
    counted, seconds, wrong, n = TokenCount(1, 10, 10, 11, 11), [1.0] * 5, 0, 600
    for _ in range(n):
        first = by_difference(
            Repeats(rng.normal(100, 2, 5).tolist(), seconds), Repeats(rng.normal(40, 2, 5).tolist(), seconds), counted
        )
        prefill = Repeats(rng.normal(40, 2, 5).tolist(), seconds).part(10)
        decode = Repeats(rng.normal(60, 2, 5).tolist(), seconds).part(10)
        second = Split(prefill, decode, first.total, "other", ())
        wrong += compare(first, second).verdict is Verdict.DISAGREE
    assert 0.02 * n < wrong < 0.08 * n


def test_tails_match_an_independent_program():
    assert t_quantile(4.5, 0.9) == pytest.approx(stats.t.ppf(0.95, 4.5))
    assert t_quantile(math.inf, 0.95) == pytest.approx(1.959964, rel=1e-5)
    assert t_tail(-2.1, 7) == pytest.approx(2 * stats.t.sf(2.1, 7))
    assert f_tail(3.2, 4, 11) == pytest.approx(stats.f.sf(3.2, 4, 11))
    assert f_tail(math.inf, 1, 1) == 0.0
    assert chi2_tail(9.9, 5) == pytest.approx(stats.chi2.sf(9.9, 5))


def test_f8_decode_energy_of_a_linear_backend_grows_in_proportion_to_output_length():
    rng = np.random.default_rng(3)
    lengths = [2**k for k in range(3, 13)]
    seconds, decode_j = [1.0] * 5, []
    for output_tokens in lengths:
        whole_j = PREFILL_W * PREFILL_S + DECODE_W * STEP_S * (output_tokens - 1)
        split = by_difference(
            Repeats((whole_j + rng.normal(0, 1, 5)).tolist(), seconds),
            Repeats((PREFILL_W * PREFILL_S + rng.normal(0, 1, 5)).tolist(), seconds),
            count_static([512], [output_tokens]),
        )
        assert split.decode.tokens == output_tokens - 1
        decode_j.append(split.decode.energy_j)
    slope = np.polyfit(np.log(lengths), np.log(decode_j), 1)[0]
    assert 0.95 <= slope <= 1.05
