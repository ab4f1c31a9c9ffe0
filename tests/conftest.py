"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattlane.core import env


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real traces and measurements; skips with the reason where WATTLANE_DATA is not set."""
    folder = env.data_dir()
    if folder is None or not folder.is_dir():
        pytest.skip("WATTLANE_DATA does not name a folder of real traces and measurements")
    return folder
