"""A window too short for the precision asked is widened by passes, or refused: on cards of known power."""

from __future__ import annotations

import time
from types import SimpleNamespace

import polars as pl
import pytest
from measure_fake_server import serving
from test_measure_static_trial import ExactEngine
from test_measure_static_trial import cell as static_cell

from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.measure import run, trial
from wattlane.measure.campaigns import static_trial
from wattlane.measure.campaigns.cells import expand
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.rows import figures
from wattlane.measure.campaigns.static_trial import measure_static
from wattlane.measure.campaigns.trials import Status, Trial, attempt, measure
from wattlane.measure.energy.budget import Budget
from wattlane.measure.energy.estimate import to_record, window_energy
from wattlane.measure.energy.refuse import Action, decide
from wattlane.measure.idling import running_already
from wattlane.measure.meters.card import CardSensor, SimulatedCard
from wattlane.measure.meters.loads import square_wave, steps
from wattlane.measure.readings import take
from wattlane.measure.widen import Precision, _next, precision_of

TWO = "burst:n=2,input=4,output=6"
COARSE = CardSensor(tick_s=0.1, tick_phase_s=0.03)


class Card:
    """Idle at 60 W for the idle window (0.05 to 0.25 s after the first read), then a wave about 300 W."""

    def __init__(self):
        wave = square_wave(280, 320, 0.37, 60)
        self.load = steps("idle, then busy", [0.0, *(wave.edges_s + 0.28)], [60.0, *wave.start_w])
        self.card = None

    def read(self):
        self.card = self.card or SimulatedCard(self.load, COARSE)
        return self.card.read()


@pytest.fixture(autouse=True)
def short_idle(monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.2)
    monkeypatch.setattr(static_trial, "IDLE_WINDOW_S", 0.2)


def test_a_short_window_is_widened_until_the_card_reaches_the_precision(tmp_path):
    with serving("llamacpp", pause_s=0.01) as server:
        plain = run(server.base_url, TWO, tmp_path / "plain", meter=Card())
        wide = run(server.base_url, TWO, tmp_path / "wide", meter=Card(), precision=Precision(0.02))
        prompts = {str(body["prompt"]) for body in server.seen[-wide.requests :]}
    assert len(prompts) == wide.requests  # a prefix cache would answer a prompt that comes again
    assert wide.valid
    assert wide.passes > 1
    assert (wide.requests, wide.output_tokens) == (2 * wide.passes, 12 * wide.passes)
    assert wide.energy.budget.own_half <= 0.02 * wide.energy.energy_j
    assert wide.energy.budget.own_half / wide.energy.energy_j < plain.energy.budget.own_half / plain.energy.energy_j
    [note] = [reason for reason in wide.reasons if reason.startswith("window_widened")]
    assert f"{wide.passes} passes in one window" in note
    served = read_served(tmp_path / "wide" / "served.parquet")
    assert served["request_id"].to_list() == list(range(2 * wide.passes))
    assert (served["end_s"] <= wide.window_s).all()
    assert served["arrival_s"].is_sorted()
    ttft = served["first_token_s"] - served["arrival_s"]
    assert ttft.max() < wide.window_s / 2
    body = read_json(tmp_path / "wide" / "measurement.json", "measurement")
    row = figures(body, served)
    assert row["window_s"] * row["passes"] == pytest.approx(wide.window_s)
    assert row["energy_j"] * row["passes"] == pytest.approx(wide.energy.energy_j)
    assert row["energy_j_per_request"] == pytest.approx(wide.energy.energy_j / wide.requests)
    assert row["power_w"] == pytest.approx(300, rel=0.06)


def test_a_window_that_would_need_too_many_passes_is_refused_with_what_it_needs(tmp_path):
    text = f'name = "g"\ntarget = "URL"\n[workload]\ntext = "{TWO}"\n[window]\nrelative = 0.0005\nmax_passes = 3\n'
    with serving("llamacpp") as server:
        [one] = expand(parse_grid("g", text.replace("URL", server.base_url)))
        outcome = attempt(Trial(one, 0), tmp_path / "t", lambda t, folder: measure(t, folder, Card()))
    assert outcome.status is Status.INVALID
    assert outcome.reason.startswith("window_too_short")
    assert "at most 3 were allowed" in outcome.reason
    body = read_json(tmp_path / "t" / "measurement.json", "measurement")
    assert body["energy"]["energy_j"] is not None  # what was found stays, marked
    assert not body["valid"]


