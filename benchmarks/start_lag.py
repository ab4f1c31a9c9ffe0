"""How late the load generator sends, with 1,000 open streams: p50, p99 and worst, beside a thread that only sleeps.

    python benchmarks/start_lag.py [--requests 30000] [--rate-rps 400] [--json]

The server is a process of its own. Each answer lasts 1,000 / rate seconds, so that about 1,000 streams are open at a
time, and has 5 tokens; `spread` answers each request by its own clock, `lockstep` sends the tokens of all open streams
in the same instant, as a batching engine does. `asyncio` is the plain event loop, `ours` the one of
`wattlane.measure.fair_loop`. `sleep` is the bound: a thread of an idle process that sleeps to the
same times and does nothing else, in the same minute; what it is late, no program on this machine avoids.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from unittest.mock import patch

import numpy as np

from wattlane.core.workload import Workload
from wattlane.measure import load as driver
from wattlane.measure.load import Delivery, drive

PLAIN = {"new_loop": None, "no_collection": contextlib.nullcontext}
TOKENS = 5
STREAMS = 1000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n'
LAST = (
    b'data: {"choices":[{"index":0,"text":"b","finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":5}}\n\ndata: [DONE]\n\n'
)


async def serve(mode: str, gap_s: float) -> None:
    """Answer every request with a token each `gap_s`; in lockstep all streams wait for the same tick."""
    loop = asyncio.get_running_loop()

    async def pause() -> None:
        now_s = loop.time()
        await asyncio.sleep((now_s // gap_s + 1) * gap_s - now_s if mode == "lockstep" else gap_s)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            await reader.readexactly(length)
            writer.write(HEAD)
            for i in range(TOKENS):
                await pause()
                writer.write(LAST if i == TOKENS - 1 else TOKEN)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def sleeper(times_s: np.ndarray) -> np.ndarray:
    """Return how late a thread wakes that sleeps to each of `times_s` after now."""
    late = np.zeros(len(times_s))

    def work() -> None:
        start_s = time.monotonic()
        for i, at_s in enumerate(times_s.tolist()):
            rest_s = start_s + at_s - time.monotonic()
            if rest_s > 0:
                time.sleep(rest_s)
            late[i] = time.monotonic() - start_s - at_s

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return late


def quantiles_ms(late_s: np.ndarray) -> dict[str, float]:
    """Return p50, p99 and worst, milliseconds."""
    return {name: 1e3 * float(np.quantile(late_s, q)) for name, q in (("p50", 0.5), ("p99", 0.99), ("worst", 1.0))}


def one(mode: str, requests: int, rate_rps: float, *, plain: bool) -> dict[str, float]:
    """Drive one server, with asyncio's own loop where `plain`; the bound is taken beside it in another process."""
    arrival_s = np.cumsum(np.random.default_rng(1).exponential(1 / rate_rps, requests))
    load = Workload(arrival_s, np.full(requests, 4), np.full(requests, TOKENS))
    gap_s = STREAMS / rate_rps / TOKENS
    command = [sys.executable, __file__, "--serve", mode, str(gap_s)]
    bound = [sys.executable, __file__, "--sleep", str(requests), str(rate_rps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            with subprocess.Popen(bound, stdout=subprocess.PIPE, text=True) as beside:
                cpu_s, began_s = time.process_time(), time.monotonic()
                with patch.multiple(driver, **PLAIN) if plain else contextlib.nullcontext():
                    table = drive(url, load, Delivery("m", limit_s=120))
                share = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
                out, _ = beside.communicate()
        finally:
            server.kill()
    late = (table["started_s"] - table["offered_s"]).to_numpy()
    completed = int((table["outcome"] == "completed").sum())
    ends, starts = np.sort(table["end_s"].to_numpy()), np.sort(table["started_s"].to_numpy())
    most_open = int((np.arange(1, requests + 1) - np.searchsorted(ends, starts, side="right")).max())
    slept = {f"sleep_{name}": value for name, value in json.loads(out).items()}
    return {"completed": completed, "open": most_open, "core_share": share, **quantiles_ms(late), **slept}


def main() -> None:
    """Print one line a mode."""
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2], float(sys.argv[3])))
        return
    if sys.argv[1:2] == ["--sleep"]:
        many, rate_rps = int(sys.argv[2]), float(sys.argv[3])
        late = sleeper(np.cumsum(np.random.default_rng(1).exponential(1 / rate_rps, many)))
        sys.stdout.write(json.dumps(quantiles_ms(late)))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--rate-rps", type=float, default=400.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {
        f"{mode}, {'asyncio' if plain else 'ours'}": one(mode, asked.requests, asked.rate_rps, plain=plain)
        for mode in ("spread", "lockstep")
        for plain in (True, False)
    }
    if asked.json:
        print(json.dumps(found))
        return
    print(
        f"{asked.requests:,} requests at {asked.rate_rps:g}/s; sent late, ms (a sleeping thread beside it in brackets)"
    )
    for mode, row in found.items():
        figures = "  ".join(
            f"{name} {row[name]:7.2f} ({row[f'sleep_{name}']:6.2f})" for name in ("p50", "p99", "worst")
        )
        print(
            f"{mode:17s} {figures}   {row['completed']:,} completed, {row['open']} open at most, "
            f"{row['core_share']:.0%} of a core"
        )


if __name__ == "__main__":
    main()
