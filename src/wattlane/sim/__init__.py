"""Floor 5, replay a workload under a policy, iteration by iteration, with joules.

`run` replays a workload on a deployment given by names, `run_fleet` on the fleet of a file, `run_stream` one that is
too long to hold;
`run_points` replays or re-prices every point of a sweep, in threads or on a Ray cluster;
`run_shaping` replays the same requests under several arrival shapes, rates and windows;
`compare` replays a measured run of a real engine, `calibrate_runs` fits host constants and shares of peak to one.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Calibration": "calibrate",
    "Comparison": "against",
    "Simulation": "simulation",
    "calibrate_runs": "calibrate",
    "compare": "against",
    "run": "simulation",
    "run_fleet": "fleet_run",
    "run_points": "sweep_run",
    "run_shaping": "shaping",
    "run_stream": "stream_run",
}
__all__ = [
    "Calibration",
    "Comparison",
    "Simulation",
    "calibrate_runs",
    "compare",
    "run",
    "run_fleet",
    "run_points",
    "run_shaping",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wattlane.sim' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wattlane.sim.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
