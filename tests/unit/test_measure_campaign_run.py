"""Campaigns on a runner without an engine: rounds, stops, resuming, skips, rows, and the seam to a Ray cluster."""

from __future__ import annotations

import functools
import json
import random

import numpy as np
import polars as pl
import pytest
from measure_fake_server import serving
from measure_fake_trial import GRID, FakeRunner, write_run

from wattlane.cli.app import run as command
from wattlane.core.errors import AbsentBackendError, InputError, MeasurementError
from wattlane.core.files import read_json, read_parquet
from wattlane.measure import campaign, trial
from wattlane.measure.campaigns.cells import expand
from wattlane.measure.campaigns.grid import RepeatsSection, parse_grid, read_preset
from wattlane.measure.campaigns.schedule import Here
from wattlane.measure.campaigns.summary import enough, estimate
from wattlane.measure.campaigns.trials import Status, Trial, finished, measure
from wattlane.measure.meters.simulated import SimulatedMeter


def go(folder, runner, changes=None, text=GRID, steps=None):
    grid = parse_grid("g", text, changes)
    on_step = (lambda _step: None) if steps is None else steps.append
    return campaign(grid, folder, scheduler=Here(folder, runner), on_step=on_step)


def cell_named(result, **factors):
    return next(cell for cell in result.summary["cells"] if cell["factors"] == factors)


def test_every_cell_is_visited_once_a_round_in_a_seeded_order(tmp_path):
    first, again, other = FakeRunner(), FakeRunner(), FakeRunner()
    go(tmp_path / "a", first)
    go(tmp_path / "b", again)
    go(tmp_path / "c", other, {"seed": 5})
    assert first.ran == again.ran
    assert [name for name, _ in first.ran] != [name for name, _ in other.ran]
    for number in range(3):
        names = [name for name, i in first.ran[6 * number : 6 * number + 6] if i == number]
        assert len(set(names)) == 6


def test_f7_rows_carry_configuration_versions_and_figures_or_null(tmp_path):
    go(tmp_path, FakeRunner(lambda t: 2.0 + t.number, power_w=250.0), {"per_requests": 1024})
    table = read_parquet(tmp_path / "campaign.parquet", "campaign")
    assert len(table) == 18
    row = table.filter((pl.col("factor_batch") == 2) & (pl.col("trial") == 1)).row(0, named=True)
    assert (row["target"], row["status"], row["workload"]) == (
        "fake:precision=F16,batch=2",
        "measured",
        "burst:n=4,input=8,output=3",
    )
    assert (row["input_tokens"], row["output_tokens"], row["kv_cache"], row["engine_version"]) == (32, 12, True, "1")
    assert (row["energy_j"], row["power_w"], row["boundary"]) == (750.0, 250.0, "gpu")
    assert row["energy_j_per_request"] == 750 / 4
    assert row["energy_j_normalised"] == 750 / 4 * 1024
    assert (row["batch_mean"], row["batch_max"]) == (4.0, 4)
    bare = tmp_path / "bare"
    go(bare, FakeRunner())
    assert read_parquet(bare / "campaign.parquet")["energy_j"].null_count() == 18


def test_d16_the_spread_over_repeats_is_kept_apart_from_that_over_requests(tmp_path):
    result = go(tmp_path, FakeRunner(lambda t: [1.0, 2.0, 3.0][t.number]))
    found = cell_named(result, precision="F16", batch=1)
    e2e = found["estimates"]["e2e_mean_s"]
    assert (e2e["n"], e2e["mean"], e2e["sd_over_repeats"]) == (3, 2.0, 1.0)
    assert e2e["hi"] - e2e["mean"] == pytest.approx(4.302652729911275 / 3**0.5)
    assert found["sd_over_requests"]["e2e_s"] == pytest.approx(0, abs=1e-12)
    assert found["estimates"]["energy_j"] is None
    assert found["stopped"] == "3 trials, as asked"


def test_repeats_do_not_average_away_the_gain_of_the_card():
    """Eight trials on cards whose gain is unknown to 2.5 %: intervals of the spread alone miss the true joules."""
    rng, held, held_without, n = np.random.default_rng(2), 0, 0, 400
    for _ in range(n):
        gain = np.exp(rng.normal(0, 0.025))
        rows = [
            {"status": "measured", "energy_j": e, "energy_random_half_j": 0.2, "energy_gain_half_j": 0.049 * e}
            for e in gain * rng.normal(100.0, 0.5, 8)
        ]
        found = estimate(rows, "energy_j")
        held += found["lo"] <= 100.0 <= found["hi"]
        held_without += abs(found["mean"] - 100.0) <= found["error_parts"]["repeats_half"]
    assert 0.92 <= held / n <= 0.98
    assert held_without < 0.5 * n


