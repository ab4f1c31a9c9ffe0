"""One streaming request, recorded: when it was sent, when each piece of text came, what the server counted.

Every connection is used once: llama.cpp's server closes after a stream, and a reused connection then fails one request
in four. A failed request is a record like any other; nothing here raises for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from wattlane.core.env import api_key
from wattlane.core.types import Outcome
from wattlane.measure.sse import Chunk, EventBuffer, error_text, read_chunk

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
ERROR_LIMIT_CHARS = 300
JSON_HEADER = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Exchange:
    """What happened to one request. Times on the monotonic clock, seconds; counts as the server reports them.

    `text_s` holds the arrival of every chunk with text: `len(text_s)` chunks for `output_tokens` tokens, which may be
    more (several tokens in a chunk, bytes of a character held back).
    """

    sent_s: float | None = None
    end_s: float | None = None
    finish_s: float | None = None
    text_s: list[float] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_ms: float | None = None
    predicted_ms: float | None = None
    finish_reason: str | None = None
    http_status: int | None = None
    error: str | None = None
    outcome: Outcome = Outcome.FAILED
    saw_done: bool = False

    def note(self, chunk: Chunk, now_s: float) -> None:
        """Add what one event said."""
        if chunk.has_text:
            self.text_s.append(now_s)
        if chunk.finish_reason:
            self.finish_reason, self.finish_s = chunk.finish_reason, now_s
        self.saw_done = self.saw_done or chunk.is_done
        self.error = chunk.error or self.error
        if chunk.usage:
            details = chunk.usage.get("prompt_tokens_details")
            self.input_tokens = _count(chunk.usage.get("prompt_tokens"))
            self.output_tokens = _count(chunk.usage.get("completion_tokens"))
            self.cached_tokens = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        if chunk.timings:
            self.prompt_ms = _number(chunk.timings.get("prompt_ms"))
            self.predicted_ms = _number(chunk.timings.get("predicted_ms"))

    def close(self) -> None:
        """Judge a stream that ended without a transport error: it is complete if the server said so."""
        if self.error is not None:
            self.outcome = Outcome.FAILED
        elif self.finish_reason is not None or self.saw_done:
            self.outcome = Outcome.COMPLETED
        else:
            self.error = "the stream ended before the server said it was finished"


def session(limit_s: float) -> aiohttp.ClientSession:
    """Return a client session for any number of streams, each on a connection of its own, `limit_s` at most each."""
    key = api_key()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=limit_s),
        headers={"Authorization": f"Bearer {key}"} if key else None,
    )


def completion_body(
    model: str, prompt: str | list[int], output_tokens: int, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the body of a streaming `/v1/completions` request that asks for usage."""
    return {"model": model, "prompt": prompt, **_common(output_tokens), **(extra or {})}


def chat_body(model: str, prompt: str, output_tokens: int, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of a streaming `/v1/chat/completions` request that asks for usage."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, **_common(output_tokens), **(extra or {})}


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a request body; made before the clock starts, so that sending costs little."""
    return json.dumps(body, separators=(",", ":")).encode()


async def stream(client: aiohttp.ClientSession, url: str, body: bytes, exchange: Exchange) -> None:
    """Send one encoded request and fill `exchange` until its stream ends; only a cancellation is raised."""
    exchange.sent_s = time.monotonic()
    try:
        async with client.post(url, data=body, headers=JSON_HEADER) as response:
            exchange.http_status = response.status
            if response.status != 200:
                exchange.error = await _refusal(response)
                exchange.outcome = Outcome.FAILED if response.status >= 500 else Outcome.REFUSED
            else:
                await _read(response, exchange)
                exchange.close()
    except TimeoutError:
        exchange.outcome, exchange.error = Outcome.TIMED_OUT, "no end within the time limit"
    except (aiohttp.ClientError, OSError) as error:
        exchange.outcome, exchange.error = Outcome.FAILED, f"{type(error).__name__}: {error}"[:ERROR_LIMIT_CHARS]
    except asyncio.CancelledError:
        exchange.outcome, exchange.error = Outcome.CANCELLED, "interrupted by the user"
        raise
    finally:
        exchange.end_s = time.monotonic()


async def _read(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    buffer = EventBuffer()
    async for received in response.content.iter_any():
        now_s = time.monotonic()
        for data in buffer.feed(received):
            exchange.note(read_chunk(data), now_s)
    for data in buffer.close():
        exchange.note(read_chunk(data), time.monotonic())


async def _refusal(response: aiohttp.ClientResponse) -> str:
    text = (await response.content.read(4096)).decode("utf-8", errors="replace")
    try:
        body = json.loads(text)
    except json.JSONDecodeError:
        body = None
    said = error_text(body["error"]) if isinstance(body, dict) and "error" in body else text.strip()
    return f"HTTP {response.status}: {said}"[:ERROR_LIMIT_CHARS]


def _common(output_tokens: int) -> dict[str, Any]:
    return {
        "max_tokens": output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value >= 0 else None
