"""Comparisons on results of known difference: verdicts, coverage, pairs, and what is said of unlike sides."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from measure_fake_trial import FakeRunner, served_table, write_run

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.core.files import read_json, write_json
from wattlane.core.served import write_served
from wattlane.measure import campaign, compare
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.schedule import Here
from wattlane.measure.comparing.blocks import block_length, block_mean
from wattlane.measure.comparing.differences import Verdict, between_trials
from wattlane.measure.comparing.sides import read_side
from wattlane.measure.energy.estimate import to_record, window_energy
from wattlane.measure.meters.card import CardPriors, SimulatedCard
from wattlane.measure.meters.loads import constant
from wattlane.measure.schedule import DENSE_S, poll_times

N = 60
GRID = """
name = "g"
target = "fake:precision={precision}"
[workload]
text = "burst:n=4,input=8,output=3"
[factors]
precision = ["F32", "Q8_0"]
[repeats]
at_least = 6
"""


def requests(e2e_s, energy_j=None, n=N):
    return served_table(np.arange(n) * 0.1, np.full(n, 8), np.full(n, 3), e2e_s, energy_j)


def the(pairing, metric):
    return next(one for one in pairing.differences if one.metric == metric)


def autoregressive(rng, n, rho):
    values = np.empty(n)
    values[0] = rng.normal() / np.sqrt(1 - rho**2)
    for i in range(1, n):
        values[i] = rho * values[i - 1] + rng.normal()
    return values


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.93), (0.6, 0.91)])
def test_block_intervals_cover_the_mean_of_correlated_requests(rho, least):
    rng = np.random.default_rng(3)
    found = [block_mean(autoregressive(rng, 400, rho)) for _ in range(800)]
    covered = np.mean([one.lo <= 0 <= one.hi for one in found])
    assert least <= covered <= 0.975
    naive = np.mean([abs(one.mean) <= 1.96 / np.sqrt(400 * (1 - rho**2)) for one in found])
    assert rho == 0 or naive < 0.75  # what ignoring the correlation would give


def test_blocks_grow_with_correlation_and_stay_below_a_fifth():
    rng = np.random.default_rng(4)
    assert block_length(autoregressive(rng, 1000, 0.9)) > block_length(autoregressive(rng, 1000, 0.3)) > 1
    assert block_length(np.arange(50.0)) == 10
    assert block_length(np.ones(50)) == 1
    assert block_mean(np.array([])) is None
    assert block_mean(np.arange(4.0)).lo is None


def test_identical_runs_show_no_difference(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, requests(0.5, energy_j=4.0), 6.0, 240.0)
    [pairing] = compare(tmp_path / "a", tmp_path / "b").pairings
    assert pairing.unlike == ()
    for metric in ("ttft_s", "tbt_s", "e2e_s", "energy_j_per_request"):
        assert the(pairing, metric).verdict is Verdict.NOT_SHOWN
        assert (the(pairing, metric).lo, the(pairing, metric).hi) == (0, 0)
    assert "one run a side" in pairing.notes[0]
    assert the(pairing, "window_s").verdict is Verdict.UNDECIDED


def test_requests_are_paired_by_id_so_that_a_small_shift_shows_through_a_wide_spread(tmp_path):
    rng = np.random.default_rng(5)
    base = rng.uniform(0.5, 5.0, N)
    write_run(tmp_path / "a", requests(base), 6.0)
    write_run(tmp_path / "b", requests(base + rng.normal(0.02, 0.005, N)).sample(fraction=1, shuffle=True, seed=1), 6.0)
    [pairing] = compare(tmp_path / "a", tmp_path / "b").pairings
    e2e = the(pairing, "e2e_s")
    assert e2e.verdict is Verdict.HIGHER
    assert e2e.lo <= 0.02 <= e2e.hi
    assert (e2e.n, e2e.needed, e2e.basis) == (N, None, "requests")


def test_what_did_not_complete_is_left_out_and_counted(tmp_path):
    table = requests(0.5)
    failed = table.with_columns(
        outcome=pl.when(pl.col("request_id") < 6).then(pl.lit("failed")).otherwise(pl.col("outcome"))
    )
    write_run(tmp_path / "a", table, 6.0)
    write_run(tmp_path / "b", failed, 6.0, reasons=["failed_requests: 6 of 60"])
    [pairing] = compare(tmp_path / "a", tmp_path / "b").pairings
    assert pairing.matching["matched"] == N - 6
    assert any(note.startswith("b: 6 of 60 requests did not complete") for note in pairing.notes)
    assert any("not valid" in note for note in pairing.notes)


def test_a_prediction_and_the_day_that_followed_are_told_apart_by_origin(tmp_path):
    prediction = tmp_path / "prediction"
    prediction.mkdir()
    write_served(prediction / "served.parquet", requests(0.5, energy_j=4.0))
    write_json(prediction / "summary.json", "simulation", {})
    write_run(tmp_path / "day", requests(0.6, energy_j=5.0), 6.0, 300.0)
    [pairing] = compare(prediction, tmp_path / "day").pairings
    assert "origin: modelled against measured" in pairing.unlike
    assert any(line.startswith("not stated by a: boundary") for line in pairing.unlike)
    energy = the(pairing, "energy_j_per_request")
    assert energy.difference == pytest.approx(1.0)
    assert not energy.like_for_like
    assert the(pairing, "e2e_s").relative == pytest.approx(0.2)
    assert the(pairing, "e2e_s").like_for_like


def test_unlike_boundary_precision_and_workload_are_named(tmp_path):
    engine = {"name": "fake", "version": "1", "options": {"precision": "Q8_0"}}
    write_run(tmp_path / "a", requests(0.5, 4.0), 6.0, 240.0)
    write_run(tmp_path / "b", requests(0.5, 4.0), 6.0, 240.0, engine=engine, boundary="cpu package")
    [pairing] = compare(tmp_path / "a", tmp_path / "b").pairings
    assert "precision: F16 against Q8_0" in pairing.unlike
    assert "boundary: gpu against cpu package" in pairing.unlike
    assert not the(pairing, "energy_j_per_request").like_for_like


def test_requests_of_other_lengths_are_counted(tmp_path):
    write_run(tmp_path / "a", requests(0.5), 6.0)
    longer = requests(0.5).with_columns(input_tokens=pl.col("input_tokens") + pl.col("request_id") % 2)
    write_run(tmp_path / "b", longer, 6.0)
    [pairing] = compare(tmp_path / "a", tmp_path / "b").pairings
    assert f"{N // 2} of {N} requests of the same id have other input lengths" in pairing.notes


def repeated(folder, window_s, power_w=None):
    grid = parse_grid("g", GRID)
    return campaign(grid, folder, scheduler=Here(folder, FakeRunner(window_s, power_w)))


def noisy(shift_s, seed=0, sd_s=0.05):
    def window_s(trial):
        drawn = np.random.default_rng([seed, trial.number, trial.cell.factors["precision"] == "F32"])
        common = np.random.default_rng([99, trial.number]).normal(0, 1.0)  # what both cells of a round share
        return 10 + common + drawn.normal(0, sd_s) + (shift_s if trial.cell.factors["precision"] == "F32" else 0)

    return window_s


def cells_of(result):
    return [result.folder / "cells" / cell["cell"] for cell in result.summary["cells"]]


def test_cells_of_one_campaign_are_paired_round_by_round(tmp_path):
    one, other = cells_of(repeated(tmp_path, noisy(0.5)))
    [pairing] = compare(one, other).pairings
    window = the(pairing, "window_s")
    assert window.verdict is Verdict.LOWER  # the spread that both share, 20 times the noise, cancels
    assert window.lo <= -0.5 <= window.hi
    assert window.n == 6
    assert pairing.notes == ()


def test_no_difference_shown_comes_with_the_repeats_that_would_decide(tmp_path):
    one, other = cells_of(repeated(tmp_path, noisy(0.01)))
    window = the(compare(one, other).pairings[0], "window_s")
    assert window.verdict is Verdict.NOT_SHOWN
    assert window.lo < 0 < window.hi
    assert window.needed is None or window.needed > 6


def test_the_meters_own_error_keeps_equal_readings_from_deciding(tmp_path):
    one, other = cells_of(repeated(tmp_path, lambda t: 1.0, 0.1))  # 0.1 J known to within 1 J
    energy = the(compare(one, other).pairings[0], "energy_j_per_request")
    assert energy.verdict is Verdict.NOT_SHOWN
    assert energy.hi == pytest.approx(np.sqrt(2) / 4 / np.sqrt(6), rel=0.01)


def trial_on(card, power_w, start_s, length_s=2.0):
    """A row of a trial on a simulated card: its window's budget, as a campaign's figures hold it."""
    end_s = start_s + length_s
    polls = poll_times(start_s - 0.5, end_s + 2 * DENSE_S, (start_s, end_s), seed=int(1000 * start_s))
    made = SimulatedCard(constant(power_w), card[1], clock=lambda: 0.0)
    budget = window_energy(to_record(made.read_at(polls)), start_s, end_s).energy_j
    energy = {"energy_j": budget.value, "energy_j_lo": budget.lo, "energy_j_hi": budget.hi}
    gain = budget.parts()["sensor_gain_j"]
    halves = {"energy_random_half_j": budget.random_half, "energy_gain_half_j": gain}
    return energy | halves | {"energy_j_per_request": budget.value, "card": card[0]}


@pytest.mark.parametrize("cards", ["one card", "two cards"])
def test_intervals_of_difference_and_ratio_cover_the_truth_with_the_gain_of_each_card_its_own(cards):
    """30 W more on cards of unknown gain, trials that vary by 1 %: the gain is one in all trials of a card."""
    rng, priors, length_s, n = np.random.default_rng(5), CardPriors(), 2.0, 4
    difference, ratio, widths, as_if = [], [], [], []
    for seed in range(60):
        on_a = ("GPU-a", priors.draw(2 * seed))
        on_b = on_a if cards == "one card" else ("GPU-b", priors.draw(2 * seed + 1))
        powers = rng.normal(1.0, 0.01, (2, n)) * np.array([[270.0], [300.0]])
        a = {i: trial_on(on_a, powers[0, i], 2.0 + rng.uniform(0, 1)) for i in range(n)}
        b = {i: trial_on(on_b, powers[1, i], 2.0 + rng.uniform(0, 1)) for i in range(n)}
        [one] = [d for d in between_trials(a, b, alike=True) if d.metric == "energy_j_per_request"]
        difference.append(one.lo <= 30.0 * length_s <= one.hi)
        ratio.append(one.relative_lo <= 300 / 270 - 1 <= one.relative_hi)
        widths.append(one.relative_hi - one.relative_lo)
        forgotten = {i: row | {"card": None} for i, row in a.items()}
        [loose] = [d for d in between_trials(forgotten, b, alike=True) if d.metric == "energy_j_per_request"]
        as_if.append(loose.relative_hi - loose.relative_lo)
    assert np.mean(difference) >= 0.9
    assert np.mean(ratio) >= 0.9
    if cards == "one card":
        assert np.median(widths) < 0.06  # 1 % a trial on four pairs, and no gain
        assert np.median(as_if) > 1.5 * np.median(widths)  # a gain of each side's own
    else:
        assert np.median(widths) > 0.07  # two gains of 2.5 %


def test_bounds_do_not_fall_with_the_number_of_trials():
    """A load in step with the sensor is hidden alike in every trial: sixteen of them tell no more than one."""

    def trials(energy_j, bounds_j):
        halves = {"energy_random_half_j": 0.1, "energy_bounds_j": bounds_j, "energy_gain_half_j": 0.0, "card": "GPU-a"}
        return {
            i: {"energy_j": energy_j, "energy_j_per_request": energy_j + 0.01 * (i % 2)} | halves for i in range(16)
        }

    [bound] = between_trials(trials(100.0, 5.0), trials(106.0, 5.0), alike=True)
    [free] = between_trials(trials(100.0, 0.0), trials(106.0, 0.0), alike=True)
    assert (bound.verdict, free.verdict) == (Verdict.NOT_SHOWN, Verdict.HIGHER)
    assert bound.needed is None  # and no number of trials would show 6 J through 10 J of bounds
    assert bound.hi - free.hi == pytest.approx(10.0, rel=0.01)
    assert bound.relative_hi - free.relative_hi == pytest.approx(0.05 + 1.06 * 0.05, rel=0.001)


def test_trials_that_would_decide_are_not_promised_where_the_gain_of_two_cards_is_in_the_way():
    """3 % between two cards of 5 % each (95 %): the difference may be the sensors', however often it is measured."""

    def trials(card, energy_j, spread_j=0.5):
        halves = {"energy_random_half_j": 0.1, "energy_gain_half_j": 0.05 * energy_j, "card": card}
        values = [energy_j - spread_j, energy_j + spread_j] * 2
        return {i: {"energy_j": e, "energy_j_per_request": e} | halves for i, e in enumerate(values)}

    [two] = between_trials(trials("GPU-a", 100.0), trials("GPU-b", 103.0), alike=True)
    assert (two.verdict, two.needed) == (Verdict.NOT_SHOWN, None)
    wide = {i: row | {"energy_j_per_request": 103.0 + (3 - 2 * i)} for i, row in trials("GPU-a", 103.0).items()}
    [one] = between_trials(trials("GPU-a", 100.0), wide, alike=True)
    assert one.verdict is Verdict.NOT_SHOWN
    assert one.needed is not None
    assert one.needed > 4


