"""The power of one GPU kernel from its work and its latency: a small law, fitted on measured operator tables.

    P = min(static + byte_j·bytes/s + flop_j·FLOP/s·(1 + reread·share), limit)         watts of one GPU

`static` is what the board draws while any such kernel keeps its SMs busy, `share` the share of FLOPs whose operands
are read from HBM again because a panel of tiles outgrows the L2 cache. FLOPs include the padding of tiles: a product
of two rows works a tile of 64. Coefficients differ by family of kernels and precision; `kernel_power.json` holds them
with their source. Short kernels (below 0.3 ms) are never fitted: their readings show what ran before them, and the law
answers for them from shape and latency like for any other.

Fitted by `tools/fit_kernel_power.py`; how, and against what: docs/reference/laws.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.gpus import Gpu
from wattlane.core.files import read_json, write_json
from wattlane.model.kernel_work import Array

KIND = "kernel-power"
UNITS = {"static_w": "W", "byte_j": "J/byte", "flop_j": "J/FLOP", "reread": "share of flop_j"}
FITTED_GPU = "H200"
# Joules per byte and per FLOP of another board of the same kind, as a factor: memory and process differ.
OTHER_BOARD_LOG_SD = 0.3


@dataclass(frozen=True, slots=True)
class KernelPower:
    """Coefficients of one family; watts of one GPU, joules per byte and per FLOP, `reread` a share of `flop_j`."""

    static_w: float
    byte_j: float
    flop_j: float
    reread: float = 0.0

    def power_w(self, flop_per_s: Array, bytes_per_s: Array, share: Array, limit_w: Array) -> Array:
        """Return the watts of kernels, arrays of one length; `share` is the share of FLOPs with operands read again."""
        drawn = self.static_w + self.byte_j * bytes_per_s + self.flop_j * flop_per_s * (1.0 + self.reread * share)
        return np.minimum(drawn, limit_w)


@dataclass(frozen=True, slots=True)
class KernelPowerLaw:
    """The law of every family, with what the phase law takes from it and where it came from."""

    families: Mapping[str, KernelPower]
    priors: Mapping[str, tuple[float, float]]
    residuals: Mapping[str, Mapping[str, float]]
    provenance: Mapping[str, Any]

    def family(self, name: str) -> KernelPower:
        """Return the coefficients of a family.

        Raises:
            UnknownNameError: no such family.
        """
        if name not in self.families:
            raise UnknownNameError("kernel family", name, self.families)
        return self.families[name]


@cache
def kernel_power() -> KernelPowerLaw:
    """Return the shipped law."""
    with resources.as_file(resources.files("wattlane.model") / "kernel_power.json") as path:
        return read_kernel_power(path)


def kernel_power_priors(board: Gpu) -> dict[str, tuple[float, float]]:
    """Return what the kernels say of a serving law's power: parameter → (centre, log sd).

    `static_w` (W per GPU, busy), `byte_j` (J/byte), `flop_j` and `flop_j_fp8` (J/FLOP). The log sd is the spread over
    families. Another board than the measured one gets the static power in proportion to its TDP and a wider spread.
    """
    law = kernel_power()
    measured = law.provenance["limit_w"]
    other = board.name != FITTED_GPU
    found = {}
    for name, (centre, log_sd) in law.priors.items():
        scale = board.tdp_w / measured if name == "static_w" else 1.0
        found[name] = (centre * scale, float(np.hypot(log_sd, OTHER_BOARD_LOG_SD if other else 0.0)))
    return found


def write_kernel_power(law: KernelPowerLaw, path: Path) -> None:
    """Write the law as a small file: every coefficient with its unit, then priors, residuals and provenance."""
    families = {
        name: {key: {"value": getattr(fit, key), "unit": unit} for key, unit in UNITS.items()}
        for name, fit in law.families.items()
    }
    priors = {
        name: {"value": centre, "unit": UNITS[name.removesuffix("_fp8")], "log_sd": log_sd}
        for name, (centre, log_sd) in law.priors.items()
    }
    residuals = {name: {**values} for name, values in law.residuals.items()}
    body = {"families": families, "priors": priors, "residuals": residuals, "provenance": {**law.provenance}}
    write_json(path, KIND, body)


def read_kernel_power(path: Path) -> KernelPowerLaw:
    """Read a law of kernel power.

    Raises:
        FileFormatError: another kind of file.
        InputError: a coefficient that is missing or negative.
    """
    body = read_json(path, KIND)
    try:
        families = {
            name: KernelPower(**{key: float(values[key]["value"]) for key in UNITS})
            for name, values in body["families"].items()
        }
        priors = {name: (float(p["value"]), float(p["log_sd"])) for name, p in body["priors"].items()}
        residuals, provenance = body["residuals"], body["provenance"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: found no {error}; expected families, priors, residuals and provenance") from error
    bad = [f"{n}.{key} is {getattr(f, key)}" for n, f in families.items() for key in UNITS if not getattr(f, key) >= 0]
    if bad:
        raise InputError.gathered(f"{path}: expected coefficients of at least 0", bad)
    return KernelPowerLaw(families, priors, residuals, provenance)
