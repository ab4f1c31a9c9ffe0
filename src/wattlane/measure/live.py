"""Energy of a stretch of one's own code: `with window("prefill") as w: ...`, then `w.energy`; or as a decorator.

Entering and leaving only stamp the time and wake the telemetry thread; the energy is worked out when it is asked for,
from the polls around both edges. Windows may overlap and nest. A card that works for other things too is metered with
them: the figure is the card's, not the code's.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Self

from wattlane.core.errors import MeasurementError
from wattlane.measure.poller import Poller
from wattlane.measure.readings import Meter, Reading, take
from wattlane.measure.schedule import DENSE_S

if TYPE_CHECKING:
    from wattlane.measure.account import Energy

LINGER_S = 2.0  # polls go on so long after a window, for the edge of the next one
ANSWER_S = 10.0
TICK_WAIT_S = 0.5
ALIGN_PERIOD_S = 0.001
TIME = attrgetter("time_s")
Absent = Literal["raise", "absent"]


class Telemetry:
    """Polls one meter for any number of windows; its thread starts with the first and sleeps while none is open."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self.meter = meter
        self._clock = clock
        self._news: deque[Window] = deque()
        self._pending: list[Window] = []
        self._readings: list[Reading] = []
        self._needed_until_s = float("-inf")
        self._moved = threading.Event()
        self._start_lock = threading.Lock()
        self._poller = Poller(self._poll, is_needed=self._is_needed, clock=clock)

    @property
    def cpu_s(self) -> float:
        """CPU seconds the thread has used, reads of the meter included."""
        return self._poller.cpu_s

    def window(self, name: str = "", *, align: bool = False) -> Window:
        """Return a window to enter; with `align` entering and leaving wait for the counter to move."""
        return Window(name, self, align=align)

    def close(self) -> None:
        """End the thread; open windows have no energy then."""
        if self._poller.is_running:
            self._poller.stop()

    def begin(self, window: Window) -> float:
        """Stamp the start of a window."""
        if not self._poller.is_running:
            with self._start_lock:
                if not self._poller.is_running:
                    self._poller.start()
        self._news.append(window)
        return self._poller.edge()

    def end(self) -> float:
        """Stamp the end of a window."""
        return self._poller.edge()

    def wait_tick(self) -> None:
        """Wait until the counter moves, at most `TICK_WAIT_S`, with polls each ms."""
        self._moved.clear()
        self._poller.wait_s = ALIGN_PERIOD_S
        self._poller.edge()
        self._moved.wait(TICK_WAIT_S)
        self._poller.wait_s = None

    def _is_needed(self) -> bool:
        return bool(self._news or self._pending) or self._clock() < self._needed_until_s

    def _poll(self) -> None:
        last = self._readings[-1] if self._readings else None
        reading = take(self.meter, self._readings)
        if self._poller.wait_s is not None and last is not None and reading.energy_j != last.energy_j:
            self._moved.set()
        while self._news:
            self._pending.append(self._news.popleft())
        settled_s = reading.time_s - DENSE_S
        for window in self._pending:
            if window.end_s is not None and window.end_s < settled_s:
                break
        else:
            return  # at most polls no window is over
        done = [w for w in self._pending if w.end_s is not None and w.end_s < settled_s]
        for window in done:
            self._pending.remove(window)
            window.settle(self._around(window))
        self._needed_until_s = reading.time_s + LINGER_S
        # Readings before every open window are of no more use.
        starts = [w.start_s for w in self._pending if w.start_s is not None]
        keep_s = min(starts, default=reading.time_s) - LINGER_S
        self._readings = self._readings[bisect_left(self._readings, keep_s, key=TIME) :]

    def _around(self, window: Window) -> list[Reading]:
        assert window.start_s is not None
        return self._readings[bisect_left(self._readings, window.start_s - LINGER_S / 2, key=TIME) :]


