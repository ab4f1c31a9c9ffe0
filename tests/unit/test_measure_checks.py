"""Checks of the studies that measurement rests on, by the name each has there: see docs/reference/checks.md."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from measure_fake_server import serving

from wattlane.core.files import read_parquet
from wattlane.core.types import Boundary, Origin
from wattlane.core.workload import Workload
from wattlane.measure import Delivery, campaign, drive, load
from wattlane.measure.account import metered, modelled_cpu, net_of_idle, split
from wattlane.measure.campaigns.grid import Grid, parse_grid
from wattlane.measure.campaigns.schedule import Here
from wattlane.measure.campaigns.trials import measure
from wattlane.measure.energy.idle import IdleLevel
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.meters.card import CardSensor, SimulatedCard
from wattlane.measure.meters.loads import constant, ramp
from wattlane.measure.schedule import DENSE_S, poll_times
from wattlane.measure.spans import Spans
from wattlane.measure.spec import Spec
from wattlane.measure.warmup import LOADS, Preparation, warm_up
from wattlane.measure.workloads import resolve_workload

POWER_ONLY = CardSensor(tick_s=0.1, has_counter=False)
COUNTER = CardSensor(tick_s=0.1, tick_phase_s=0.04)


def readings(power, sensor, start_s=2.0, length_s=10.0):
    card = SimulatedCard(power, sensor, clock=lambda: 0.0)
    polls = poll_times(0.0, start_s + length_s + 2 * DENSE_S, (start_s, start_s + length_s), seed=3)
    return card.read_at(polls)


@pytest.mark.parametrize("sensor", [COUNTER, POWER_ONLY], ids=["counter", "sampled power"])
def test_w1_constant_250_w_for_10_s_is_2500_j_within_a_thousandth(sensor):
    found = metered(readings(constant(250.0), sensor), 2.0, 12.0)
    assert found.energy_j == pytest.approx(2500.0, rel=1e-3)
    assert found.energy_j_lo < 2500.0 < found.energy_j_hi
    assert found.boundary is Boundary.GPU
    assert ("counter" if sensor.has_counter else "power") in found.source


@pytest.mark.parametrize(
    ("sensor", "within"),
    # a sample each 0.1 s is on average half of that old, which a ramp turns into 12 J
    [(COUNTER, 0.01), (CardSensor(has_counter=False, sample_period_s=0.02, duty=1.0), 0.01), (POWER_ONLY, 0.015)],
    ids=["counter", "power, 50 a second", "power, 10 a second, part of the time"],
)
def test_w1_a_ramp_from_0_to_200_w_in_10_s_is_1000_j_within_a_hundredth(sensor, within):
    card = SimulatedCard(ramp(0.0, 200.0, 10.0), sensor, clock=lambda: 0.0)
    found = metered(card.read_at(poll_times(-1.0, 10.5, (0.0, 10.0), seed=3)), 0.0, 10.0)
    assert found.energy_j == pytest.approx(1000.0, rel=within)
    assert found.energy_j_lo < 1000.0 < found.energy_j_hi


def test_w1_an_idle_of_10_w_over_10_s_subtracts_100_j():
    gross = metered(readings(constant(250.0), COUNTER), 2.0, 12.0)
    idle = metered(readings(constant(10.0), COUNTER, length_s=4.0), 2.0, 6.0)
    net = net_of_idle(gross, 10.0, idle, 4.0, IdleLevel.WEIGHTS_LOADED)
    assert gross.energy_j - net.energy_j == pytest.approx(100.0, rel=1e-3)


def test_w1_prorated_energy_is_labelled_as_no_measurement_with_boundary_and_method():
    shared = modelled_cpu(40.0, 5.0)
    assert (shared.energy_j, shared.status, shared.boundary) == (200.0, Origin.MODELLED, Boundary.CPU_PACKAGE)
    assert "assumed" in shared.source
    for phase in split(metered(readings(constant(250.0), COUNTER), 2.0, 12.0), Spans(4.0, 5.0, 1.0, 10.0, "x")):
        assert phase.status is Origin.MODELLED
        assert phase.boundary is Boundary.GPU
        assert "divided by time" in phase.source


def test_w2_rows_record_true_tokens_true_batch_the_cache_and_n_per_cell(tmp_path):
    text = """
