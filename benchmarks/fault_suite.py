"""Put every kind of fault into many simulated runs and print what they were named: `python benchmarks/fault_suite.py`.

The last lines are the share rightly named over all kinds, the worst kind, and the false alarms on clean runs.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from wattlane.measure.validity.suite import alarms, confusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=100, help="runs of each kind of fault")
    parser.add_argument("--clean", type=int, default=1000, help="runs without fault")
    parser.add_argument("--first", type=int, default=100_000, help="first seed; tests use those from 0")
    asked = parser.parse_args()
    started = time.perf_counter()
    rows = confusion(range(asked.first, asked.first + asked.seeds))
    print(f"{'fault':<32} {'right name':<20} {'right':>6}  named instead")
    for row in rows:
        others = ", ".join(f"{name} {n}" for name, n in row.named.items() if name != row.code.value)
        print(f"{row.kind:<32} {row.code.value:<20} {row.right:>6.1%}  {others}")
    raised = alarms(range(asked.first, asked.first + asked.clean))
    worst = min(rows, key=lambda row: row.right)
    right = sum(row.right * row.runs for row in rows) / sum(row.runs for row in rows)
    print(f"{len(rows)} kinds, {len({row.code for row in rows})} codes, {asked.seeds} runs each")
    print(f"rightly named {right:.2%}; worst: {worst.kind} {worst.right:.1%}")
    counts = dict(Counter(code.value for codes in raised.values() for code in codes))
    print(f"false alarms {len(raised)} of {asked.clean} clean runs ({len(raised) / asked.clean:.2%}) {counts or ''}")
    print(f"{time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