def test_trials_that_agree_by_chance_are_not_surer_than_their_windows():
    rows = [
        {"status": "measured", "energy_j": 100.0, "energy_random_half_j": 4.0, "energy_gain_half_j": 5.0},
        {"status": "measured", "energy_j": 100.0, "energy_random_half_j": 4.0, "energy_gain_half_j": 5.0},
        {"status": "invalid", "energy_j": 900.0, "energy_random_half_j": 4.0, "energy_gain_half_j": 5.0},
    ]
    found = estimate(rows, "energy_j")
    assert found["error_parts"]["repeats_half"] == pytest.approx(4 / np.sqrt(2))
    assert found["hi"] == pytest.approx(100 + np.hypot(4 / np.sqrt(2), 5.0))
    narrow = {"at_least": 2, "at_most": 9, "metric": "energy_j", "relative": 0.02}
    assert enough(rows, RepeatsSection(**narrow)) is None
    assert "narrow" in enough(rows, RepeatsSection(**narrow | {"relative": 0.03}))


@pytest.mark.parametrize(("sd_s", "at_cap"), [(0.1, False), (10.0, True)])
def test_w2_trials_go_on_until_the_interval_or_exactly_25(tmp_path, sd_s, at_cap):
    def window_s(asked):
        return 100 + random.Random(f"{asked.cell.key}/{asked.number}").gauss(0, sd_s)

    changes = {"factors.precision": ["F16"], "factors.batch": [1]}
    runner = FakeRunner(window_s)
    repeats = {"repeats.at_most": 25, "repeats.half_width": 0.5, "repeats.metric": "window_s"}
    result = go(tmp_path, runner, changes | repeats)
    [cell] = result.summary["cells"]
    assert (len(runner.ran) == 25) is at_cap
    assert len(runner.ran) <= 25
    assert cell["stopped"].startswith("cap of 25" if at_cap else "interval of window_s")
    half = (cell["estimates"]["window_s"]["hi"] - cell["estimates"]["window_s"]["lo"]) / 2
    assert (half < 0.5) is not at_cap


def test_w2_the_wilkins_grid_visits_its_81_cells_once_a_round(tmp_path):
    runner = FakeRunner()
    grid = read_preset("wilkins-grid", {"factors.model": ["m"], "repeats.at_least": 1, "repeats.at_most": 2})
    campaign(grid, tmp_path, scheduler=Here(tmp_path, runner))
    assert len(runner.ran) == 162
    for half in (runner.ran[:81], runner.ran[81:]):
        assert len({name for name, _ in half}) == 81


def test_an_absent_metric_stops_at_the_least_and_says_so(tmp_path):
    repeats = {"repeats.at_most": 9, "repeats.relative": 0.01, "repeats.metric": "energy_j"}
    runner = FakeRunner()
    result = go(tmp_path, runner, repeats)
    assert len(runner.ran) == 18
    assert "energy_j is absent" in result.summary["cells"][0]["stopped"]


def test_a_stopped_campaign_goes_on_without_redoing_or_losing_a_trial(tmp_path):
    class Killed(BaseException):
        pass

    count = iter(range(100))
    broken = FakeRunner(fails=lambda _t: Killed() if next(count) == 7 else None)
    with pytest.raises(Killed):
        go(tmp_path, broken)
    body = read_json(tmp_path / "campaign.json", "campaign")
    assert (body["complete"], body["trials"]) == (False, {"measured": 7})
    resumed, steps = FakeRunner(), []
    result = go(tmp_path, resumed, steps=steps)
    assert result.resumed == 7
    whole = FakeRunner()
    go(tmp_path / "whole", whole)
    assert broken.ran[:7] + resumed.ran == whole.ran
    assert (steps[-1].done, steps[-1].least, steps[-1].left_s) == (18, 18, 0)
    assert go(tmp_path, FakeRunner(fails=lambda _t: AssertionError())).resumed == 18


def test_an_unfinished_folder_is_done_again_and_a_torn_file_does_not_count(tmp_path):
    go(tmp_path, FakeRunner())
    folders = sorted(path.parent for path in tmp_path.glob("cells/*/*/measurement.json"))
    (folders[0] / "measurement.json").write_text('{"schema": 1, "kind": "measu')
    (folders[1] / "measurement.json").unlink()
    (folders[2] / "served.parquet").unlink()
    (folders[3] / "measurement.json").write_text("[]")
    again = FakeRunner()
    assert go(tmp_path, again).resumed == 14
    assert len(again.ran) == 4
    assert all(finished(folder) for folder in folders)


