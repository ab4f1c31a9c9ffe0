"""Windowed release: requests of another process are held to the end of the window in which they arrive.

`kind=windowed,window_s=1,base=poisson,rate_rps=8`: what is not `window_s` or `base` is the base's. Arrivals stay those
of the base, seeded alike; the hold is part of every TTFT, which counts from arrival. `core.release` says when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.spec import Kind, Param, above_zero, name_of, resolve

NAME = "windowed"


def _not_drawn(_rng: np.random.Generator, _n: int) -> NDArray[np.float64]:
    raise AssertionError("arrivals are those of the base")  # pragma: no cover - `take_apart` goes before every draw


def take_apart(given: Mapping[str, str]) -> tuple[dict[str, str], float]:
    """Return the base's own pairs and the window, seconds.

    Raises:
        InputError: window or base are missing or wrong, or the base is windowed itself.
    """
    own = {param.name for param in KIND.params}
    _, values = resolve("arrival", {key: given[key] for key in given if key in {"kind", *own}}, {NAME: KIND})
    above_zero(f"arrival kind={NAME}", window_s=values["window_s"])
    if values["base"] == NAME:
        raise InputError(f"arrival kind={NAME}: base is {NAME}; expected another kind of arrivals to hold")
    rest = {key: value for key, value in given.items() if key not in {"kind", *own}}
    return {"kind": values["base"], **rest}, values["window_s"]


KIND = Kind(
    NAME,
    _not_drawn,
    "arrivals of another kind, each held to the end of its window",
    (
        Param("window_s", "length of the windows, seconds above 0"),
        Param("base", "kind of the arrivals that are held; its parameters follow", read=name_of),
    ),
)
