"""Server-sent events of an OpenAI-compatible stream, in the dialects of llama.cpp, vLLM and transformers.

They differ: `[DONE]` may be missing, `usage` may sit in the finish chunk or in one of its own, a chunk may carry
several tokens or none. A chunk therefore tells *when* text came and `usage` alone tells *how many* tokens it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event said; absent parts are None."""

    has_text: bool = False
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    error: str | None = None
    is_done: bool = False


class EventBuffer:
    """Collects bytes as they arrive and gives back the data of each complete event."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, received: bytes) -> list[str]:
        """Return the data fields completed by `received`; an event ends at an empty line."""
        lines = (self._rest + received).split(b"\n")
        self._rest = lines.pop()
        events: list[str] = []
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", errors="replace")
            if line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
            elif not line:
                events += self._flush()
        return events

    def close(self) -> list[str]:
        """Return the last event of a stream that ended without its empty line."""
        return self.feed(b"\n\n") if self._rest else self._flush()

    def _flush(self) -> list[str]:
        event, self._data = "\n".join(self._data), []
        return [event] if event else []


def read_chunk(data: str) -> Chunk:
    """Return what the event says; data that is not a JSON object is an error chunk."""
    if data.strip() == DONE:
        return Chunk(is_done=True)
    try:
        body = json.loads(data)
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        return Chunk(error=f"event is not a JSON object: {data[:80]!r}")
    if body.get("error"):
        return Chunk(error=error_text(body["error"]))
    choices = body.get("choices")
    first = _object(choices[0]) if isinstance(choices, list) and choices else {}
    return Chunk(
        has_text=_has_text(first),
        finish_reason=str(first["finish_reason"]) if first.get("finish_reason") else None,
        usage=_object(body.get("usage")) or None,
        timings=_object(body.get("timings")) or None,
    )


def error_text(error: Any) -> str:
    """Return the message of an error body, whatever its form."""
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error)


def _has_text(choice: dict[str, Any]) -> bool:
    delta = _object(choice.get("delta"))
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
