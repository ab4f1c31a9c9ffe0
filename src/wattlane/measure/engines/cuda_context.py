"""An empty CUDA context on the visible GPUs for the length of a block: idle between nothing and weights loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wattlane.core.errors import MeasurementError

LIBRARY = "libcuda.so.1"
WORKER = Path(__file__).with_name("cuda_context_worker.py")
STOP_LIMIT_S = 10.0


@contextmanager
def held_context(library: str = LIBRARY) -> Iterator[tuple[str, ...]]:
    """Yield the UUIDs of the GPUs that hold an empty context of a process of ours.

    Raises:
        MeasurementError: there is no CUDA driver or GPU here, or it refuses.
    """
    command = [sys.executable, "-I", str(WORKER), library]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            answer = json.loads(line) if line else {"error": "its process ended at once"}
            if not answer.get("uuids"):
                raise MeasurementError(f"no CUDA context can be made here ({answer.get('error', 'no GPU is visible')})")
            yield tuple(answer["uuids"])
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
