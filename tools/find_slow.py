"""Write tests/slow.txt, the tests `./check --fast` leaves out: `pytest --durations=0 ... | python tools/find_slow.py`.

A test is slow from 0.08 s on, set-up included, or by its mark. Parametrised cases count together by their slowest.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIMIT_S = 0.08
LINE = re.compile(r"^([0-9.]+)s (?:call|setup) +(\S+?)(?:\[.*)?$")
OUT = Path(__file__).resolve().parent.parent / "tests" / "slow.txt"


def slow_tests(report: str) -> list[str]:
    """Return the node ids of a pytest report with durations that are above the limit, sorted."""
    found = (LINE.match(line) for line in report.splitlines())
    return sorted({m[2] for m in found if m and float(m[1]) >= LIMIT_S})


def main() -> None:
    """Read a report from standard input."""
    names = slow_tests(sys.stdin.read())
    if not names:
        sys.exit("found no durations; expected the output of pytest --durations=0 --durations-min=0.05")
    OUT.write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{len(names)} slow tests in {OUT.name}")


if __name__ == "__main__":
    main()
