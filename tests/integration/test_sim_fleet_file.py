"""`wattlane simulate --fleet`: a fleet file, what it may hold, and the files of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run as command
from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.core.types import Slo
from wattlane.sim.capping import CapKind, Capping
from wattlane.sim.clocking import Clocking, ClockKind
from wattlane.sim.fleet_file import CappingSection, ClockingSection, SloSection, read_fleet
from wattlane.sim.fleet_run import read_tags, run_fleet
from wattlane.sim.fleet_types import EngineSettings, Order, Release, ReleaseKind, Routing, Scaling, ScalingKind

FLEET = """
model = "Llama-3.1-8B-Instruct"
routing = "least-loaded"
retry_s = 0.5

[[pool]]
gpu = "H100"
replicas = 2
clock_steps = 3
decode_clock_mhz = 1300.0
clocking = { kind = "miad", period_s = 0.5 }
power_cap_w = 600.0
draft_model = "Llama-3.2-1B-Instruct"

[pool.engine]
prefix_cache = true
priority = true
draft_tokens = 2
acceptance = 0.7

[[pool.rest]]
name = "asleep"
after_s = 1.0
power_w = 30.0
exit_s = 0.2

[[pool]]
gpu = "A100-80GB"
clock_steps = 4
clocking.kind = "energy-minimum"
[pool.engine]
prefix_cache = true
priority = true

[capping]
kind = "polca"
budget_w = 900
low_pools = [1]

[slo]
ttft_s = 2.0
tbt_s = 0.05

[[failure]]
replica = 0
at_s = 0.5
up_s = 2.0

[[scale]]
at_s = 1.0
active = [2, 0]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    trace, fleet = tmp_path / "few.csv", tmp_path / "fleet.toml"
    rows = "".join(f"{0.05 * i:.2f},{100 + i},{1 + i % 30},{i % 2},{i % 4} 9{i % 4}\n" for i in range(40))
    trace.write_text("arrival_s,input_tokens,output_tokens,priority,prefix_blocks\n" + rows, encoding="utf-8")
    fleet.write_text(FLEET, encoding="utf-8")
    return trace, fleet


