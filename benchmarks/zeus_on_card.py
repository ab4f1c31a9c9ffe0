"""Run in a Python that has zeus: its monitor on a GPU object that answers with given counter values.

Reads `[[start_mj, end_mj], ...]` from standard input; writes the joules it returns for each window and the seconds that
entering and leaving took, reads of the counter being free here.
"""

from __future__ import annotations

import json
import sys
import time

from zeus.monitor import energy


class OneGpu:
    """A GPU whose counter answers with the next given value."""

    def __init__(self, values_mj: list[float]) -> None:
        self._values_mj = iter(values_mj)

    def __len__(self) -> int:
        return 1

    def supports_get_total_energy_consumption(self, _index: int) -> bool:
        """Say that there is a counter."""
        return True

    def get_total_energy_consumption(self, _index: int) -> float:
        """Return the next value, mJ."""
        return next(self._values_mj)


def main() -> None:
    """Answer on standard output."""
    pairs = json.load(sys.stdin)
    energy.get_gpus = lambda: OneGpu([value for pair in pairs for value in pair])
    monitor = energy.ZeusMonitor(gpu_indices=[0], cpu_indices=[])
    found, enter, leave = [], [], []
    for _ in pairs:
        a = time.perf_counter()
        monitor.begin_window("w", sync_execution=False)
        b = time.perf_counter()
        measured = monitor.end_window("w", sync_execution=False)
        c = time.perf_counter()
        found.append(measured.gpu_energy[0])
        enter.append(b - a)
        leave.append(c - b)
    json.dump(
        {"energy_j": found, "enter_s": sorted(enter)[len(enter) // 2], "leave_s": sorted(leave)[len(leave) // 2]},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
