"""An event loop that looks at its timers between every few socket events.

asyncio handles all sockets that are ready before it looks at the clock again. An engine that writes a token for each of
1,000 streams in one step makes 1,000 of them ready at once, and a request that is due meanwhile leaves tens of
milliseconds late. Here at most `AT_ONCE` events are handed out at a time; readiness is level-triggered, so an event
that was not handed out is not lost.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

AT_ONCE = 16
Event = tuple[selectors.SelectorKey, int]


class FewAtATime(selectors.BaseSelector):
    """The platform's selector, whose events are handed out `AT_ONCE` at a time."""

    def __init__(self) -> None:
        self._all = selectors.DefaultSelector()
        self._waiting: deque[Event] = deque()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As the platform's."""
        return self._all.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As the platform's."""
        return self._all.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As the platform's."""
        return self._all.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[Event]:
        """Return the next few events; the platform is asked again once all it said is handed out."""
        if not self._waiting:
            self._waiting.extend(self._all.select(timeout))
        registered, ready = self._all.get_map(), list[Event]()
        while self._waiting and len(ready) < AT_ONCE:
            key, events = self._waiting.popleft()
            # an event of a file that was closed or asks for something else by now is asked for again
            if registered.get(key.fd) == key:
                ready.append((key, events))
        return ready

    def close(self) -> None:
        """As the platform's."""
        self._waiting.clear()
        self._all.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As the platform's."""
        return self._all.get_map()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop over such a selector."""
    return asyncio.SelectorEventLoop(FewAtATime())


@contextmanager
def no_collection() -> Iterator[None]:
    """Put off the search for reference cycles: over 30,000 records it stops everything for tens of milliseconds."""
    was_on = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
