"""The simulated card: its truth is exact and its sensors show it late, in steps and part of the time."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.core.types import Origin
from wattlane.measure.meters.card import PERFECT, CardPriors, CardSensor, SimulatedCard
from wattlane.measure.meters.loads import constant, decode_like, ramp, spiky, square_wave, steps

LOADS = [
    constant(300.0),
    ramp(100, 600, 60),
    square_wave(100, 500, 1.3, 70, phase_s=0.4),
    spiky(150, 690, 2, 0.03, 70, 1),
    decode_like(350, 680, 0.025, 70, 2),
]


def card(load, sensor=PERFECT):
    return SimulatedCard(load, sensor, clock=lambda: 0.0)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_true_energy_is_the_integral_of_true_power(load):
    middles = np.arange(1, 61, 1e-4) + 5e-5
    assert card(load).true_energy_j(1, 61) == pytest.approx(load.power_w(middles).sum() * 1e-4, rel=1e-3)
    assert card(load).true_energy_j(-2, -1) == pytest.approx(load.power_w(-1.0))


def test_the_counter_moves_only_at_ticks_and_shows_energy_times_gain():
    sensor = CardSensor(tick_s=0.1, tick_phase_s=0.03, gain=1.02, resolution_j=0)
    times = np.arange(0, 10, 0.001)
    shown = card(constant(200), sensor).counter_j(times)
    moves = times[1:][np.diff(shown) > 0]
    assert len(moves) == 100
    assert np.diff(moves) == pytest.approx(0.1, abs=0.0011)
    assert shown[-1] - shown[0] == pytest.approx(1.02 * 200 * 10)


def test_ticks_never_lie_after_the_read_and_follow_their_jitter():
    sensor = CardSensor(tick_s=0.02, tick_jitter_s=0.003, seed=4)
    times = np.arange(0, 5, 0.0007)
    ticks = card(constant(1), sensor).tick_before_s(times)
    assert (ticks <= times).all()
    assert (times - ticks < 0.026).all()
    assert (np.diff(ticks) >= 0).all()


def test_instant_power_sees_the_first_part_of_each_period_and_misses_the_rest():
    load = square_wave(100, 500, 0.1, 10, share_high=0.5)
    sensor = CardSensor(duty=0.25, sample_period_s=0.1)
    assert card(load, sensor).instant_w(np.arange(1, 5, 0.03)) == pytest.approx(500)
    assert card(load).true_energy_j(1, 5) == pytest.approx(1200)


def test_averaged_power_follows_a_step_within_its_second():
    shown = card(steps("step", [0, 5, 10], [100, 300]), CardSensor()).average_w([4.9, 5.5, 6.2])
    assert shown[0] == pytest.approx(100)
    assert 180 <= shown[1] <= 220
    assert shown[2] == pytest.approx(300)


def test_a_part_time_counter_is_wrong_on_a_load_in_step_with_its_samples():
    load = square_wave(100, 500, 0.1, 20)
    counted = card(load, CardSensor(part_time_counter=True)).counter_j([1.0, 11.0])
    assert counted[1] - counted[0] == pytest.approx(5000, rel=0.01)
    assert card(load).true_energy_j(1, 11) == pytest.approx(3000)


def test_a_draw_is_set_by_its_seed_and_stays_within_the_priors():
    priors = CardPriors()
    assert priors.draw(7) == priors.draw(7) != priors.draw(8)
    drawn = [priors.draw(seed) for seed in range(400)]
    assert all(0.02 <= s.tick_s <= 0.1 and 0 <= s.tick_phase_s < s.tick_s for s in drawn)
    assert np.std([s.gain for s in drawn]) == pytest.approx(priors.gain_sd, rel=0.1)


def test_a_reading_is_modelled_and_absent_sensors_are_none():
    reading = card(constant(50), CardSensor(has_counter=False, has_average=False)).read()
    assert reading.origin is Origin.MODELLED
    assert reading.energy_j is None
    assert reading.channels[0].average_power_w is None
    assert reading.power_w == pytest.approx(50)


def test_read_follows_the_clock_from_where_the_card_was_made():
    now = [100.0]
    made = SimulatedCard(constant(10), CardSensor(tick_s=0, resolution_j=0), clock=lambda: now[0])
    first = made.read()
    now[0] = 107.0
    assert made.read().energy_j - first.energy_j == pytest.approx(70)
    assert made.true_energy_j(100, 107) == pytest.approx(70)
    assert made.true_power_w(101) == 10


def test_a_load_with_falling_edges_is_refused():
    with pytest.raises(ValueError, match="ascending"):
        steps("broken", [0, 2, 1], [1, 1])
