"""Charge another load generator's requests with our power record: AIPerf, GuideLLM and vLLM's bench drive, we meter.

    with record(folder, meter):          telemetry.parquet and clock.json, which says when its zero was
        ... the other tool drives the server ...
    join(result_file, folder)            energy from the first start to the last end of its requests

| file | clock of its times | one request is |
|---|---|---|
| AIPerf `profile_export.jsonl` | unix, ns | a line; warm-up lines are left out |
| GuideLLM `benchmarks.json` | unix, s | an entry under successful, errored or incomplete |
| vLLM bench `--save-result --save-detailed` | the client's monotonic clock, s | an index of its lists |

A monotonic clock is shared by the processes of one machine since its boot, so vLLM's file joins on the machine it was
made on only. Failed requests lengthen the window and add their joules; they are not in the denominator.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import existing, read_json, read_parquet, writable, write_json, write_parquet
from wattlane.measure.account import Energy, metered
from wattlane.measure.meters.replay import readings_of
from wattlane.measure.ratios import over
from wattlane.measure.readings import Meter
from wattlane.measure.recorder import Recorder
from wattlane.measure.result import TELEMETRY_KIND

CLOCK_KIND = "clock"
UNIX, MONOTONIC = "unix_s", "monotonic_s"


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request as another tool saw it, seconds on that tool's clock; tokens None where it did not say."""

    start_s: float
    end_s: float
    input_tokens: int | None
    output_tokens: int | None
    completed: bool


@dataclass(frozen=True, slots=True)
class ClientRun:
    """All requests of one result file. `clock` names the key of `clock.json` that its times are on.

    `refused` failed before they were sent: they have no times.
    """

    tool: str
    clock: str
    requests: tuple[ClientRequest, ...]
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Energy of the window that another tool's requests span. Ratios are absent where a count is not known."""

    tool: str
    requests: int
    failed: int
    input_tokens: int | None
    output_tokens: int | None
    start_s: float
    end_s: float
    energy: Energy

    @property
    def window_s(self) -> float:
        """Length of the window, seconds."""
        return self.end_s - self.start_s

    @property
    def per_output_token(self) -> Energy:
        """All joules of the window, prefill and idle included, over the output tokens of completed requests."""
        return over(self.energy, self.output_tokens)

    @property
    def per_request(self) -> Energy:
        """All joules of the window over completed requests."""
        return over(self.energy, self.requests - self.failed)


@contextmanager
def record(folder: Path | str, meter: Meter) -> Iterator[Recorder]:
    """Record `meter` for the length of the block and write `telemetry.parquet` and `clock.json` into `folder`."""
    out, recorder = writable(Path(folder)), Recorder(meter, None)
    zero = {MONOTONIC: time.monotonic(), UNIX: time.time()}
    try:
        with recorder:
            yield recorder
    finally:
        write_parquet(out / "telemetry.parquet", TELEMETRY_KIND, recorder.table(zero[MONOTONIC]))
        write_json(out / "clock.json", CLOCK_KIND, zero)


def join(result: Path | str, folder: Path | str) -> Joined:
    """Return the energy of the requests in `result` from the record in `folder`.

    Raises:
        InputError: a file is missing, or the record and the requests do not overlap.
        FileFormatError: the result is of no known tool, or holds no times per request.
    """
    run, out = read_client(Path(result)), Path(folder)
    zero = read_json(out / "clock.json", CLOCK_KIND)
    if run.clock not in zero:
        raise InputError(
            f"{result}: {run.tool} writes times of a monotonic clock; the record in {out} holds Unix times only; use a "
            "result of AIPerf or GuideLLM, or record on the client's machine"
        )
    zero_s = float(zero[run.clock])
    readings = readings_of(read_parquet(out / "telemetry.parquet", TELEMETRY_KIND, ["time_s", "source", "device"]))
    start_s = min(request.start_s for request in run.requests) - zero_s
    end_s = max(request.end_s for request in run.requests) - zero_s
    first_s, last_s = readings[0].time_s, readings[-1].time_s
    if start_s < first_s or end_s > last_s:
        raise InputError(
            f"{result}: its requests ran from {start_s:.1f} s to {end_s:.1f} s on the clock of {out}, whose record "
            f"reaches from {first_s:.1f} s to {last_s:.1f} s; record from before the first to after the last request"
        )
    done = [request for request in run.requests if request.completed]
    return Joined(
        run.tool,
        len(run.requests) + run.refused,
        len(run.requests) + run.refused - len(done),
        _sum([request.input_tokens for request in done]),
        _sum([request.output_tokens for request in done]),
        start_s,
        end_s,
        metered(readings, start_s, end_s),
    )


