"""Measured configurations replayed closed-loop are as wrong as the law asked directly, and no more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = [pytest.mark.data, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("closed_loop", ROOT / "benchmarks" / "closed_loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds its neighbours
    monkeypatch.setitem(sys.modules, "closed_loop", module)
    spec.loader.exec_module(module)
    return module


def test_replays_are_as_wrong_as_the_law_and_no_more(script: ModuleType, data_dir: Path) -> None:
    found = script.compared(script.load(data_dir), groups=3)
    done = ~np.isnan(found.replay[:, 0])
    assert done.sum() > 50
    for column in (0, 2):  # watts, joules per token
        direct, replay = (np.abs(np.expm1(errors[done, column])) for errors in (found.direct, found.replay))
        assert np.median(replay) < np.median(direct) + 0.01
        assert replay.mean() < direct.mean() + 0.01
        assert np.median(np.abs(np.expm1(found.replay[done, column] - found.direct[done, column]))) < 0.01
