"""The workload of a measurement: one in hand, a file, or a short text such as `poisson:n=100,rate_rps=20,input=64`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.measure.spec import parse_spec

DEFAULTS: dict[str, int | float | str] = {"n": 100, "rate_rps": 10.0, "input": 64, "output": 32}
SHAPES = ("burst", "poisson", "uniform")
EXAMPLE = "poisson:n=100,rate_rps=20,input=64,output=32"


def resolve_workload(given: Workload | Path | str, seed: int) -> Workload:
    """Return the workload that `given` names: itself, the file at that path, or a generated one.

    A generated one has `n` requests of `input` and `output` tokens each; the first arrives at 0.

    Raises:
        InputError: no such file and no such shape, or an option is wrong.
    """
    if isinstance(given, Workload):
        return given
    text = str(given)
    if Path(text).exists():
        from wattlane.workload.loading import load

        return load(Path(text)).workload
    spec = parse_spec(text)
    if spec.name not in SHAPES:
        raise UnknownNameError("workload", text, SHAPES, f"Or give the path of a file, or a text such as {EXAMPLE}.")
    options = spec.options_as(DEFAULTS)
    wrong = [f"{key} is {value}; expected above 0" for key, value in options.items() if not float(value) > 0]
    if wrong:
        raise InputError.gathered(text, wrong)
    n = int(options["n"])
    return Workload(
        _arrivals(spec.name, n, float(options["rate_rps"]), seed),
        np.full(n, int(options["input"])),
        np.full(n, int(options["output"])),
        name=text,
    )


def _arrivals(shape: str, n: int, rate_rps: float, seed: int) -> np.ndarray:
    if shape == "burst":
        return np.zeros(n)
    if shape == "uniform":
        return np.arange(n) / rate_rps
    gaps_s = np.random.default_rng(seed).exponential(1 / rate_rps, n - 1)
    return np.concatenate(([0.0], np.cumsum(gaps_s)))
