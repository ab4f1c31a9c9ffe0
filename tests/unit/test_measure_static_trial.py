"""Static batches in process: what is counted, in which order, and what is refused, on an engine of exact times."""

from __future__ import annotations

import time

import pytest

from wattlane.core.errors import InputError
from wattlane.core.files import read_json
from wattlane.core.served import read_served
from wattlane.measure.campaigns import static_trial
from wattlane.measure.campaigns.cells import expand
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.campaigns.static_trial import measure_static, take_apart
from wattlane.measure.engines.inprocess import Generated, Stretch
from wattlane.measure.meters.simulated import SimulatedMeter

READ_S, WRITE_S = 0.02, 0.005


class ExactEngine:
    """Reads a batch in READ_S and writes a token in WRITE_S, by sleeping; remembers what it was asked."""

    pid = None

    def __init__(self):
        self.read: list[list[int]] = []
        self.steps: list[int] = []
        self.looped: list[tuple[int, str, str, int]] = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def prefill(self, prompts):
        self.read.append([len(prompt) for prompt in prompts])
        return self._stretch(READ_S)

    def decode(self, steps):
        self.steps.append(steps)
        return tuple(self._stretch(WRITE_S) for _ in range(steps))

    def generate(self, prompts, output_tokens, *, decoding="greedy", batching="static", batch=0):
        self.looped.append((len(prompts), decoding, batching, batch))
        start_s = time.monotonic()
        times_s = [start_s + READ_S + WRITE_S * i for i in range(max(output_tokens))]
        time.sleep(times_s[-1] - start_s)
        rows = tuple(tuple(times_s[:n]) for n in output_tokens)
        answers = tuple(tuple(range(n)) for n in output_tokens)
        return Generated(Stretch(start_s, time.monotonic(), 0.0), answers, None, rows)

    def describe(self):
        return {"name": "exact", "version": "1", "device": "cpu", "options": {"dtype": "float32"}}

    def _stretch(self, length_s):
        start_s = time.monotonic()
        time.sleep(length_s)
        return Stretch(start_s, time.monotonic(), 0.0)


def cell(file, options="batch=2", changes=None):
    text = f'name = "s"\ntarget = "transformers-inprocess:{options}"\n[workload]\nfile = "{file}"\n'
    [one] = expand(parse_grid("s", text, changes))
    return one


@pytest.fixture
def load(tmp_path):
    file = tmp_path / "load.csv"
    rows = [(40, 3), (8, 6), (30, 2), (10, 4)]
    file.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"0,{i},{o}\n" for i, o in rows))
    return file


def test_d6_rows_written_past_their_own_answer_are_in_no_token_count(load, tmp_path, monkeypatch):
    monkeypatch.setattr(static_trial, "IDLE_WINDOW_S", 0.2)
    engine = ExactEngine()
    measure_static(cell(load), 0, tmp_path / "run", SimulatedMeter.constant(100.0), engine)
    assert engine.read[2:] == [[40, 8], [30, 10]]  # behind the warm-up of both phases
    assert engine.steps[2:] == [5, 3]
    body = read_json(tmp_path / "run" / "measurement.json", "measurement")
    assert (body["complete"], body["failed"]) == (True, 0)
    assert not [reason for reason in body["reasons"] if "clock" in reason]
    assert body["tokens"] == {"input": 88, "output": 15}
    assert (body["engine"]["batching"], body["engine"]["kv_cache"]) == ("static", True)
    assert body["engine"]["options"] == {"dtype": "float32", "batch": 2, "order": "data_set", "decoding": "greedy"}
    served = read_served(tmp_path / "run" / "served.parquet")
    assert served["gaps_s"].list.len().to_list() == [2, 5, 1, 3]
    first = served["first_token_s"].to_list()
    assert first[0] == first[1] < first[2] == first[3]
    assert first[2] >= 2 * READ_S + 5 * WRITE_S  # the second batch waits for the longest answer of the first
    # a sleep is never shorter than asked, and as long as a busy machine likes
    assert 2 * READ_S <= body["phases"]["prefill"]["duration_s"] < body["window_s"] - 5 * WRITE_S
    assert body["energy"]["energy_j_lo"] <= 100 * body["window_s"] <= body["energy"]["energy_j_hi"]


