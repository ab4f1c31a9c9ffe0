"""A thread that reads on the schedule: slowly at most times, densely after each edge. An edge is a stamp and a wake-up.

caller   edge()  ─► stamp, append, wake          microseconds, whatever a read costs
thread   wake or time-out ─► read ─► wait 8 ms for a while after an edge, else 50 ms
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from wattlane.measure.schedule import DENSE_PERIOD_S, DENSE_S, PERIOD_S

READ_SHARE = 0.5  # of the time at most is spent reading, however slow a read is


class Poller:
    """Calls `read` from its thread between `start` and `stop`; `is_needed` says whether to poll or to sleep."""

    def __init__(
        self,
        read: Callable[[], object],
        *,
        is_needed: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        period_s: float = PERIOD_S,
    ) -> None:
        self._read = read
        self._is_needed = is_needed
        self._clock = clock
        self._period_s = period_s
        self._edges: deque[float] = deque()
        self._wake = threading.Event()
        self._is_stopping = False
        self._dense_until_s = float("-inf")
        self._is_dense = False
        self._thread = threading.Thread(target=self._loop, name="wattlane-telemetry", daemon=True)
        self.cpu_s = 0.0
        self.wait_s: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread polls."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def edge(self) -> float:
        """Stamp the time, ask for dense polls from now on, and return the stamp."""
        now_s = self._clock()
        self._edges.append(now_s)
        self._wake.set()
        return now_s

    def stop(self) -> None:
        """Let the dense polls after the last edge come in, then end the thread."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            if not self._is_dense:
                self._wake.clear()  # a dense poll does not wait for it
            while self._edges:
                self._dense_until_s = max(self._dense_until_s, self._edges.popleft() + DENSE_S)
            before_s = self._clock()
            self._is_dense = is_dense = before_s < self._dense_until_s
            if self._is_stopping and not is_dense and not self._edges:
                return
            if not (is_dense or self._is_needed()):
                self._wake.wait()
                continue
            self._read()
            took_s = self._clock() - before_s
            rest_s = took_s * (1 / READ_SHARE - 1)
            if is_dense:
                # A plain sleep costs half of a wait that can be woken, and the next edge is met soon enough.
                time.sleep(max((self.wait_s or DENSE_PERIOD_S) - took_s, rest_s))
            else:
                self.cpu_s = time.thread_time()
                self._wake.wait(max(self._period_s - took_s, rest_s))
