"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattlane.core import env

SLOW = Path(__file__).with_name("slow.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests listed in slow.txt as slow, so that `./check --fast` stays an inner loop."""
    slow = set(SLOW.read_text(encoding="utf-8").split())
    for item in items:
        if item.nodeid.partition("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real traces and measurements; skips with the reason where WATTLANE_DATA is not set."""
    folder = env.data_dir()
    if folder is None or not folder.is_dir():
        pytest.skip("WATTLANE_DATA does not name a folder of real traces and measurements")
    return folder