@pytest.mark.slow
def test_a_fleet_is_replayed_and_its_files_are_written(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, fleet = files
    out = tmp_path / "out"
    asked = ["simulate", str(trace), "--fleet", str(fleet), "-o", str(out)]
    assert command(asked) == 0
    words = capsys.readouterr().out
    assert "40, 0 refused" in words
    assert "J a request" in words
    once = [(out / name).read_bytes() for name in ("served.parquet", "power.parquet", "summary.json")]
    assert command([*asked, "--json"]) == 0
    assert once == [(out / name).read_bytes() for name in ("served.parquet", "power.parquet", "summary.json")]
    body = json.loads(capsys.readouterr().out)
    assert body == {k: v for k, v in read_json(out / "summary.json", "fleet simulation").items() if k in body}
    assert abs(body["ledger_residual_j"]) < 1e-6
    assert body["cached_tokens"] > 0
    assert body["capping"]["kind"] == "polca"
    assert body["capping"]["seconds_above"] >= 0
    served = read_served(out / "served.parquet")
    assert set(served["replica"]) <= {0, 1, 2}
    parts = sum(served[name].sum() for name in ("prefill_j", "decode_j", "idle_j"))
    assert parts == pytest.approx(body["energy_j"], rel=1e-9)


POLICIES = """
model = "Llama-3.1-8B-Instruct"
routing = "wattlane"
routing_margin = 0.7
routing_balance = 3
length_error = 0.4

[slo]
ttft_s = 2.0

[release]
kind = "carbon"
margin_s = 5.0
carbon_g_per_kwh = [400.0, 120.0]

[scaling]
kind = "dynamo"
period_s = 1800.0
patience = 2

[[pool]]
gpu = "H100"
replicas = 2
[pool.engine]
order = "least-laxity"
patience_s = 3.0
"""


def test_policies_of_a_fleet_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(POLICIES, encoding="utf-8")
    fleet = read_fleet(path)
    assert (fleet.routing, fleet.routing_margin, fleet.routing_balance) == (Routing.WATTLANE, 0.7, 3)
    assert fleet.length_error == 0.4
    assert fleet.slo == Slo(2.0, 0.1)
    assert fleet.release == Release(ReleaseKind.CARBON, margin_s=5.0, carbon_g_per_kwh=(400.0, 120.0))
    assert fleet.scaling == Scaling(ScalingKind.DYNAMO, period_s=1800.0, patience=2)
    assert fleet.pools[0].settings == EngineSettings(order=Order.LEAST_LAXITY, patience_s=3.0)


@pytest.mark.slow
def test_targets_and_tags_of_files_reach_the_policies(tmp_path: Path) -> None:
    trace, path = tmp_path / "few.csv", tmp_path / "fleet.toml"
    rows = "".join(f"{60.0 * i},{100 + i},{1 + i % 30},9000.0,{'true' if i % 2 else 'false'},20\n" for i in range(20))
    columns = "arrival_s,input_tokens,output_tokens,deadline_s,deferrable,predicted_tokens\n"
    trace.write_text(columns + rows, encoding="utf-8")
    path.write_text(POLICIES, encoding="utf-8")
    found = run_fleet(trace, path, slo=Slo(0.001, 0.001))
    assert found.slo == Slo(2.0, 0.1)
    assert found.run.release_s[1::2].tolist() == [3600.0] * 10
    assert found.run.release_s[::2].tolist() == (60.0 * np.arange(20)[::2]).tolist()
    assert found.as_dict()["slo_attainment"] == 0.5  # who is deferred gets its first token an hour late


def test_a_fleet_file_is_read_into_pools(files: tuple[Path, Path]) -> None:
    fleet = read_fleet(files[1], 3)
    first, second = fleet.pools
    assert (first.replicas, len(first.laws), first.prefill_clock, first.decode_clock) == (2, 3, None, 1)
    assert first.draft_law is not None
    assert second.draft_law is None
    assert fleet.seed == 3
    assert fleet.slo == Slo(2.0, 0.05)
    assert fleet.capping == Capping(CapKind.POLCA, 900.0, low_pools=(1,))
    assert first.clocking == Clocking(ClockKind.MIAD, period_s=0.5)
    assert second.clocking.kind is ClockKind.ENERGY_MINIMUM
    assert [rest.name for rest in first.rests] == ["asleep"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("retry_s = 0.5", "retry_s = -1\nretries = 3", "retries"),
        ("retry_s = 0.5", "retry_s = -1\nretries = 3", "retry_s is -1"),
        ('gpu = "A100-80GB"', 'gpu = "A1000"', "unknown GPU"),
        ("acceptance = 0.7", "acceptance = 7.0", "acceptance is 7.0"),
        ("[[scale]]", "[[scale", "not valid TOML"),
        ("period_s = 0.5", "period_s = 0.0", "period_s is 0.0"),
        ("[slo]\nttft_s = 2.0\ntbt_s = 0.05", "", "the fleet no slo"),
    ],
)
def test_what_is_wrong_in_a_fleet_file_is_named(files: tuple[Path, Path], before: str, after: str, said: str) -> None:
    files[1].write_text(FLEET.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_fleet(files[1])


def test_tags_are_read_in_every_form_and_refused_where_they_are_no_numbers(tmp_path: Path) -> None:
    line = '{"arrival_s": %s, "input_tokens": 9, "output_tokens": 1, "prefix_blocks": [%s], "adapter": %s}'
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text("\n".join([line % (2.0, "7, 8", 1), line % (1.0, "5", 0)]), encoding="utf-8")
    tags = read_tags(jsonl, 2)
    assert tags.adapter is not None
    assert tags.prefix_at is not None
    assert (tags.adapter.tolist(), tags.prefix_at.tolist()) == ([0, 1], [0, 1, 3])
    import polars as pl

    pl.read_ndjson(jsonl).write_parquet(tmp_path / "a.parquet")
    assert np.array_equal(read_tags(tmp_path / "a.parquet", 2).prefix_ids, tags.prefix_ids)
    bad = tmp_path / "b.csv"
    bad.write_text("arrival_s,input_tokens,output_tokens,priority\n0,1,1,high\n", encoding="utf-8")
    with pytest.raises(InputError, match="priority holds what is no whole number"):
        read_tags(bad, 1)
    with pytest.raises(InputError, match="expected the 3 of the workload"):
        read_tags(bad, 3)
    for name, value, kind in (("deadline_s", "soon", "number"), ("deferrable", "perhaps", "truth value")):
        bad.write_text(f"arrival_s,input_tokens,output_tokens,{name}\n0,1,1,{value}\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"{name} holds what is no {kind}"):
            read_tags(bad, 1)
    bad.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n", encoding="utf-8")
    assert read_tags(bad, 1).priority is None


def test_sections_of_rules_leave_out_what_the_rules_do() -> None:
    assert Clocking(**ClockingSection().model_dump()) == Clocking()
    section = CappingSection(kind=CapKind.POLCA, budget_w=900.0)
    assert Capping(**section.model_dump()) == Capping(CapKind.POLCA, 900.0)
    assert Slo(**SloSection().model_dump()) == Slo()
