"""Progress of long work on stderr: a bar with time left in a terminal, a line a step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from wattlane.cli.console import say


@contextmanager
def steps() -> Iterator[Callable[[str, int, int, str], None]]:
    """Yield a function to report (step, done, of, words) to; `of` 0 means that the end is not known."""
    if not say.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=say) as bars:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, of: int, words: str) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=of or None, words="")
            shown = words or (f"{done} of {of}" if of else str(done))
            bars.update(tasks[step], completed=done, total=of or None, words=shown)

        yield report


def _lines() -> Callable[[str, int, int, str], None]:
    """Say each step once at its start, its end, and at every tenth of its way."""
    last: dict[str, int] = {}

    def report(step: str, done: int, of: int, words: str) -> None:
        tenth = done * 10 // of if of else done // 50
        if last.get(step) == tenth and done != of:
            return
        last[step] = tenth
        count = f"{done} of {of}" if of else f"{done} points"
        say.print(f"{step}: {count}{f', {words}' if words else ''}", soft_wrap=True)

    return report