def test_a_card_is_known_by_its_uuid_or_by_its_host_and_name(tmp_path):
    [one, _] = cells_of(repeated(tmp_path, lambda t: 1.0, 200.0))

    def cards(devices, host):
        for place in sorted(one.glob("[0-9]*")):
            body = read_json(place / "measurement.json")
            write_json(place / "measurement.json", "measurement", {**body, "devices": devices})
            if host:
                write_json(place / "provenance.json", "provenance", {"host": host})
        return {row["card"] for row in read_side(one).series[0].trials.values()}

    assert cards([], None) == {None}
    assert cards(["GPU-b", "GPU-a"], None) == {"GPU-a+GPU-b"}
    assert cards(["package-0"], None) == {None}
    assert cards(["package-0"], "node7") == {"node7: package-0"}


def test_campaigns_are_matched_by_factors_and_the_rest_is_named(tmp_path):
    repeated(tmp_path / "a", noisy(0.5))
    grid = parse_grid("g", GRID, {"factors.precision": ["F32", "F16", "Q4_0"]})
    campaign(grid, tmp_path / "b", scheduler=Here(tmp_path / "b", FakeRunner(noisy(0.0))))
    found = compare(tmp_path / "a", tmp_path / "b")
    assert [pairing.name for pairing in found.pairings] == ["precision=F32"]
    assert "not interleaved" in found.pairings[0].notes[-1]
    assert found.only_a == ("precision=Q8_0",)
    assert found.only_b == ("precision=F16", "precision=Q4_0")