def test_an_energy_that_no_meter_gave_is_said_not_to_be_checked(tmp_path):
    with serving("llamacpp") as server:
        result = run(server.base_url, TWO, tmp_path, precision=Precision(0.01))
    assert result.valid
    assert result.passes == 1
    assert any(reason.startswith("precision_unchecked") for reason in result.reasons)


def test_static_batches_are_widened_alike(tmp_path, monkeypatch):
    # the card is idle from its first reading on: it is first read at the level with the weights loaded
    monkeypatch.setattr(static_trial, "_before", lambda *_: running_already())
    file = tmp_path / "load.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0,40,3\n0,8,6\n")
    one = static_cell(file, changes={"window.relative": 0.02})
    engine = ExactEngine()
    measure_static(one, 0, tmp_path / "t", Card(), engine)
    body = read_json(tmp_path / "t" / "measurement.json", "measurement")
    assert body["valid"], body["reasons"]
    assert body["requests"] == 2 * body["passes"] > 2
    assert body["energy"]["energy_j"] / body["window_s"] == pytest.approx(300, rel=0.06)
    assert len(read_served(tmp_path / "t" / "served.parquet").filter(pl.col("end_s") > body["window_s"])) == 0


@pytest.mark.parametrize("precision", [0.02, 0.005])
def test_windows_that_are_taken_hold_the_precision_against_the_truth(precision):
    taken = missed = 0
    for seed in range(60):
        sensor = CardSensor(tick_s=0.1, tick_phase_s=seed / 600, seed=seed)
        made = SimulatedCard(square_wave(100, 500, 0.2 + seed / 30, 600), sensor, clock=lambda: 0.0)
        length_s = 0.3
        for _ in range(4):
            polls = [2.0 + i * 0.008 for i in range(int((length_s + 0.5) / 0.008))]
            end_s = 2.1 + length_s
            found = window_energy(to_record(made.read_at(polls)), 2.1, end_s).energy_j
            decision = decide(found, length_s, precision)
            if decision.action is Action.TAKE:
                taken += 1
                missed += abs(found.value / made.true_energy_j(2.1, end_s) - 1) > precision
                break
            length_s = 1.2 * decision.needed_s
    assert taken >= 57
    assert missed <= 0.05 * taken + 2


def test_a_load_that_hides_from_the_sensor_is_refused_for_any_length():
    energy = Budget(100.0, {"tick": 0.1}, {"sensor_gain": 2.5}, {"aliasing": 5.0})
    never = decide(energy, 1.0, 0.03)
    assert (never.action, never.needed_s) == (Action.REFUSE, None)
    assert decide(energy, 1.0, 0.06).action is Action.TAKE


def test_wrong_precisions_are_refused_and_a_grid_without_one_keeps_its_keys(tmp_path):
    with pytest.raises(InputError, match=r"energy_within is 2[\s\S]*max_passes is 0"):
        run("xllamacpp", TWO, tmp_path, precision=Precision(2, 0))
    with pytest.raises(InputError, match="no precision is asked"):
        precision_of(None, 3)
    assert precision_of(0.02, None) == Precision(0.02)
    assert precision_of(None, None) is None
    text = f'name = "g"\ntarget = "xllamacpp"\n[workload]\ntext = "{TWO}"\n'
    [plain] = expand(parse_grid("g", text))
    [asked] = expand(parse_grid("g", text + "[window]\nrelative = 0.02\n"))
    assert plain.precision is None
    assert asked.precision == Precision(0.02)
    assert plain.key != asked.key
    assert asked.as_dict()["energy_within"] == 0.02


class Growing(list):
    """Readings that a recorder goes on adding to while they are read."""

    def __iter__(self):
        yield from tuple(super().__iter__())
        self.append(self[-1])


def test_readings_that_come_in_while_a_window_is_judged_do_not_disturb_it():
    card = SimulatedCard(steps("busy", [0.0, 60.0], [300.0]), COARSE)
    readings = Growing()
    take(card, readings)
    first_s = readings[0].time_s
    while readings[-1].time_s < first_s + 0.6:
        time.sleep(0.01)
        take(card, readings)
    driven = SimpleNamespace(start_s=first_s + 0.15, end_s=first_s + 0.5, passes=1)
    passes, reason = _next(driven, SimpleNamespace(readings=readings), Precision(0.5))
    assert passes is not None or reason
