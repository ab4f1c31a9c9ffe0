"""CPU seconds of a process and its descendants, from `/proc`. This is time, not energy.

    cpu_s = (utime + stime of the process and each living descendant + cutime + cstime of reaped ones) / CLK_TCK

Source: proc_pid_stat(5), fields 14 to 17.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def cpu_tick_s() -> float:
    """Return the step of the kernel's CPU time, seconds (0.01 on most systems)."""
    return 1.0 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, proc: Path = PROC) -> float | None:
    """Return CPU seconds of `pid` and its living descendants; None once the process is gone or is a zombie."""
    ticks = _ticks(pid, proc)
    if ticks is None:
        return None
    total, waiting = ticks, _children(pid, proc)
    while waiting:
        child = waiting.pop()
        total += _ticks(child, proc) or 0
        waiting += _children(child, proc)
    return total * cpu_tick_s()


def process_tree(pid: int, proc: Path = PROC) -> set[int]:
    """Return `pid` and its living descendants."""
    found, waiting = {pid}, _children(pid, proc)
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting += _children(child, proc)
    return found


def _ticks(pid: int, proc: Path) -> int | None:
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the command name may hold spaces and brackets: fields start after its last bracket
    fields = text.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    return sum(int(value) for value in fields[11:15])


def _children(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    for task in (proc / str(pid) / "task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
    return found