def test_d10_sorted_batches_hold_like_lengths(load, tmp_path):
    engine = ExactEngine()
    measure_static(cell(load, "batch=2,order=sorted"), 0, tmp_path / "run", engine=engine)
    assert sorted(sorted(batch) for batch in engine.read[2:]) == [[8, 10], [30, 40]]


def test_warm_up_batches_are_counted_and_their_prompts_are_not_those_of_the_run(load, tmp_path):
    engine = ExactEngine()
    measure_static(cell(load, "batch=4", {"warmup.batches": 3, "warmup.batch": 4}), 0, tmp_path / "run", engine=engine)
    assert engine.read[:-1] == [[128] * 4, [8] * 4] * 3
    assert engine.steps[:-1] == [1, 15] * 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("batching=rolling", "unknown batching 'rolling'"),
        ("decoding=best", "unknown decoding 'best'"),
        ("batching=continuous,decoding=beam", "expected greedy with continuous"),
        ("decoding=assisted,batch=2,assistant=DRAFT", "takes batch=1 and a draft model"),
        ("decoding=assisted", "takes batch=1 and a draft model"),
        ("order=longest", "unknown order 'longest'"),
        ("size=llama-3.1-8b", "unknown model size"),
        ("model=meta/llama", "expected the folder of a checkpoint"),
        ("batch=x", "batch is 'x'"),
    ],
)
def test_what_cannot_be_batched_is_refused_before_an_engine_starts(options, said):
    with pytest.raises(InputError, match=said):
        take_apart(f"transformers-inprocess:{options}", 0)


def test_a_checkpoint_folder_gives_the_range_of_token_ids(tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 32000}')
    asked = take_apart(f"transformers-inprocess:model={tmp_path},dtype=bfloat16,batch=8", 0)
    assert asked.habits.token_ids[1] == 32000
    assert dict(asked.engine.options) == {"model": str(tmp_path), "dtype": "bfloat16"}
    assert asked.batching.batch_size == 8


def test_arrivals_over_time_do_not_fit_static_batches(tmp_path):
    text = 'name = "s"\ntarget = "transformers-inprocess:batch=2"\n[workload]\ntext = "poisson:n=4,rate_rps=1"\n'
    [one] = expand(parse_grid("s", text))
    with pytest.raises(InputError, match="static batches take a burst"):
        measure_static(one, 0, tmp_path / "run", engine=ExactEngine())


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ("batching=continuous,batch=2", [(4, "greedy", "continuous", 2)]),
        ("decoding=sample,batch=2", [(2, "sample", "static", 0)] * 2),
        ("decoding=assisted,assistant=DRAFT", [(1, "assisted", "static", 0)] * 4),
    ],
)
def test_f7_the_librarys_loop_is_asked_for_what_the_target_says_and_its_times_are_kept(load, tmp_path, options, calls):
    engine = ExactEngine()
    measure_static(cell(load, options), 0, tmp_path / "run", engine=engine)
    warm = [(1, *calls[0][1:])] * 2
    assert engine.looped == warm + calls
    assert engine.read == []
    served = read_served(tmp_path / "run" / "served.parquet").sort("request_id")
    assert served["output_tokens"].to_list() == [3, 6, 2, 4]
    assert served["gaps_s"].list.len().to_list() == [2, 5, 1, 3]
    assert served["gaps_s"].explode().to_list() == pytest.approx([WRITE_S] * 11, abs=1e-6)
    assert (served["first_token_s"] - served["release_s"]).to_list() == pytest.approx([READ_S] * 4, abs=1e-6)
    about = read_json(tmp_path / "run" / "measurement.json", "measurement")["engine"]
    assert (about["batching"], about["options"]["decoding"]) == (calls[0][2], calls[0][1])
