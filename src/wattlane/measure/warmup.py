"""Warm both phases before the clock starts: a long prompt with a short answer, a short prompt with a long answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Outcome
from wattlane.measure.blocking import run_blocking
from wattlane.measure.client import COMPLETIONS, Exchange, completion_body, encode, session, stream
from wattlane.measure.engines.base import Engine
from wattlane.measure.prompts import make_prompt

if TYPE_CHECKING:
    import aiohttp

LOADS = ((128, 2), (8, 16))  # (input tokens, output tokens)
LIMIT_S = 120.0
WARMUP_SEED = 2**31  # far from the seeds of runs: a prefix cache must not keep a prompt of the run


@dataclass(frozen=True, slots=True)
class Preparation:
    """What comes before the clock: `batches` times `batch` requests of each phase, then `settle_s` of rest."""

    batches: int = 1
    batch: int = 1
    settle_s: float = 0.0

    def problems(self) -> list[str]:
        """Return what is wrong with the values."""
        found = [
            f"{name} is {value}; expected at least 1"
            for name, value in (("batches", self.batches), ("batch", self.batch))
            if value < 1
        ]
        return found if self.settle_s >= 0 else [*found, f"settle_s is {self.settle_s}; expected seconds of at least 0"]


ONCE = Preparation()


def warm_up(engine: Engine, preparation: Preparation = ONCE) -> None:
    """Send the requests of both phases, a batch at a time, wait for all of them, and rest.

    Raises:
        MeasurementError: one of them did not complete, so nothing could be measured.
    """
    exchanges = run_blocking(_send(engine, preparation))
    for exchange in exchanges:
        if exchange.outcome is not Outcome.COMPLETED:
            ended = engine.exit_reason()
            tail = f"; {ended}" if ended else ""
            raise MeasurementError(
                f"the warm-up request to {engine.base_url}{COMPLETIONS} ended as {exchange.outcome.value}: "
                f"{exchange.error}{tail}; expected a completed stream; check the model name and the server's log"
            )
    time.sleep(preparation.settle_s)


async def _send(engine: Engine, preparation: Preparation) -> list[Exchange]:
    exchanges: list[Exchange] = []
    async with session(LIMIT_S) as client:
        for number in range(preparation.batches):
            for phase in range(len(LOADS)):
                first = number * preparation.batch * len(LOADS) + phase
                numbers = range(first, first + preparation.batch * len(LOADS), len(LOADS))  # no two prompts alike
                exchanges += await asyncio.gather(*(_one(client, engine, i) for i in numbers))
    return exchanges


async def _one(client: aiohttp.ClientSession, engine: Engine, number: int) -> Exchange:
    input_tokens, output_tokens = LOADS[number % len(LOADS)]
    prompt = make_prompt(engine.habits, input_tokens, WARMUP_SEED, number)
    body = completion_body(engine.model, prompt, output_tokens, engine.habits.request_fields)
    exchange = Exchange()
    await stream(client, engine.base_url + COMPLETIONS, encode(body), exchange)
    return exchange
