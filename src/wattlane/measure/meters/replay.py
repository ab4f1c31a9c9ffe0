"""A meter that plays back recorded readings in order, one a call; the last one stays when they run out.

`readings_of` makes readings of the raw record of a run (`telemetry.parquet`), so that its energy can be worked out
again, by another method or with other edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError
from wattlane.core.types import Boundary, Origin
from wattlane.measure.readings import Channel, Reading

if TYPE_CHECKING:
    import polars as pl

ASIDE = ("proc", "health")  # CPU seconds and looks at clocks stand in the same table


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


def readings_of(telemetry: pl.DataFrame) -> list[Reading]:
    """Return the meter's readings in a table of `Recorder.table`, in order; what stands beside them is left out.

    Raises:
        InputError: the table holds no reading of a meter.
    """
    rows = [row for row in telemetry.iter_rows(named=True) if row["source"] not in ASIDE]
    if not rows:
        raise InputError(
            "the telemetry holds no reading of a meter; expected rows with a source, a device and its values"
        )
    found = []
    for (time_s, source), group in groupby(rows, key=itemgetter("time_s", "source")):
        each = list(group)
        channels = tuple(Channel(r["device"], r["energy_j"], r["power_w"], r["average_power_w"]) for r in each)
        first = each[0]
        lag_s = first.get("lag_s") or 0.0
        found.append(Reading(time_s, source, Boundary(first["boundary"]), channels, Origin(first["origin"]), lag_s))
    return found