class Window:
    """One stretch of time: a context manager, and a decorator that opens one for every call (kept in `calls`)."""

    def __init__(self, name: str, telemetry: Telemetry | None, *, align: bool = False) -> None:
        self.name = name
        self.start_s: float | None = None
        self.end_s: float | None = None
        self._telemetry = telemetry
        self._align = align
        self._settled = threading.Event()
        self._readings: Sequence[Reading] = ()

    def __enter__(self) -> Self:
        if self.start_s is not None:
            raise MeasurementError(f"window {self.name!r} was entered before; make a new one for each stretch")
        if self._telemetry is None:
            self.start_s = time.monotonic()
            return self
        self.start_s = self._telemetry.begin(self)
        if self._align:
            self._telemetry.wait_tick()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._telemetry is None:
            self.end_s = time.monotonic()
            return
        self.end_s = self._telemetry.end()
        if self._align:
            self._telemetry.wait_tick()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a window of its own around each call; the last 1,000 are in its `windows`."""
        calls: deque[Window] = deque(maxlen=1000)

        def fresh() -> Window:
            calls.append(Window(self.name or function.__qualname__, self._telemetry, align=self._align))
            return calls[-1]

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return await function(*args, **kwargs)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)

        chosen: Callable[..., Any] = awaited if inspect.iscoroutinefunction(function) else called
        chosen.windows = calls  # type: ignore[attr-defined]
        return chosen

    def settle(self, readings: Sequence[Reading]) -> None:
        """Take the readings around both edges; called once by the telemetry."""
        self._readings = readings
        self._settled.set()

    @property
    def duration_s(self) -> float:
        """Seconds between the stamps.

        Raises:
            MeasurementError: the window is still open.
        """
        if self.start_s is None or self.end_s is None:
            raise MeasurementError(f"window {self.name!r} is not closed yet; read it after the with block")
        return self.end_s - self.start_s

    @property
    def energy(self) -> Energy:
        """Energy of the window with its interval; waits for the ticks after its end, a fifth of a second.

        Raises:
            MeasurementError: the window is still open, or the telemetry ended before it did.
        """
        from wattlane.measure.account import ABSENT, metered
        from wattlane.measure.sources import highest_w_of

        if self.duration_s < 0 or self._telemetry is None:
            return ABSENT
        if not self._settled.wait(ANSWER_S):
            raise MeasurementError(f"window {self.name!r}: the telemetry thread gave no readings in {ANSWER_S:g} s")
        assert self.start_s is not None
        assert self.end_s is not None
        limit_w = highest_w_of(self._telemetry.meter, self._readings[0]) if self._readings else None
        return metered(self._readings, self.start_s, self.end_s, align=self._align, highest_w=limit_w)


def window(
    name: str = "", *, telemetry: Telemetry | None = None, absent: Absent = "raise", align: bool = False
) -> Window:
    """Return a window on the GPU that this process computes on (or on `telemetry`), for `with` or as a decorator.

    Args:
        absent: what to do where no GPU can be metered: "raise", or "absent" for windows whose energy is absent.
        align: wait for the counter to move at both edges, so that nothing is interpolated; costs up to two ticks.

    Raises:
        MeasurementError: no GPU can be metered and `absent` is "raise".
    """
    if telemetry is None:
        try:
            telemetry = own_gpu()
        except MeasurementError:
            if absent == "raise":
                raise
    return Window(name, telemetry, align=align)


@functools.lru_cache(maxsize=1)
def own_gpu() -> Telemetry:
    """Return telemetry of the GPU this process computes on, or of the only one there is.

    Raises:
        MeasurementError: there is no driver or GPU, or several of which none is known to work for this process.
    """
    import os

    from wattlane.measure.meters.nvml import NvmlMeter, cards, connect

    library = connect()
    found = cards(library)
    own = [card for card in found if os.getpid() in card.busy_pids] or (found if len(found) == 1 else [])
    if not own:
        listed = ", ".join(card.uuid for card in found) or "none"
        raise MeasurementError(
            f"found no GPU that this process computes on (NVML lists: {listed}); run something on it before the first "
            "window, or give telemetry=Telemetry(NvmlMeter([uuid]))"
        )
    return Telemetry(NvmlMeter([card.uuid for card in own], library))