name = "w2"
target = "URL"
concurrency = 2
[workload]
text = "burst:n=6,input={input_tokens},output={output_tokens}"
[factors]
input_tokens = [8, 16]
output_tokens = [8]
[repeats]
at_least = 2
at_most = 3
metric = "window_s"
half_width = 30.0
"""
    with serving("llamacpp") as server:
        grid = parse_grid("w2", text.replace("URL", server.base_url))
        result = campaign(grid, tmp_path, scheduler=Here(tmp_path, measure))
    table = read_parquet(tmp_path / "campaign.parquet")
    assert len(table) == 4
    assert (table["input_tokens"] == 6 * table["factor_input_tokens"]).all()
    assert (table["output_tokens"] == 6 * table["factor_output_tokens"]).all()
    assert (table["batch_max"] == 2).all()
    assert table["batch_mean"].is_between(1.0, 2.0).all()
    assert "kv_cache" in table.columns
    assert [cell["trials"] for cell in result.summary["cells"]] == [2] * 2
    assert [cell["estimates"]["window_s"]["n"] for cell in result.summary["cells"]] == [2] * 2


def test_d12_a_trace_is_replayed_at_its_own_times(tmp_path):
    times_s = [0.0, 0.0, 0.07, 0.11, 0.31, 0.33]
    file = tmp_path / "trace.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{t},4,2\n" for t in times_s))
    with serving("llamacpp") as server:
        table = drive(server.base_url, resolve_workload(file, 0), Delivery("m"))
    assert table["offered_s"].to_list() == times_s
    late_s = (table["started_s"] - table["offered_s"]).to_numpy()
    assert late_s.min() >= 0
    assert np.median(late_s) < 0.05  # the gaps of the trace are 0.02 to 0.2 s; a busy machine is late by some of it


def test_d12_schedule_and_requests_exist_before_the_clock_starts(monkeypatch):
    order = []
    encode = load.encode
    monkeypatch.setattr(load, "encode", lambda body: order.append("encode") or encode(body))

    def clock():
        order.append("clock")
        return time.monotonic()

    workload = Workload(np.zeros(3), np.full(3, 4), np.full(3, 2))
    with serving("llamacpp") as server:
        drive(server.base_url, workload, Delivery("m", start_clock=clock))
    assert order == ["encode"] * 3 + ["clock"]


def test_d13_the_ledger_holds_outcome_first_token_every_gap_end_and_tokens_of_each_request():
    workload = Workload(np.zeros(3), np.full(3, 4), np.array([2, 5, 1]))
    with serving("llamacpp") as server:
        table = drive(server.base_url, workload, Delivery("m"))
    for row, tokens in zip(table.iter_rows(named=True), (2, 5, 1), strict=True):
        assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("completed", 4, tokens)
        assert len(row["gaps_s"]) == tokens - 1
        assert row["arrival_s"] <= row["release_s"] < row["first_token_s"] <= row["end_s"]
        assert row["first_token_s"] + sum(row["gaps_s"]) <= row["end_s"] + 1e-6


def test_d16_warm_up_reads_long_prompts_and_writes_long_answers_before_the_clock():
    with serving("llamacpp") as server:
        engine = ExternalEngine(server.base_url, Spec("external"))
        with engine:
            warm_up(engine, Preparation(batches=2, batch=3))
        asked = [(len(body["prompt"]), body["max_tokens"]) for body in server.seen]
    assert len(asked) == 2 * 3 * len(LOADS)
    lengths = sorted(set(asked), key=lambda pair: pair[1])
    assert len(lengths) == 2
    assert lengths[0][0] > lengths[1][0]
    assert lengths[0][1] < lengths[1][1]


def test_d16_a_cell_is_repeated_at_least_five_times_unless_the_grid_says_otherwise():
    grid = Grid.model_validate({"name": "g", "target": "xllamacpp", "workload": {"text": "burst:n=1"}})
    assert grid.repeats.at_least == 5
    assert grid.warmup.batches >= 1


def test_f6_energy_is_mean_power_times_time_and_the_split_sums_to_it():
    found = metered(readings(constant(250.0), COUNTER), 2.0, 12.0)
    prefill, decode = split(found, Spans(3.0, 6.0, 1.0, 10.0, "x"))
    assert prefill.energy_j + decode.energy_j == pytest.approx(found.energy_j)
    assert found.energy_j == pytest.approx(250.0 * 10.0, rel=1e-2)


def test_the_page_of_checks_names_a_test_for_every_check_and_every_file_it_names_holds_one():
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "reference" / "checks.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if re.match(r"\| [DFSW]\d", row)]
    of_row = {tuple(re.findall(r"[DFSW]\d+", row.split("|")[1])): row for row in rows}
    listed = [check for checks in of_row for check in checks]
    assert len(listed) == len(set(listed))
    wanted = {*(f"D{i}" for i in range(1, 19) if i != 14), *(f"F{i}" for i in range(3, 11))}
    wanted |= {*(f"W{i}" for i in range(1, 13)), *(f"S{i}" for i in range(1, 8)), "S10"}
    assert set(listed) == wanted
    for checks, row in of_row.items():
        names = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", row)
        assert names, checks
        texts = {name: "".join(path.read_text() for path in root.glob(f"tests/**/{Path(name).name}")) for name in names}
        for name, text in texts.items():
            assert any(has(text, check) for check in checks), f"{name} holds no test of {checks}"
        for check in checks:
            assert any(has(text, check) for text in texts.values()), f"no file of {check} holds a test of it"


def has(text: str, check: str) -> bool:
    return re.search(rf"def test_(\w+_)?{check.lower()}_", text) is not None
