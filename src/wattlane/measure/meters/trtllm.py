"""GPU energy from TensorRT-LLM itself: `GET /energy_metrics` of `trtllm-serve` with `enable_energy_metrics: true`.

    {"total_energy_j": 1234.5678, "query_time": 98765.4321}      HTTP 200
    {"error": "Energy monitoring is not available"}              HTTP 503: not switched on, or NVML failed

`total_energy_j` counts up from the start of the server: NVML's counters of its GPUs, summed. `query_time` is the
server's `time.perf_counter()` right after they were read; it dates the counter free of the wait for the answer, once
the offset of that clock is known. Each answer brackets the offset, and brackets are intersected:

    sent − query_time <= offset <= received − query_time

What to know: a server that spans more GPUs than its node sees scales the sum up by (world size / GPUs seen); that part
is not measured and the endpoint does not say so. There is no power, so nothing to check the counter against.
Source: NVIDIA/TensorRT-LLM, serve/openai_server.py (`get_energy_metrics`) and bench/benchmark/utils/energy_monitor.py,
merged with pull requests 11397 and 11855 (2026-03), read 2026-11; not tried against a running server.
"""

from __future__ import annotations

import json
import math
import time
import urllib.error
from collections.abc import Callable
from functools import partial
from typing import Any

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Boundary
from wattlane.measure.engines.ask import get
from wattlane.measure.readings import Channel, Reading

SOURCE = "trtllm"
PAGE = "/energy_metrics"
ENERGY, WHEN = "total_energy_j", "query_time"
PACE_S = 0.1  # each look runs in the server's own loop: do not disturb it
LIMIT_S = 2.0
DRIFT = 1e-4  # clocks of two hosts may part by so many seconds a second


class Offset:
    """Intersects brackets of (our clock − the server's clock), widened as clocks drift apart."""

    def __init__(self) -> None:
        self._lo, self._hi, self._at_s = float("-inf"), float("inf"), 0.0

    def see(self, sent_s: float, received_s: float, server_s: float) -> float:
        """Take one answer and return when, on our clock, the server read its counters."""
        slack_s = DRIFT * max(received_s - self._at_s, 0.0)
        lo, hi = max(self._lo - slack_s, sent_s - server_s), min(self._hi + slack_s, received_s - server_s)
        if lo > hi:  # the server was started again: its clock has another zero
            lo, hi = sent_s - server_s, received_s - server_s
        self._lo, self._hi, self._at_s = lo, hi, received_s
        return min(max(server_s + (lo + hi) / 2, sent_s), received_s)


class TrtllmMeter:
    """Reads the energy endpoint of the server at `base_url`.

    Raises:
        MeasurementError: it does not answer, has the endpoint switched off, or answers in a form that is not known.
    """

    def __init__(
        self,
        base_url: str,
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.url = base_url.rstrip("/").removesuffix("/v1").removesuffix(PAGE) + PAGE
        self._clock = clock
        self._fetch = fetch or partial(get, limit_s=LIMIT_S)
        self._offset = Offset()
        self._last: Reading | None = None
        try:
            self._look()
        except urllib.error.HTTPError as error:
            raise MeasurementError(_refused(self.url, error)) from error
        except OSError as error:
            raise MeasurementError(
                f"no server answers at {self.url} ({error}); start it or correct the address"
            ) from error
        except ValueError as error:
            raise MeasurementError(
                f'{self.url}: {error}; expected {{"{ENERGY}": J, "{WHEN}": s}} as TensorRT-LLM of 2026 writes it'
            ) from error

    def read(self) -> Reading:
        """Return the server's counter, dated by its own clock; without a value where it did not answer in that form."""
        asked_s = self._clock()
        if self._last is not None and asked_s - self._last.time_s < PACE_S:
            return self._last
        try:
            time_s, energy_j = self._look()
        except (OSError, ValueError):
            time_s, energy_j = self._clock(), None
        if self._last is not None:
            time_s = max(time_s, self._last.time_s)
        self._last = Reading(time_s, SOURCE, Boundary.GPU, (Channel(SOURCE, energy_j=energy_j),))
        return self._last

    def _look(self) -> tuple[float, float | None]:
        sent_s = self._clock()
        body = self._fetch(self.url)
        received_s = self._clock()
        energy_j, server_s = read_answer(json.loads(body))
        return self._offset.see(sent_s, received_s, server_s), energy_j


def read_answer(body: Any) -> tuple[float, float]:
    """Return (joules since the server's start, the server's seconds) of an answer.

    Raises:
        ValueError: it has another form.
    """
    if not isinstance(body, dict):
        raise ValueError(f"found a JSON {type(body).__name__}")
    wrong = [name for name in (ENERGY, WHEN) if not _is_number(body.get(name))]
    if wrong:
        raise ValueError(
            f"found keys {', '.join(map(repr, sorted(body))) or 'none'}, no number under {', '.join(wrong)}"
        )
    return float(body[ENERGY]), float(body[WHEN])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refused(url: str, error: urllib.error.HTTPError) -> str:
    with error:
        if error.code == 503:
            return (
                f"{url}: the server does not meter its energy (HTTP 503); start trtllm-serve with a config of "
                "enable_energy_metrics: true, and with NVML in reach"
            )
        return f"{url} answers HTTP {error.code}; expected trtllm-serve of TensorRT-LLM 1.3 or newer at this address"
