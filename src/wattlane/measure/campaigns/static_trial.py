"""A trial in process: static batches, each padded, read, then written up to its longest answer; or the library's loop.

    request of a batch:  sent = prefill begins, first token = prefill ends, token k = step k − 1 of decode ends

A request ends with its own last token although its row is computed until the batch ends; what is computed beyond is in
the energy and in no token count. Waiting for an earlier batch counts in TTFT, from arrival. Continuous batching (all
requests at once, at most `batch` worked on) and decodings other than greedy run the library's own loop, which is
stamped after each of its steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.types import Outcome
from wattlane.core.workload import Workload
from wattlane.measure.assemble import Conditions, Driven, assemble
from wattlane.measure.batches import Batching, Order, make_batches
from wattlane.measure.campaigns.cells import Cell
from wattlane.measure.client import Exchange
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.inprocess import Generated, InProcess, Prompts
from wattlane.measure.engines.transformers_inprocess import BATCHINGS, DECODINGS, NAME, TransformersInProcess
from wattlane.measure.exchanges import to_table
from wattlane.measure.gguf_model import SHAPES
from wattlane.measure.hf_model import FIRST_PLAIN_TOKEN
from wattlane.measure.idling import Before, idle_window, watch_before
from wattlane.measure.pick import Picked, given_meter, pick_meter
from wattlane.measure.prompts import make_prompt
from wattlane.measure.readings import Meter
from wattlane.measure.recorder import Recorder
from wattlane.measure.spec import Spec, parse_spec
from wattlane.measure.trial import IDLE_WINDOW_S
from wattlane.measure.warmup import LOADS, WARMUP_SEED, Preparation
from wattlane.measure.widen import Precision, joined, widened

OWN: dict[str, int | float | str] = {
    "batching": "static",
    "decoding": "greedy",
    "batch": 1,
    "order": Order.DATA_SET.value,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A target taken apart: what the engine is to be, how its requests are batched, which ids its prompts may hold."""

    engine: Spec
    batching: Batching
    habits: Habits
    mode: str = "static"
    decoding: str = "greedy"

    @property
    def is_stepped(self) -> bool:
        """Whether the phases are called one after the other, rather than the library's loop."""
        return self.mode == "static" and self.decoding == "greedy"

    def batches(self, load: Workload) -> list[list[int]]:
        """Return the rows of each batch; continuous batching gets all at once, in their order."""
        if self.mode == "continuous":
            return [list(range(len(load)))]
        return [rows.tolist() for rows in make_batches(load.input_tokens, self.batching)]


def is_static(target: str) -> bool:
    """Return whether a target is called in process."""
    return target.partition(":")[0].strip() == NAME


def take_apart(target: str, seed: int) -> Asked:
    """Return the parts of a target `transformers-inprocess:dtype=...,batch=8,order=sorted`.

    Raises:
        InputError: an option is wrong, or `model` is not the folder of a checkpoint.
    """
    spec = parse_spec(target)
    own = Spec(NAME, {key: value for key, value in spec.options.items() if key in OWN}).options_as(OWN)
    for option, known in (("batching", BATCHINGS), ("decoding", DECODINGS)):
        if own[option] not in known:
            raise UnknownNameError(option, str(own[option]), known)
    if own["batching"] == "continuous" and own["decoding"] != "greedy":
        raise InputError(f"{target}: decoding is {own['decoding']}; expected greedy with continuous batching")
    if own["decoding"] == "assisted" and (int(own["batch"]) > 1 or not spec.options.get("assistant")):
        raise InputError(f"{target}: assisted decoding takes batch=1 and a draft model, assistant=FOLDER")
    if own["order"] not in list(Order):
        raise UnknownNameError("order", str(own["order"]), list(Order))
    engine = Spec(NAME, {key: value for key, value in spec.options.items() if key not in OWN})
    habits = Habits(token_ids=_token_ids(engine))
    batching = Batching(int(own["batch"]), Order(str(own["order"])), seed)
    return Asked(engine, batching, habits, str(own["batching"]), str(own["decoding"]))