def test_what_cannot_be_compared_is_refused_with_what_was_found(tmp_path):
    write_run(tmp_path / "run", requests(0.5), 6.0)
    repeated(tmp_path / "campaign", noisy(0.0))
    with pytest.raises(InputError, match="found nothing to compare"):
        compare(tmp_path / "run", tmp_path / "nothing")
    with pytest.raises(InputError, match=r"2 cells.*the requests of one run"):
        compare(tmp_path / "campaign", tmp_path / "run" / "served.parquet")
    other = requests(0.5).with_columns(request_id=pl.col("request_id") + 1000)
    write_run(tmp_path / "other", other, 6.0)
    with pytest.raises(InputError, match="no request of the same id"):
        compare(tmp_path / "run", tmp_path / "other")
    grid = parse_grid("g", GRID, {"factors.precision": ["A", "B"]})
    campaign(grid, tmp_path / "apart", scheduler=Here(tmp_path / "apart", FakeRunner()))
    with pytest.raises(InputError, match="no cell has the same factors"):
        compare(tmp_path / "campaign", tmp_path / "apart")


def test_the_verb_prints_answers_and_json(tmp_path, capsys):
    one, other = cells_of(repeated(tmp_path, noisy(0.5), 100.0))
    assert command(["compare", str(one), str(other)]) == 0
    out = capsys.readouterr().out
    assert "b is lower" in out
    assert "no difference shown" in out
    assert "6 pairs" in out
    assert command(["compare", str(one), str(other), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["pairings"][0]["matching"]["matched"] == 6
    assert command(["compare", str(one), str(tmp_path / "no")]) == 1