def test_a_run_that_the_user_cut_short_is_done_again_an_engine_that_died_is_kept(tmp_path):
    def cut(reason, asked, folder):
        FakeRunner()(asked, folder)
        served = pl.read_parquet(folder / "served.parquet")
        write_run(folder, served, 1.0, reasons=[reason])

    changes = {"factors.precision": ["F16"], "factors.batch": [1], "repeats.at_least": 1}
    for reason, status in (("interrupted: by the user", "failed"), ("engine_ended: SIGKILL", "invalid")):
        folder = tmp_path / status
        [cell] = go(folder, functools.partial(cut, reason), changes).summary["cells"]
        assert cell["statuses"] == {status: 1}
        again = FakeRunner()
        go(folder, again, changes)
        assert len(again.ran) == (status == "failed")


def test_f7_an_absent_backend_is_skipped_with_its_reason_and_never_replaced(tmp_path):
    text = GRID.replace('"fake:precision={precision},batch={batch}"', '"nosuch:precision={precision},batch={batch}"')
    result = campaign(parse_grid("g", text), tmp_path)
    assert result.summary["trials"] == {"skipped": 6}
    table = read_parquet(tmp_path / "campaign.parquet")
    assert table["reasons"].str.contains("unknown engine 'nosuch'").all()
    assert len(table) == 6
    assert set(table["factor_precision"]) == {"F16", "Q8_0"}
    assert not list(tmp_path.glob("cells/*/*"))


def test_d7_a_precision_that_an_engine_does_not_have_is_a_skip_not_another_precision(tmp_path):
    text = GRID.replace("fake:precision={precision},batch={batch}", "xllamacpp:quant={precision},slots={batch}")
    result = campaign(parse_grid("g", text), tmp_path)
    assert result.summary["trials"] == {"skipped": 6}
    assert "unknown option 'quant'" in result.summary["cells"][0]["reasons"][0]


def test_f7_a_rung_above_one_that_failed_is_not_tried_and_the_largest_is_kept(tmp_path):
    def fails(asked):
        return MeasurementError("out of memory") if asked.cell.factors["batch"] == 2 else None

    runner = FakeRunner(fails=fails)
    result = go(tmp_path, runner, {"ladder": "batch", "order": "interleaved", "seed": 1, "factors.precision": ["F16"]})
    ways = {name for name, _ in runner.ran}
    four = cell_named(result, precision="F16", batch=4)
    if "precision=F16, batch=4" not in ways:
        assert four["reasons"] == ["batch=2 failed, and this one is larger"]
    assert cell_named(result, precision="F16", batch=1)["statuses"] == {"measured": 3}
    assert cell_named(result, precision="F16", batch=2)["statuses"] == {"failed": 1}
    forward = FakeRunner(fails=fails)
    for seed in range(6):
        out = tmp_path / str(seed)
        forward = FakeRunner(fails=fails)
        found = go(
            out, forward, {"ladder": "batch", "order": "interleaved", "seed": seed, "factors.precision": ["F16"]}
        )
        if forward.ran[0][0].endswith("batch=1"):
            break
    assert cell_named(found, precision="F16", batch=4)["statuses"] == {"skipped": 1}
    assert found.summary["largest"] == [{"precision": "F16", "batch": 1}]


@pytest.mark.slow
def test_f6_counts_and_energy_on_a_fake_backend_are_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "IDLE_WINDOW_S", 0.1)
    text = """
name = "f6"
per_requests = 1024
concurrency = "{batch}"
target = "URL,model=m{batch}"
[factors]
batch = [2, 4]
[workload]
text = "burst:n=32,input=6,output=6"
[repeats]
at_least = 3
[warmup]
batches = 2
batch = "{batch}"
"""
    with serving("llamacpp", pause_s=0.02) as server:
        grid = parse_grid("f6", text.replace("URL", server.base_url))
        meter = SimulatedMeter.constant(250.0)
        campaign(grid, tmp_path, scheduler=Here(tmp_path, lambda t, folder: measure(t, folder, meter)))
        sent = len(server.seen)
    table = read_parquet(tmp_path / "campaign.parquet")
    # the fake card draws the same idle as busy, which the checks rightly hold against it
    assert table["reasons"].str.starts_with("busy_at_idle").all()
    assert set(table["requests"]) == {32}
    assert set(table["failed"]) == {0}
    assert (table["energy_j"] / (250.0 * table["window_s"])).is_between(0.99, 1.01).all()
    phases_j = table["prefill_j"] + table["decode_j"]
    idle_j = table["energy_j"] - phases_j
    assert ((idle_j >= -1e-9) & (idle_j < 0.2 * table["energy_j"])).all()
    assert (table["batch_max"] <= table["concurrency"]).all()
    assert sent == sum(3 * (32 + 2 * 2 * batch) for batch in (2, 4))  # requests, and two warm-up batches a phase


