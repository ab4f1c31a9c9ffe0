"""Send a workload to a server on time and record every request.

Open loop: each request is sent at its release (its arrival, unless the workload holds it) whatever happened to the ones
before, so a slow server is not spared its own queue (no coordinated omission). With `concurrency` at most that many are
in flight; a request held back for it still counts its TTFT from arrival. The schedule and the encoded requests exist
before the clock starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError
from wattlane.core.types import Outcome
from wattlane.core.workload import Workload
from wattlane.measure.blocking import run_blocking
from wattlane.measure.client import CHAT, COMPLETIONS, Exchange, chat_body, completion_body, encode, session, stream
from wattlane.measure.engines.base import Habits
from wattlane.measure.exchanges import to_table
from wattlane.measure.fair_loop import new_loop, no_collection
from wattlane.measure.prompts import make_prompt

if TYPE_CHECKING:
    import aiohttp
    import polars as pl

LOOK_S = 0.2  # how often the dispatcher looks whether the engine still runs while it waits for an arrival
DEFAULT_LIMIT_S = 600.0

Progress = Callable[[int, int, int], None]
"""Called with (ended, failed, offered) after each request."""


def no_progress(_ended: int, _failed: int, _offered: int) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How to send: `limit_s` bounds each request, `concurrency` of None is a pure open loop.

    `start_clock` is called once, when everything is ready; the monotonic time it returns is the zero of arrivals.
    """

    model: str
    habits: Habits = field(default_factory=Habits)
    seed: int = 0
    concurrency: int | None = None
    limit_s: float = DEFAULT_LIMIT_S
    chat: bool = False
    exit_reason: Callable[[], str | None] = lambda: None
    on_progress: Progress = no_progress
    start_clock: Callable[[], float] = time.monotonic


class DriveInterruptedError(KeyboardInterrupt):
    """Raised on Ctrl-C while driving; `table` holds every request, the unfinished ones as cancelled."""

    def __init__(self, table: pl.DataFrame) -> None:
        super().__init__("interrupted while driving the workload")
        self.table = table


def drive(base_url: str, workload: Workload, delivery: Delivery) -> pl.DataFrame:
    """Return one row per request in the columns of `served.parquet` and those of `wattlane.measure.exchanges`.

    Times are seconds on the monotonic clock since the first instant of the run. Failed requests are rows too.

    Raises:
        InputError: the concurrency or the time limit is not positive.
        DriveInterruptedError: Ctrl-C; carries the table so far.
    """
    problems = []
    if delivery.concurrency is not None and delivery.concurrency < 1:
        problems.append(f"concurrency is {delivery.concurrency}; expected at least 1")
    if not delivery.limit_s > 0:
        problems.append(f"limit_s is {delivery.limit_s}; expected seconds above 0")
    if problems:
        raise InputError.gathered("delivery", problems)
    bodies = [encode(body) for body in _bodies(workload, delivery)]
    exchanges = [Exchange() for _ in range(len(workload))]
    run = _Run(base_url + (CHAT if delivery.chat else COMPLETIONS), workload, delivery, bodies, exchanges)
    try:
        with no_collection():
            run_blocking(run.go(), new_loop)
    except KeyboardInterrupt:
        raise DriveInterruptedError(to_table(workload, exchanges, run.start_s)) from None
    return to_table(workload, exchanges, run.start_s)


def _bodies(workload: Workload, delivery: Delivery) -> list[dict[str, object]]:
    make, habits = (chat_body if delivery.chat else completion_body), delivery.habits
    if delivery.chat:
        habits = Habits(request_fields=habits.request_fields)  # chat messages are text
    return [
        make(
            delivery.model,
            make_prompt(habits, request.input_tokens, delivery.seed, request.request_id),  # type: ignore[arg-type]
            request.output_tokens,
            habits.request_fields,
        )
        for request in workload
    ]


class _Run:
    """One pass over the schedule; owns its clock and its counters."""

    def __init__(
        self, url: str, workload: Workload, delivery: Delivery, bodies: Sequence[bytes], exchanges: list[Exchange]
    ) -> None:
        self.url = url
        self.workload = workload
        self.delivery = delivery
        self.bodies = bodies
        self.exchanges = exchanges
        self.start_s = time.monotonic()
        self._ended = 0
        self._failed = 0

    async def go(self) -> None:
        """Send everything and wait for every stream to end; on cancellation stop the open ones first."""
        slots = asyncio.Semaphore(self.delivery.concurrency or len(self.workload))
        tasks: list[asyncio.Task[None]] = []
        async with session(self.delivery.limit_s) as client:
            self.start_s = self.delivery.start_clock()
            try:
                for i, release_s in enumerate(self.workload.release_s.tolist()):
                    gone = await self._until(self.start_s + release_s)
                    if gone:
                        self._give_up(i, gone)
                        break
                    tasks.append(asyncio.create_task(self._one(client, slots, i)))
                await asyncio.gather(*tasks)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for exchange in self.exchanges:
                    if exchange.sent_s is None:
                        exchange.outcome, exchange.error = Outcome.CANCELLED, "not sent: interrupted by the user"
                raise

    async def _one(self, client: aiohttp.ClientSession, slots: asyncio.Semaphore, i: int) -> None:
        exchange = self.exchanges[i]
        async with slots:
            await stream(client, self.url, self.bodies[i], exchange)
        self._count(exchange)

    async def _until(self, time_s: float) -> str | None:
        """Wait for `time_s`; return early with the reason if the engine has ended."""
        while True:
            gone = self.delivery.exit_reason()
            rest_s = time_s - time.monotonic()
            if gone or rest_s <= 0:
                return gone
            await asyncio.sleep(min(rest_s, LOOK_S))

    def _give_up(self, first: int, reason: str) -> None:
        for exchange in self.exchanges[first:]:
            exchange.error = f"not sent: {reason}"
            self._count(exchange)

    def _count(self, exchange: Exchange) -> None:
        self._ended += 1
        self._failed += exchange.outcome is not Outcome.COMPLETED
        self.delivery.on_progress(self._ended, self._failed, len(self.exchanges))
