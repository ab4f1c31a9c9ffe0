"""What one instance can be, and the knobs that say so: range, cost of a change, and whether they can be turned here.

A knob that cannot be controlled is left at what it is and named: a plan never rests on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.types import Deployment


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting of an instance: its values, what changing it asks for, and whether this site can change it."""

    name: str
    values: tuple[Any, ...]
    change: str  # "routing": none; "driver": seconds, privileged; "restart": the engine process starts anew
    controllable: bool = True
    why_not: str = ""


CHANGES = {
    "tensor_parallel": "restart",
    "pipeline_parallel": "restart",
    "expert_parallel": "restart",
    "precision": "restart",
    "model": "restart",
    "max_num_seqs": "routing",
    "max_num_batched_tokens": "restart",
    "clock_hz": "driver",
    "power_cap_w": "driver",
    "release_window_s": "routing",
}
STAY_PUT: dict[str, Any] = {"clock_hz": None, "power_cap_w": None, "release_window_s": 0.0}


@dataclass(frozen=True, slots=True)
class Option:
    """One configuration of one instance on GPUs of one entry of the fleet; `shape` numbers the engine process."""

    fleet: int
    shape: int
    deployment: Deployment

    @property
    def gpus(self) -> int:
        """GPUs one instance takes."""
        return self.deployment.gpus


def excluded(knobs: Sequence[Knob]) -> tuple[str, ...]:
    """Name the knobs that are left alone, with the reason."""
    return tuple(f"{k.name}: {k.why_not or 'not controllable here'}" for k in knobs if not k.controllable)


def usable(knob: Knob) -> tuple[Any, ...]:
    """Return the values a plan may use: all of them, or the one the knob stays at."""
    if knob.controllable:
        return knob.values
    return (STAY_PUT.get(knob.name, knob.values[0]),)


def enumerate_options(fleet: int, gpu: str, knobs: Sequence[Knob], first_shape: int) -> list[Option]:
    """Return every combination of the knobs' usable values on one entry of the fleet.

    Settings that need a restart make a shape; the others share its process. Token budgets below the batch limit are
    left out, the engine refuses them; so are degrees of expert parallelism that are neither 1 nor the GPUs of a stage.

    Raises:
        InputError: a knob twice, without values, or unknown; all problems together.
    """
    names = [k.name for k in knobs]
    problems = [f"knob {n!r} is given twice" for n in {n for n in names if names.count(n) > 1}]
    problems += [f"unknown knob {n!r}; expected one of {', '.join(CHANGES)}" for n in names if n not in CHANGES]
    problems += [f"knob {k.name!r} has no values; expected at least one" for k in knobs if not k.values]
    if problems:
        raise InputError.gathered(f"knobs of {gpu}", problems)
    shapes: dict[tuple[Any, ...], int] = {}
    found = []
    for values in itertools.product(*(usable(k) for k in knobs)):
        setting = dict(zip(names, values, strict=True))
        if setting.get("max_num_seqs", 1) > setting.get("max_num_batched_tokens", 2**31):
            continue
        if setting.get("expert_parallel") not in (None, 1, setting.get("tensor_parallel", 1)):
            continue
        process = tuple(setting[n] for n in names if CHANGES[n] == "restart")
        shape = shapes.setdefault(process, first_shape + len(shapes))
        found.append(Option(fleet, shape, Deployment(gpu=gpu, **setting)))
    return found
