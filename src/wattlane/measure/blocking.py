"""Run a coroutine to its end from ordinary code, also where an event loop already runs (a notebook)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
NewLoop = Callable[[], asyncio.AbstractEventLoop]


def run_blocking(work: Coroutine[Any, Any, T], new_loop: NewLoop | None = None) -> T:
    """Return the result of `work`, run in a loop of its own, made by `new_loop` where one is given."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work, new_loop)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(_run, work, new_loop).result()


def _run(work: Coroutine[Any, Any, T], new_loop: NewLoop | None) -> T:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)