def test_two_campaigns_do_not_share_a_folder(tmp_path):
    def second(_trial, _folder):
        go(tmp_path, FakeRunner())

    result = go(tmp_path, second, {"factors.precision": ["F16"], "factors.batch": [1], "repeats.at_least": 1})
    assert "another campaign is running in it" in result.summary["cells"][0]["reasons"][0]


def test_the_prompts_of_repeats_differ_and_their_requests_do_not(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("wattlane.measure.campaigns.trials.run", lambda *a, **k: seen.append((a[1], k["seed"])))
    [cell, *_] = expand(parse_grid("g", GRID, {"seed": 3}))
    for number in (0, 1):
        measure(Trial(cell, number), tmp_path)
    assert [seed for _, seed in seen] == [3, 4]
    assert seen[0][0].arrival_s.tolist() == seen[1][0].arrival_s.tolist()


def test_the_verb_plans_runs_and_reports(tmp_path, capsys):
    file = tmp_path / "g.toml"
    with serving("llamacpp") as server:
        file.write_text(
            f'name = "g"\ntarget = "{server.base_url}"\n[workload]\ntext = "burst:n=2,input=4,output={{output}}"\n'
            "[factors]\noutput = [2, 3]\n[repeats]\nat_least = 2\n"
        )
        assert command(["campaign", str(file), "--dry-run"]) == 0
        assert "2 cells" in capsys.readouterr().out
        assert command(["campaign", str(file), "--dry-run", "--json", "--set", "repeats.at_least=3"]) == 0
        assert json.loads(capsys.readouterr().out)["trials_least"] == 6
        assert command(["campaign", str(file), "-o", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "4 of 4: output=" in err
    assert "trials 4 measured" in err
    assert out.count("output=") == 2
    assert "absent" in out


def test_the_verb_asks_for_one_grid_and_a_folder(capsys):
    assert command(["campaign", "--dry-run"]) == 2
    assert command(["campaign", "--preset", "wilkins-grid"]) == 2
    assert command(["campaign", "--preset", "wilkins-grid", "--dry-run", "--set", "x"]) == 1
    assert "expected KEY=VALUE" in capsys.readouterr().err


def test_statuses_of_skips_by_the_grid_come_first_and_cost_nothing(tmp_path):
    text = GRID + '[[skip]]\nwhere = { precision = ["Q8_0"] }\nreason = "not wanted"\n'
    runner = FakeRunner()
    result = go(tmp_path, runner, text=text)
    assert len(runner.ran) == 9
    assert result.summary["trials"] == {"measured": 9, "skipped": 3}
    assert cell_named(result, precision="Q8_0", batch=1)["stopped"].startswith(Status.SKIPPED.value)


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="found a file; expected a folder"):
        go(tmp_path / "file", FakeRunner())


def test_f7_a_library_that_is_not_installed_is_a_skip_not_a_failure_on_the_ladder(tmp_path):
    fails = lambda _asked: AbsentBackendError("vllm not installed")  # noqa: E731
    result = go(tmp_path, FakeRunner(fails=fails), {"ladder": "batch"})
    assert result.summary["trials"] == {"skipped": 6}
    assert {cell["stopped"] for cell in result.summary["cells"]} == {"skipped: vllm not installed"}


def test_f8_decode_energy_grows_with_output_length_on_a_linear_backend(tmp_path):
    def window_s(asked):
        return 0.01 * asked.cell.factors["output_tokens"]

    grid = read_preset("fernandez-controlled", {"workload.n": 4, "repeats.at_least": 1})
    result = campaign(grid, tmp_path, scheduler=Here(tmp_path, FakeRunner(window_s, power_w=300.0)))
    for held in (512, 64):
        cells = [c for c in result.summary["cells"] if c["factors"]["input_tokens"] == held]
        tokens = np.log([c["factors"]["output_tokens"] for c in cells])
        decode_j = np.log([c["estimates"]["decode_j"]["mean"] for c in cells])
        assert len(cells) == 10
        assert 0.95 <= np.polyfit(tokens, decode_j, 1)[0] <= 1.05


def test_a_campaign_that_measured_nothing_ends_with_exit_code_4(tmp_path, capsys):
    file = tmp_path / "g.toml"
    file.write_text(GRID.replace("fake:", "nosuch:"))
    assert command(["campaign", str(file), "-o", str(tmp_path / "run")]) == 4
    out, err = capsys.readouterr()
    assert "no cell was measured" in err
    assert "unknown engine 'nosuch'" in out
