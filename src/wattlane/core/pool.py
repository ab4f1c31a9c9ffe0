"""Threads for replays: the kernel runs without the interpreter's lock. Results do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

MOST_WORKERS = 8


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool; when the caller stops early, work that has not begun is dropped."""
    pool = ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
