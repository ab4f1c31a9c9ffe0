"""A local HTTP server that speaks the three dialects of streaming, and the ways a stream can go wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]


def text(piece: str, finish: str | None = None) -> Json:
    return {"choices": [{"index": 0, "text": piece, "finish_reason": finish}]}


def usage(prompt: int, completion: int) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": {"cached_tokens": 0}}


def llamacpp(n_in: int, n_out: int) -> Iterator[Json | str]:
    """One chunk per token; usage and timings in the finish chunk; [DONE]."""
    for _ in range(n_out):
        yield text("ab")
    yield text("", "length") | {"usage": usage(n_in, n_out), "timings": {"prompt_ms": 4.0, "predicted_ms": 6.0}}
    yield "[DONE]"


def vllm(n_in: int, n_out: int) -> Iterator[Json | str]:
    """Two tokens per chunk; usage in a chunk without choices; [DONE]."""
    for i in range(0, n_out, 2):
        yield text("abab", "length" if i + 2 >= n_out else None)
    yield {"choices": [], "usage": usage(n_in, n_out)}
    yield "[DONE]"


def transformers(n_in: int, n_out: int) -> Iterator[Json | str]:
    """Role chunk, then chat deltas; usage in the finish chunk; the stream just ends."""
    yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}
    for _ in range(n_out):
        yield {"choices": [{"index": 0, "delta": {"content": "ab"}}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "usage": usage(n_in, n_out)}


DIALECTS = {"llamacpp": llamacpp, "vllm": vllm, "transformers": transformers}


class FakeServer:
    """Answers with a dialect, or with the fault named in `behaviour`; `seen` keeps the request bodies."""

    def __init__(self, behaviour: str, pause_s: float) -> None:
        self.behaviour = behaviour
        self.pause_s = pause_s
        self.seen: list[Json] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.base_url = ""

    async def models(self, _request: web.Request) -> web.Response:
        if self.behaviour == "locked":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        if self.behaviour == "unlisted":
            return web.Response(status=500)
        return web.json_response({"data": [{"id": "fake", "owned_by": "llamacpp"}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        if self.behaviour == "bad_request":
            return web.json_response({"error": {"message": "prompt too long", "code": 400}}, status=400)
        # two requests warm up; of the four that follow the last two fail
        if self.behaviour == "overloaded" or (self.behaviour == "second_half_fails" and len(self.seen) > 4):
            return web.Response(status=503, text="busy")
        if self.behaviour == "every_tenth_hangs" and len(self.seen) % 10 == 0:
            await asyncio.sleep(30)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await response.prepare(request)
            await self._write(request, response, body)
        finally:
            self.in_flight -= 1
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, body: Json) -> None:
        prompt = body.get("prompt", "")
        n_in = len(prompt) if isinstance(prompt, list) else len(str(prompt).split())
        make = DIALECTS.get(self.behaviour, llamacpp)
        async for i, event in _paced(make(n_in, body["max_tokens"]), self.pause_s):
            if i == 2 and self.behaviour == "reset":
                assert request.transport is not None
                request.transport.abort()
                return
            if i == 2 and self.behaviour == "early_end":
                break
            if i == 2 and self.behaviour == "hang":
                await asyncio.sleep(30)
            if i == 2 and self.behaviour == "error_event":
                await response.write(b'data: {"error": {"message": "slot lost"}}\n\n')
                break
            data = event if isinstance(event, str) else json.dumps(event)
            await response.write(f"data: {data}\n\n".encode())
        await response.write_eof()


async def _paced(events: Iterator[Json | str], pause_s: float) -> AsyncIterator[tuple[int, Json | str]]:
    for i, event in enumerate(events):
        await asyncio.sleep(pause_s)
        yield i, event


@contextmanager
def serving(behaviour: str, pause_s: float = 0.002) -> Iterator[FakeServer]:
    """Run the server on a free port in a thread for the length of the block."""
    fake = FakeServer(behaviour, pause_s)
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/v1/models", fake.models)
        app.router.add_post("/v1/completions", fake.complete)
        app.router.add_post("/v1/chat/completions", fake.complete)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert ready.wait(5)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