def _token_ids(engine: Spec) -> tuple[int, int]:
    model, size = engine.options.get("model"), engine.options.get("size", "tiny")
    if not model:
        if size not in SHAPES:
            raise UnknownNameError("model size", size, SHAPES)
        return FIRST_PLAIN_TOKEN, SHAPES[size].vocabulary_tokens
    try:
        many = int(json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"model is {model!r}; expected the folder of a checkpoint with a config.json") from error
    return min(FIRST_PLAIN_TOKEN, many // 2), many


def measure_static(
    cell: Cell, number: int, folder: Path, meter: Meter | str | None = None, engine: InProcess | None = None
) -> None:
    """Measure a trial of static batches and write the four files of a measurement into `folder`.

    Raises:
        InputError: the target or the workload does not fit static batches.
        MeasurementError: the engine does not start, or cannot do a batch.
    """
    asked, load, seed = take_apart(cell.target, cell.seed), cell.load.workload(cell.seed), cell.seed + number
    if load.span_s > 0:
        raise InputError(f"{cell.load.name}: arrivals span {load.span_s:.3g} s; static batches take a burst")
    batches = asked.batches(load)
    prompts: list[Any] = [make_prompt(asked.habits, r.input_tokens, seed, r.request_id) for r in load]
    given = given_meter(meter)
    folder.mkdir(parents=True, exist_ok=True)
    before = _before(asked.engine, given)
    began_s = time.monotonic()
    with engine or TransformersInProcess(asked.engine) as running:
        ready_s = time.monotonic()
        about = running.describe()
        _warm(running, cell.preparation, asked)
        on_gpu = str(about.get("device", "cpu")) != "cpu"
        picked = given or pick_meter(Habits(runs_on_gpu=on_gpu), pid=running.pid)
        recorder = Recorder(picked.meter, running.pid)
        work = _Work(load, prompts, batches, asked)
        driven = _drive(running, work, recorder, cell.precision, bool(picked.meter))
    own = {"batch": asked.batching.batch_size, "order": asked.batching.order.value, "decoding": asked.decoding}
    about |= {"batching": asked.mode, "kv_cache": True, "options": {**about.get("options", {}), **own}}
    conditions = Conditions(
        cell.target, about, load, None, folder, seed, cell.slo, picked, cell.cpu_watts, open_loop=False
    )
    result = assemble(conditions, replace(driven, before=before), recorder)
    durations_s = {"engine_start": ready_s - began_s, "window": result.window_s, "whole": time.monotonic() - began_s}
    result.write(driven.table, recorder.table(driven.start_s), durations_s)


def _before(engine: Spec, given: Picked | None) -> Before:
    on_gpu = False if engine.options.get("device") == "cpu" else None
    every = given or pick_meter(Habits(runs_on_gpu=on_gpu), started=False)
    return watch_before(every, IDLE_WINDOW_S, runs_on_gpu=on_gpu)


def _warm(engine: InProcess, preparation: Preparation, asked: Asked) -> None:
    for number in range(preparation.batches):
        for phase, (input_tokens, output_tokens) in enumerate(LOADS):
            first = (number * len(LOADS) + phase) * preparation.batch
            numbers = range(first, first + preparation.batch)
            batch: list[Any] = [make_prompt(asked.habits, input_tokens, WARMUP_SEED, i) for i in numbers]
            if asked.is_stepped:
                engine.prefill(batch)
                engine.decode(output_tokens - 1)
                continue
            for prompts in [batch] if asked.decoding != "assisted" else [[prompt] for prompt in batch]:
                _answered(engine, prompts, [output_tokens] * len(prompts), asked)
    time.sleep(preparation.settle_s)


@dataclass(frozen=True, slots=True)
class _Work:
    load: Workload
    prompts: Sequence[Any]
    batches: Sequence[list[int]]
    asked: Asked


def _drive(engine: InProcess, work: _Work, recorder: Recorder, precision: Precision | None, idle: bool) -> Driven:
    idle_edges_s = None
    with recorder:
        if idle:
            idle_edges_s = idle_window(recorder, IDLE_WINDOW_S)
        driven = widened(lambda passes: _window(engine, work, recorder, passes), recorder, precision)
    return replace(driven, idle_edges_s=idle_edges_s)


def _window(engine: InProcess, work: _Work, recorder: Recorder, passes: int) -> Driven:
    cpu_s, start_s, wall_s = time.process_time(), recorder.mark(), time.time()
    tables = []
    for number in range(passes):
        began_s = time.monotonic() if number else start_s
        tables.append((to_table(work.load, _pass(engine, work), began_s), began_s))
    end_s = recorder.mark()
    clocks_s = ((start_s, wall_s), (end_s, time.time()))
    used_s = time.process_time() - cpu_s
    return Driven(joined(tables), None, start_s, end_s, used_s, False, None, clocks_s, passes=passes)


def _pass(engine: InProcess, work: _Work) -> list[Exchange]:
    exchanges = [Exchange() for _ in work.prompts]
    for rows in work.batches:
        lengths = [int(work.load.output_tokens[row]) for row in rows]
        if not work.asked.is_stepped:
            _looped(engine, work, rows, lengths, exchanges)
            continue
        read = engine.prefill([work.prompts[row] for row in rows])
        written = engine.decode(max(lengths) - 1)
        ends_s = [read.end_s, *(step.end_s for step in written)]
        for row, tokens in zip(rows, lengths, strict=True):
            exchange = exchanges[row]
            exchange.sent_s, exchange.text_s, exchange.end_s = read.start_s, ends_s[:tokens], ends_s[tokens - 1]
            exchange.input_tokens, exchange.output_tokens = len(work.prompts[row]), tokens
            exchange.cached_tokens, exchange.prompt_ms = 0, read.duration_s * 1e3
            exchange.outcome = Outcome.COMPLETED
    return exchanges


def _answered(engine: InProcess, prompts: Prompts, lengths: Sequence[int], asked: Asked) -> Generated:
    at_once = asked.batching.batch_size if asked.mode == "continuous" else 0
    return engine.generate(prompts, lengths, decoding=asked.decoding, batching=asked.mode, batch=at_once)


def _looped(
    engine: InProcess, work: _Work, rows: Sequence[int], lengths: Sequence[int], exchanges: Sequence[Exchange]
) -> None:
    """Have the library's loop answer a batch; enter what it did into `exchanges`."""
    answer = _answered(engine, [work.prompts[row] for row in rows], lengths, work.asked)
    for row, tokens, times_s in zip(rows, lengths, answer.token_s, strict=True):
        exchange = exchanges[row]
        exchange.sent_s, exchange.text_s, exchange.end_s = answer.stretch.start_s, list(times_s), times_s[-1]
        exchange.input_tokens, exchange.output_tokens = len(work.prompts[row]), tokens
        exchange.cached_tokens = 0
        if work.asked.mode == "static":  # continuous batching lets a request wait before it is read
            exchange.prompt_ms = (times_s[0] - answer.stretch.start_s) * 1e3
        exchange.outcome = Outcome.COMPLETED
