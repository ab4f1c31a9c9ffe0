"""A meter that plays back recorded readings in order, one a call; the last one stays when they run out."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.core.errors import InputError
from wattlane.measure.readings import Reading


class ReplayMeter:
    """Plays `readings`, ascending in time.

    Raises:
        InputError: there is none, or time falls.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        times_s = [reading.time_s for reading in readings]
        if not times_s:
            raise InputError("found no readings to replay; expected at least 1")
        if times_s != sorted(times_s):
            raise InputError("the readings to replay go back in time; sort them by time_s")
        self._readings = tuple(readings)
        self._next = 0

    def read(self) -> Reading:
        """Return the next recorded reading."""
        reading = self._readings[min(self._next, len(self._readings) - 1)]
        self._next += 1
        return reading
