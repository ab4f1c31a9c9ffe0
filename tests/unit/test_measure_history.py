"""Past windows from the samples that Prometheus kept: raw scrape times, units, identity, what is too coarse."""

from __future__ import annotations

import json
import urllib.parse

import pytest
from measure_fake_exporter import UUID, stepped

from wattlane.core.errors import InputError
from wattlane.measure.history import past_energy, read_history, save_history
from wattlane.measure.joining import join
from wattlane.measure.validity.codes import Code
from wattlane.workload.metrics import sources

OTHER = "GPU-11111111-2222-3333-4444-555555555555"
START_S = 1_700_000_000.0
ENERGY_J, POWER_W = stepped(100.0, 500.0, 300.0, 900.0)


class Kept:
    """A Prometheus that scraped boards every `scrape_s`; `asked` keeps what it was asked."""

    def __init__(self, scrape_s=15.0, uuids=(UUID,), apart_s=0.0, extra=()) -> None:
        self.scrape_s, self.uuids, self.apart_s, self.extra, self.asked = scrape_s, uuids, apart_s, extra, []

    def answer(self, address: str) -> object:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
        self.asked.append(asked["query"])
        metric = asked["query"].partition("[")[0].partition("{")[0]
        length_s = float(asked["query"].rpartition("[")[2].removesuffix("ms]")) / 1e3
        end_s = float(asked["time"])
        series = []
        for number, uuid in enumerate(self.uuids):
            for labels in ({}, *self.extra):
                times_s = [START_S + i * self.scrape_s + number * self.apart_s for i in range(-20, 200)]
                kept = [t for t in times_s if end_s - length_s <= t <= end_s]
                value = (lambda t: ENERGY_J(t) * 1e3) if "ENERGY" in metric else POWER_W
                values = [[t, str(value(t - START_S))] for t in kept]
                series.append({"metric": {"__name__": metric, "UUID": uuid, **labels}, "values": values})
        return {"status": "success", "data": {"resultType": "matrix", "result": series}}


@pytest.fixture
def kept(monkeypatch):
    def install(server: Kept) -> Kept:
        monkeypatch.setattr(sources, "_get", lambda address, _headers: server.answer(address))
        return server

    return install


def test_a_past_window_has_its_energy_with_an_interval_that_holds_the_truth(kept):
    server = kept(Kept())
    found = past_energy("http://prom:9090", START_S + 200.0, START_S + 800.0, selector='Hostname="node1"')
    truth_j = ENERGY_J(800.0) - ENERGY_J(200.0)
    assert found.total.energy_j_lo <= truth_j <= found.total.energy_j_hi
    assert found.total.energy_j == pytest.approx(truth_j, rel=0.03)
    assert found.total.source == "prometheus dcgm counter"
    assert list(found.by_gpu) == [UUID]
    assert found.reasons == ()
    assert server.asked[0] == 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{Hostname="node1"}[960000ms]'


def test_raw_samples_keep_the_times_of_the_scrapes_and_the_lag_is_their_distance(kept):
    kept(Kept(scrape_s=30.0))
    readings = read_history("http://prom:9090", START_S + 5.0, START_S + 600.0)[UUID]
    assert {round((reading.time_s - START_S) % 30.0, 3) for reading in readings} == {0.0}
    assert readings[0].lag_s == 30.0
    assert readings[0].energy_j is not None
    assert readings[0].power_w == 100.0


def test_a_window_of_few_scrapes_is_warned_of_and_its_interval_is_wide(kept):
    kept(Kept(scrape_s=30.0))
    found = past_energy("http://prom:9090", START_S + 280.0, START_S + 340.0)
    assert Code.WINDOW_TOO_SHORT in [reason.code for reason in found.reasons]
    truth_j = ENERGY_J(340.0) - ENERGY_J(280.0)
    assert found.total.energy_j_lo <= truth_j <= found.total.energy_j_hi
    assert found.total.budget.half > 0.2 * truth_j


def test_gpus_of_several_hosts_are_worked_out_apart_and_rows_of_mig_count_once(kept):
    kept(Kept(uuids=(UUID, OTHER), apart_s=7.0, extra=({"GPU_I_ID": "3"}, {"GPU_I_ID": "5"})))
    found = past_energy("http://prom:9090", START_S + 350.0, START_S + 850.0)
    assert found.total.energy_j == pytest.approx(2 * 500.0 * 500.0, rel=0.02)
    gains, lags = (
        [one.error_parts[part] for one in (found.total, *found.by_gpu.values())] for part in ("sensor_gain_j", "lag_j")
    )
    assert gains[0] == pytest.approx(sum(gains[1:]))
    assert lags[0] == pytest.approx(sum(lags[1:]))
    assert found.total.budget.own_half < sum(one.budget.own_half for one in found.by_gpu.values())
    with pytest.raises(InputError, match="scraped at different instants"):
        save_history("unused", read_history("http://prom:9090", START_S + 350.0, START_S + 850.0))
    one = past_energy("http://prom:9090", START_S + 350.0, START_S + 850.0, gpus=[OTHER])
    assert list(one.by_gpu) == [OTHER]


def test_what_is_missing_is_told(kept):
    kept(Kept(uuids=()))
    with pytest.raises(InputError, match=r"no samples of GPU GPU-7; found none[\s\S]*no DCGM_FI_DEV_TOTAL_ENERGY"):
        read_history("http://prom:9090", START_S, START_S + 60.0, gpus=["GPU-7"])
    with pytest.raises(InputError, match="expected start < end"):
        sources.raw_samples("http://prom:9090", "up", 5.0, 5.0)


def test_a_saved_history_is_a_record_that_other_tools_results_are_joined_to(kept, tmp_path):
    kept(Kept(uuids=(UUID, OTHER)))
    save_history(tmp_path, read_history("http://prom:9090", START_S + 300.0, START_S + 900.0))
    lines = [
        {
            "metadata": {
                "request_start_ns": int((START_S + s) * 1e9),
                "request_end_ns": int((START_S + s + 250) * 1e9),
            },
            "metrics": {"output_sequence_length": {"value": 50}},
        }
        for s in (350.0, 600.0)
    ]
    result = tmp_path / "profile_export.jsonl"
    result.write_text("\n".join(map(json.dumps, lines)))
    joined = join(result, tmp_path)
    assert joined.energy.energy_j == pytest.approx(2 * 500.0 * 500.0, rel=0.02)
    assert joined.per_output_token.energy_j == pytest.approx(5000.0, rel=0.02)
    bench = {
        "start_times": [5.0],
        "ttfts": [0.1],
        "itls": [[0.1]],
        "input_lens": [1],
        "output_lens": [2],
        "errors": [""],
    }
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    with pytest.raises(InputError, match="holds Unix times only"):
        join(tmp_path / "bench.json", tmp_path)


def test_a_real_server_is_asked_over_http_with_the_headers():
    from measure_fake_exporter import answering

    seen = []
    body = json.dumps(Kept().answer(f"?query=DCGM_FI_DEV_POWER_USAGE[60000ms]&time={START_S + 60}"))
    query = urllib.parse.urlencode({"query": "up[60000ms]", "time": f"{START_S + 60:.3f}"})
    with answering({f"/api/v1/query?{query}": lambda: (seen.append(1), (200, body))[1]}) as url:
        got = sources.raw_samples(f"{url}/", "up", START_S, START_S + 60.0, {"X-Scope-OrgID": "a"})
    assert got["data"]["result"][0]["metric"]["UUID"] == UUID
    assert seen == [1]
