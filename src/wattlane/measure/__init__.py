"""Floor 2, joules: meters, engines under test, load generation, phases in time, validity.

`run` measures one workload on one engine, `diagnose` says what can be measured here, `drive` only sends the load,
`window` meters a stretch of one's own code.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Delivery": "load",
    "Finding": "readings",
    "Measurement": "result",
    "Meter": "readings",
    "Reading": "readings",
    "Telemetry": "live",
    "campaign": "campaigns.campaign",
    "check_sensors": "checkup",
    "check_telemetry": "checkup",
    "compare": "comparing.compare",
    "diagnose": "doctor",
    "drive": "load",
    "run": "trial",
    "window": "live",
}
__all__ = [
    "Delivery",
    "Finding",
    "Measurement",
    "Meter",
    "Reading",
    "Telemetry",
    "campaign",
    "check_sensors",
    "check_telemetry",
    "compare",
    "diagnose",
    "drive",
    "run",
    "window",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wattlane.measure' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wattlane.measure.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
