"""Warm both phases before the clock starts: a long prompt with a short answer, a short prompt with a long answer."""

from __future__ import annotations

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Outcome
from wattlane.measure.blocking import run_blocking
from wattlane.measure.client import COMPLETIONS, Exchange, completion_body, encode, session, stream
from wattlane.measure.engines.base import Engine
from wattlane.measure.prompts import make_prompt

LOADS = ((128, 2), (8, 16))  # (input tokens, output tokens)
LIMIT_S = 120.0
WARMUP_SEED = 2**31  # far from the seeds of runs: a prefix cache must not keep a prompt of the run


def warm_up(engine: Engine) -> None:
    """Send one request per phase and wait for both.

    Raises:
        MeasurementError: one of them did not complete, so nothing could be measured.
    """
    exchanges = run_blocking(_send(engine))
    for exchange in exchanges:
        if exchange.outcome is not Outcome.COMPLETED:
            ended = engine.exit_reason()
            tail = f"; {ended}" if ended else ""
            raise MeasurementError(
                f"the warm-up request to {engine.base_url}{COMPLETIONS} ended as {exchange.outcome.value}: "
                f"{exchange.error}{tail}; expected a completed stream; check the model name and the server's log"
            )


async def _send(engine: Engine) -> list[Exchange]:
    exchanges = []
    async with session(LIMIT_S) as client:
        for i, (input_tokens, output_tokens) in enumerate(LOADS):
            prompt = make_prompt(engine.habits, input_tokens, WARMUP_SEED, i)
            body = completion_body(engine.model, prompt, output_tokens, engine.habits.request_fields)
            exchange = Exchange()
            await stream(client, engine.base_url + COMPLETIONS, encode(body), exchange)
            exchanges.append(exchange)
    return exchanges
