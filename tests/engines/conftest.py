"""Real engines: which Python has them, which cores they and the client use, and the figures printed at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from engine_targets import CLIENT_CORE, FIGURES


@pytest.fixture(autouse=True, scope="session")
def pinned() -> Iterator[None]:
    """The client on a core of its own: on the engine's core, events would wait for the engine's time slice."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, {CLIENT_CORE})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache of random models for the session."""
    before = os.environ.get("WATTLANE_CACHE")
    os.environ["WATTLANE_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    yield
    if before is None:
        del os.environ["WATTLANE_CACHE"]
    else:
        os.environ["WATTLANE_CACHE"] = before


@pytest.fixture
def figure() -> Callable[[str], None]:
    """Keep one line for the table printed after the tests."""
    return FIGURES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures of this run (a shared machine: read as evidence that it works, not as speed)")
        for line in FIGURES:
            terminalreporter.write_line(line)