def read_client(path: Path) -> ClientRun:
    """Return the requests of a result file, its tool told from its keys.

    Raises:
        FileFormatError: no known tool writes such a file, or it holds no request with times.
    """
    text = existing(path).read_text(encoding="utf-8")
    try:
        body = json.loads(text)
    except json.JSONDecodeError:
        body = None
    try:
        if isinstance(body, dict) and "benchmarks" in body:
            run = _guidellm(body)
        elif isinstance(body, dict) and "start_times" in body:
            run = _vllm(body)
        elif body is None or "metadata" in body:
            run = _aiperf(_lines(path, text))
        else:
            raise FileFormatError(
                f"{path}: found keys {', '.join(map(str, list(body)[:8]))}; expected AIPerf's profile_export.jsonl, "
                "GuideLLM's benchmarks.json, or a vLLM bench result made with --save-result --save-detailed"
            )
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{path}: {_missing(error)}; a request lacks its times or counts, or has other kinds of them"
        ) from error
    if not run.requests:
        raise FileFormatError(f"{path}: found no request of {run.tool}; expected at least 1 with its times")
    return run


def _lines(path: Path, text: str) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise FileFormatError(
                f"{path}: line {number} is not JSON ({error.msg}); expected AIPerf's result (one JSON object a line), "
                "GuideLLM's or vLLM bench's (one JSON file); it is cut short or of another kind"
            ) from error
    return found


def _aiperf(lines: Sequence[Mapping[str, Any]]) -> ClientRun:
    found = []
    for line in lines:
        about, metrics = line["metadata"], line.get("metrics") or {}
        if about.get("benchmark_phase", "profiling") != "profiling":
            continue
        inputs, outputs = (
            _count(metrics.get(name, {}).get("value")) for name in ("input_sequence_length", "output_sequence_length")
        )
        completed = not (line.get("error") or about.get("was_cancelled"))
        times = (about["request_start_ns"] / 1e9, about["request_end_ns"] / 1e9)
        found.append(ClientRequest(*times, inputs, outputs, completed))
    return ClientRun("AIPerf", UNIX, tuple(found))


def _guidellm(body: Mapping[str, Any]) -> ClientRun:
    found = []
    for benchmark in body["benchmarks"]:
        for kind, entries in benchmark["requests"].items():
            for entry in entries if isinstance(entries, list) else []:
                if entry.get("request_start_time") is None:  # it was never sent
                    continue
                counts = (_count(entry.get("prompt_tokens")), _count(entry.get("output_tokens")))
                times = (float(entry["request_start_time"]), float(entry["request_end_time"]))
                found.append(ClientRequest(*times, *counts, kind == "successful"))
    return ClientRun("GuideLLM", UNIX, tuple(found))


def _vllm(body: Mapping[str, Any]) -> ClientRun:
    names = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
    found, refused = [], 0
    for start_s, ttft_s, gaps_s, inputs, outputs, error in zip(*(body[name] for name in names), strict=True):
        if start_s <= 0:  # it failed before it was sent
            refused += 1
            continue
        end_s = float(start_s) + float(ttft_s) + sum(gaps_s)
        found.append(ClientRequest(float(start_s), end_s, _count(inputs), _count(outputs), not error))
    return ClientRun("vLLM bench", MONOTONIC, tuple(found), refused)


def _missing(error: Exception) -> str:
    return f"found no key {error}" if isinstance(error, KeyError) else str(error)


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 0 else None


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
