"""The idealised law: all FLOPs at the full peak rate and full TDP. A bound on efficiency, not a prediction.

    E = TDP / peak · FLOPs(in, out)            t = FLOPs(in, out) / peak

(Fernandez et al. 2025, arXiv 2504.17674, section 4.2.) Two choices move it by a factor of two and more, so every
report prints them side by side: the dense tensor peak or the headline one with 2:4 sparsity, which dense weights never
reach; and how FLOPs are counted (`wattlane.model.flops`). The study's A6000 figure of 309.7 TFLOP/s is with sparsity.

    gap     = real / ideal − 1
    saving  = 1 − (1 + gap of one side) / (1 + gap of the baseline)
    share   = 1 / (1 + gap), what the ideal is of the real energy
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.facts.gpus import Gpu
from wattlane.core.facts.models import Model
from wattlane.model.flops import CONVENTIONS, request_flop
from wattlane.model.law import REQUESTS, Traits
from wattlane.model.law_files import numbers, read_body, write_law

LAW = "ideal"
NUMBERS = ("tdp_w", "dense_flop_per_s", "sparse_flop_per_s")
SPARSE_SPEEDUP = 2.0  # 2:4 sparsity doubles the tensor rate of every NVIDIA board that has it


@dataclass(frozen=True, slots=True)
class Device:
    """What the ideal takes of a board; the sparse rate equals the dense one where the board has no sparsity."""

    name: str
    tdp_w: float
    dense_flop_per_s: float
    sparse_flop_per_s: float

    def __post_init__(self) -> None:
        if not (self.tdp_w > 0 and 0 < self.dense_flop_per_s <= self.sparse_flop_per_s):
            raise InputError(
                f"{self.name}: found {self.tdp_w} W, {self.dense_flop_per_s:.4g} FLOP/s dense and "
                f"{self.sparse_flop_per_s:.4g} sparse; expected values above 0, the sparse rate at least the dense one"
            )

    def j_per_flop(self, sparse: bool = False) -> float:
        """Return TDP over peak."""
        return self.tdp_w / (self.sparse_flop_per_s if sparse else self.dense_flop_per_s)


def device_of(board: Gpu, precision: str = "bf16") -> Device:
    """Return the device of a board of the catalogue."""
    dense = board.peak_flop_per_s(precision)
    return Device(board.name, board.tdp_w, dense, dense * SPARSE_SPEEDUP)


def published_devices() -> dict[str, Device]:
    """Return the devices of the study by name, each with the watts and rates it takes."""
    text = (resources.files("wattlane.model.laws") / "ideal_devices.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    return {name: Device(name, *(float(body[key]["value"]) for key in NUMBERS)) for name, body in tables.items()}


@dataclass(frozen=True, slots=True)
class Ideal:
    """The bound for one model on one device; `sparse` takes the headline peak, `convention` how FLOPs are counted."""

    model: Model
    device: Device
    sparse: bool = False
    convention: str = "least"
    traits: ClassVar[Traits] = Traits(
        REQUESTS.axes,
        REQUESTS.answers,
        REQUESTS.rising,
        exempt={"coverage": "a bound on efficiency states no interval"},
    )

    def answer(self, *asked: float) -> tuple[float, ...]:
        """Return (runtime in s, energy in J) of one request of (input, output) tokens at full rate and full TDP."""
        flop = request_flop(self.model, asked[0], asked[1], self.convention)
        energy_j = flop * self.device.j_per_flop(self.sparse)
        return energy_j / self.device.tdp_w, energy_j

    def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
        """Return (runtime in s, energy in J) of one request."""
        runtime_s, energy_j = self.answer(input_tokens, output_tokens)
        return runtime_s, energy_j

    def workload_j(self, counts: Mapping[tuple[float, float], float]) -> float:
        """Return the joules of a workload, given as (input, output) tokens → requests."""
        return sum(n * self.answer(*tokens)[1] for tokens, n in counts.items())


def sensitivity(model: Model, device: Device, counts: Mapping[tuple[float, float], float]) -> dict[str, float]:
    """Return the ideal joules of a workload under each choice of peak and count: "dense, least" → J, and so on."""
    return {
        f"{'sparse' if sparse else 'dense'}, {convention}": Ideal(model, device, sparse, convention).workload_j(counts)
        for sparse in (True, False)
        for convention in CONVENTIONS
    }


@dataclass(frozen=True, slots=True)
class Gap:
    """How far real energy lies above the ideal, as a share: 0.6375 means +63.75 %. Below 0 the ideal is no bound."""

    value: float

    def __post_init__(self) -> None:
        if not self.value > -1:
            raise InputError(f"gap is {self.value}; expected a share above -1 (real energy above 0)")

    @property
    def ideal_share(self) -> float:
        """What the ideal is of the real energy."""
        return 1.0 / (1.0 + self.value)

    def saving_against(self, baseline: Gap) -> float:
        """Return the share of the baseline's energy that is saved."""
        return 1.0 - (1.0 + self.value) / (1.0 + baseline.value)

    def at_peak_times(self, factor: float) -> Gap:
        """Return the gap had the ideal been computed with `factor` times the peak rate (½: dense for sparse)."""
        return Gap((1.0 + self.value) * factor - 1.0)


def gap(real_j: float, ideal_j: float) -> Gap:
    """Return the gap of a real energy above the ideal.

    Raises:
        InputError: an energy that is not above 0.
    """
    if not (real_j > 0 and ideal_j > 0):
        raise InputError(f"found {real_j} J real and {ideal_j} J ideal; expected both above 0")
    return Gap(real_j / ideal_j - 1.0)


def write_ideal(law: Ideal, path: Path) -> None:
    """Write a law file, the geometry of its model included."""
    device = {name: getattr(law.device, name) for name in NUMBERS}
    choices = {"sparse": law.sparse, "convention": law.convention}
    geometry = {key: value for key, value in asdict(law.model).items() if key != "name"}
    body = {"model": law.model.name, "device": law.device.name, **device, **choices, "geometry": geometry}
    write_law(path, LAW, body)


def read_ideal(path: Path) -> Ideal:
    """Read a law file.

    Raises:
        FileFormatError: another kind of file or another law, or no geometry of a model.
        InputError: values that are missing or no numbers, all together.
        UnknownNameError: no such count of FLOPs.
    """
    body: dict[str, Any] = read_body(path, LAW)
    values = numbers(path, body, NUMBERS)
    if body.get("convention") not in CONVENTIONS:
        raise UnknownNameError("FLOPs convention", str(body.get("convention")), CONVENTIONS)
    try:
        model = Model(name=str(body["model"]), **body["geometry"])
    except (KeyError, TypeError) as error:
        raise FileFormatError(
            f"{path}: found no usable geometry of a model ({error}); expected the keys of one"
        ) from error
    return Ideal(model, Device(str(body.get("device")), **values), bool(body.get("sparse")), body["convention"])
