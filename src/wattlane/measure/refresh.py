"""How often a source really says something new, found from its values, whatever the rhythm it is asked in.

    period   median time between changes of what it says
    lag      the period; before two changes were seen the time since the first look; the age once it has gone stale
    stale    nothing new for longer than 3 periods

An exporter repeats its last value at every scrape until it refreshes (the default of DCGM exporter is 30 s).
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Any

STALE_PERIODS = 3
KEPT = 64


class Refresh:
    """Watches what a source says; `see` takes each answer with its time, ascending, in seconds of one clock."""

    def __init__(self) -> None:
        self._said: Any = None
        self._first_s: float | None = None
        self._changed_s: float | None = None
        self._last_s = float("-inf")
        self._apart_s: deque[float] = deque(maxlen=KEPT)

    def see(self, time_s: float, said: Any) -> None:
        """Take what the source said at `time_s`."""
        self._last_s = time_s
        if self._first_s is None:
            self._first_s, self._said = time_s, said
        elif said != self._said:
            if self._changed_s is not None:
                self._apart_s.append(time_s - self._changed_s)
            self._changed_s, self._said = time_s, said

    @property
    def period_s(self) -> float | None:
        """Seconds between changes, None until two were seen."""
        return median(self._apart_s) if self._apart_s else None

    @property
    def age_s(self) -> float:
        """Seconds since it last said something new, at the last look."""
        since_s = self._changed_s if self._changed_s is not None else self._first_s
        return 0.0 if since_s is None else self._last_s - since_s

    @property
    def is_stale(self) -> bool:
        """Whether it has said nothing new for longer than `STALE_PERIODS` of its periods."""
        return self.period_s is not None and self.age_s > STALE_PERIODS * self.period_s

    @property
    def lag_s(self) -> float:
        """How much older than the look a value may be, seconds."""
        if self.period_s is None:
            return 0.0 if self._first_s is None else self._last_s - self._first_s
        return self.age_s if self.is_stale else self.period_s
