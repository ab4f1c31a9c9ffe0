"""CPU package and DRAM energy from Linux powercap (`/sys/class/powercap/intel-rapl:*`, Intel and AMD).

    energy_j = energy_uj / 1e6, unwrapped by max_energy_range_uj

The counter wraps (after minutes to hours) and is unwrapped between reads: read more often than it wraps. Packages and
their DRAM zones are summed. `psys` overlaps both, `core` and `uncore` are parts of the package, and `intel-rapl-mmio`
repeats it: these are left out. Everything running on the machine is in the figure.
Source: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wattlane.core.errors import MeasurementError
from wattlane.core.types import Boundary
from wattlane.measure.readings import Channel, Finding, Reading

SOURCE = "rapl"
ROOT = Path("/sys/class/powercap")
UJ_PER_J = 1e6
COUNTED = ("package", "dram")


@dataclass(frozen=True, slots=True)
class Zone:
    """One powercap zone that is counted; `problem` says why its counter cannot be read."""

    name: str
    path: Path
    range_uj: int
    problem: str = ""


def zones(root: Path = ROOT) -> list[Zone]:
    """Return the package and DRAM zones under `root`, in order of their names."""
    found = []
    for path in sorted(root.glob("intel-rapl:*")):
        try:
            name = (path / "name").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if name.startswith(COUNTED):
            found.append(_zone(path, name))
    return found


def _zone(path: Path, name: str) -> Zone:
    label = f"{path.name.removeprefix('intel-rapl:')} {name}"
    try:
        int((path / "energy_uj").read_text(encoding="ascii"))
        return Zone(label, path, int((path / "max_energy_range_uj").read_text(encoding="ascii")))
    except PermissionError:
        return Zone(label, path, 0, "permission denied")
    except (OSError, ValueError) as error:
        return Zone(label, path, 0, f"unreadable ({error})")


class RaplMeter:
    """Sums the package and DRAM counters.

    Raises:
        MeasurementError: no zone exists, or one that should be counted cannot be read.
    """

    def __init__(self, root: Path = ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._zones = zones(root)
        self._clock = clock
        problems = [f"{zone.name}: {zone.problem}" for zone in self._zones if zone.problem]
        if not self._zones:
            raise MeasurementError(f"found no RAPL zone under {root}; expected intel-rapl:*; see wattlane doctor")
        if problems:
            raise MeasurementError(f"RAPL cannot be read ({'; '.join(problems)}); {ADVICE}")
        self._last_uj: list[int | None] = [None] * len(self._zones)
        self._wrapped_uj = [0] * len(self._zones)

    def read(self) -> Reading:
        """Return the unwrapped counters, joules; a zone that fails to read has no value."""
        channels = tuple(Channel(zone.name, energy_j=self._energy_j(i)) for i, zone in enumerate(self._zones))
        return Reading(self._clock(), SOURCE, Boundary.CPU_PACKAGE, channels)

    def _energy_j(self, i: int) -> float | None:
        zone = self._zones[i]
        try:
            now_uj = int((zone.path / "energy_uj").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        last_uj = self._last_uj[i]
        if last_uj is not None and now_uj < last_uj:
            self._wrapped_uj[i] += zone.range_uj
        self._last_uj[i] = now_uj
        return (now_uj + self._wrapped_uj[i]) / UJ_PER_J


ADVICE = "run as root, or once: sudo chmod -R a+r /sys/class/powercap/intel-rapl*"


def find(root: Path = ROOT) -> list[Finding]:
    """Return what `doctor` says about RAPL here."""
    found = zones(root)
    if not found:
        return [
            Finding(
                "sensor",
                SOURCE,
                "absent",
                f"no package or DRAM zone under {root}; virtual machines rarely pass it through",
                "measure CPU energy on bare metal, or give an assumed W per core and get a modelled figure",
            )
        ]
    return [
        Finding("sensor", f"{SOURCE} {zone.name}", "limited", zone.problem, ADVICE)
        if zone.problem
        else Finding(
            "sensor", f"{SOURCE} {zone.name}", "ok", f"energy counter, wraps at {zone.range_uj / UJ_PER_J:.0f} J"
        )
        for zone in found
    ]
