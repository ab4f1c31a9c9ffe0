"""Run in a Python that has codecarbon: tasks of its tracker on an NVML library that answers with given counter values.

Reads `[[start_mj, end_mj], ...]` from standard input; writes the joules of GPU energy that it returns for each task and
the seconds that `start_task` and `stop_task` took. The counter is free to read here, and the tracker looks after CPU
and memory too, as it does by default; its scheduler of a sample a second plays no part in tasks.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import SimpleNamespace
from typing import Any

from codecarbon import OfflineEmissionsTracker
from codecarbon.core import gpu, gpu_nvidia

J_PER_KWH = 3.6e6


class OneGpu:
    """The calls of NVML that the tracker makes; the counter shows `now_mj`."""

    NVMLError = RuntimeError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.now_mj = 0

    def __getattr__(self, name: str) -> Any:
        """Return a function for each of them."""
        answers = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "card",
            "nvmlDeviceGetName": "simulated",
            "nvmlDeviceGetUUID": "GPU-0",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=1, free=1, used=0),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=100),
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetGraphicsRunningProcesses": [],
        }
        if name == "nvmlDeviceGetTotalEnergyConsumption":
            return lambda _handle: self.now_mj
        return lambda *_: answers.get(name, 300_000)


def main() -> None:
    """Answer on standard output."""
    pairs = json.load(sys.stdin)
    library = OneGpu()
    gpu_nvidia.pynvml, gpu.PYNVML_AVAILABLE, gpu.AMDSMI_AVAILABLE = library, True, False
    gpu_nvidia.PYNVML_AVAILABLE = True
    gpu_nvidia.is_nvidia_system = gpu.is_nvidia_system = lambda: True
    logging.disable(logging.CRITICAL)
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True, gpu_ids=[0]
    )
    found, enter, leave = [], [], []
    for number, (start_mj, end_mj) in enumerate(pairs):
        library.now_mj = int(start_mj)
        a = time.perf_counter()
        tracker.start_task(f"w{number}")
        b = time.perf_counter()
        library.now_mj = int(end_mj)
        c = time.perf_counter()
        measured = tracker.stop_task()
        d = time.perf_counter()
        found.append(measured.gpu_energy * J_PER_KWH)
        enter.append(b - a)
        leave.append(d - c)
    json.dump(
        {"energy_j": found, "enter_s": sorted(enter)[len(enter) // 2], "leave_s": sorted(leave)[len(leave) // 2]},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
