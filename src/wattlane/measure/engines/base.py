"""What every engine under test offers: an address, a model name, a process if it is ours, and its habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True)
class Habits:
    """How an engine wants to be asked.

    `request_fields` are added to every request (fixed output length, no prefix cache). `token_ids` is the range
    [low, high) of ordinary token ids when prompts may be lists of ids, None when they must be text.
    `runs_on_gpu` is None when it cannot be known from outside.
    """

    request_fields: Mapping[str, Any] = field(default_factory=dict)
    token_ids: tuple[int, int] | None = None
    runs_on_gpu: bool | None = None
    is_local: bool = True


class Engine(Protocol):
    """An engine for the length of a `with` block: started (or found) on entry, stopped (or left alone) on exit."""

    @property
    def base_url(self) -> str:
        """Address in front of `/v1`, known inside the block."""
        ...

    @property
    def model(self) -> str:
        """Name to put into requests."""
        ...

    @property
    def pid(self) -> int | None:
        """Process whose CPU time is the engine's, None when it is not on this machine or not known."""
        ...

    @property
    def habits(self) -> Habits:
        """How it wants to be asked."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def exit_reason(self) -> str | None:
        """Return None while it runs, else a sentence on how it ended."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return name, versions and options for the result file."""
        ...
