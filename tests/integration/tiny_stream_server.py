"""A server in a process of its own that streams completions as fast as it can: `python tiny_stream_server.py MODE`.

fast          every answer at once, in one piece of three events
together:N    no answer ends before N streams are open at the same time
stall:A:B     answers at once, but nothing at all between A and B seconds after the first request
"""

from __future__ import annotations

import asyncio
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
FIRST = b'data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n'
LAST = (
    b'data: {"choices":[{"index":0,"text":"b","finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


class Server:
    def __init__(self, mode: str) -> None:
        name, *numbers = mode.split(":")
        self.together = int(numbers[0]) if name == "together" else 0
        self.stall_s = (float(numbers[0]), float(numbers[1])) if name == "stall" else None
        self.open = 0
        self.began_s: float | None = None
        self.all_open = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(length)
        now_s = asyncio.get_running_loop().time()
        self.began_s = self.began_s if self.began_s is not None else now_s
        if self.stall_s and self.stall_s[0] <= now_s - self.began_s < self.stall_s[1]:
            await asyncio.sleep(self.stall_s[1] - (now_s - self.began_s))
        writer.write(HEAD + FIRST)
        if self.together:
            self.open += 1
            if self.open >= self.together:
                self.all_open.set()
            await self.all_open.wait()
        writer.write(LAST)
        await writer.drain()


async def main(mode: str) -> None:
    server = await asyncio.start_server(Server(mode).serve, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
