"""A profile: a fitted phase law kept with its covariance, range, residuals and provenance, one small JSON file a GPU.

Dense models (hybrids with recurrent layers among them) and mixture-of-experts models are two families: one joint fit,
but residuals, range and intervals of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.gpus import Gpu
from wattlane.core.files import read_json, write_json
from wattlane.model import iteration as it
from wattlane.model.clock import ClockPrior, draw_clock_prior
from wattlane.model.laws.phase import PARAMETERS, Case, law_vector

KIND = "profile"
ROUNDING = 1e-4  # profile files keep five digits of their ranges
FAMILY_KEYS = ("covariance_log", "group_sd_time", "group_sd_power", "range", "residuals")
CONFORMAL_KINDS = ("power", "itl", "energy")  # watts, token gap, joules per output token
CONFORMAL_LEVEL = 0.90
SAME_WIDTH = {"fp16": "bf16"}


@dataclass(frozen=True, slots=True)
class Conformal:
    """Log half-width that covers 90 % of the rows of a new architecture, and how many architectures it rests on."""

    half_width_log: float
    groups: int


@dataclass(frozen=True, eq=False)
class Family:
    """One fitted parameter set. `group_sd_*` is how far a new architecture's time or power may be off (log).

    `deviation_sd` is how far each log parameter may be off on a GPU or engine the fit never saw; `conformal` holds
    split-conformal half-widths by `CONFORMAL_KINDS`, of left-out architectures. `within_sd` is how far one
    configuration may be off its architecture's mean error (log), by the same kinds: a prediction's, not a plan's, who
    compares configurations of one architecture.
    """

    parameters: Mapping[str, float]
    origins: Mapping[str, str]
    covariance_log: NDArray[np.float64]
    group_sd_time: float
    group_sd_power: float
    range: Mapping[str, tuple[float, float]]
    residuals: Mapping[str, Any]
    precisions: tuple[str, ...] = ()
    deviation_sd: Mapping[str, float] = field(default_factory=dict)
    conformal: Mapping[str, Conformal] = field(default_factory=dict)
    within_sd: Mapping[str, float] = field(default_factory=dict)

    @property
    def within(self) -> tuple[float, float, float]:
        """`within_sd` in the order of `CONFORMAL_KINDS`, 0 where it is not known."""
        power, itl, energy = (self.within_sd.get(kind, 0.0) for kind in CONFORMAL_KINDS)
        return power, itl, energy


@dataclass(frozen=True, eq=False)
class Profile:
    """A phase law for one GPU and engine, with families "dense" and "moe"."""

    name: str
    gpu: str
    engine: str
    families: Mapping[str, Family]
    provenance: Mapping[str, Any]
    cold_start: bool = False

    def family(self, case: Case) -> Family:
        """Return the parameter set that fits the model of `case`."""
        kind = "moe" if case.model.is_moe else "dense"
        if kind not in self.families:
            raise InputError(f"profile {self.name} has no {kind} family; found {', '.join(self.families)}")
        return self.families[kind]

    def law(self, case: Case, clock_prior: ClockPrior | None = None) -> NDArray[np.float64]:
        """Return the coefficients of one iteration at the best estimate, shape (N,)."""
        return law_vector(self.family(case).parameters, case, clock_prior)

    def outside(self, case: Case, batch: float) -> list[str]:
        """Return in words what of a question lies outside the calibrated range; empty means inside."""
        limits = self.family(case).range
        asked = {"batch": batch, "active_params": case.model.active_params, "num_gpus": case.num_gpus}
        found = [
            f"{name} {value:.4g} outside [{limits[name][0]:.4g}, {limits[name][1]:.4g}]"
            for name, value in asked.items()
            if name in limits and not limits[name][0] * (1 - ROUNDING) <= value <= limits[name][1] * (1 + ROUNDING)
        ]
        known = self.family(case).precisions
        if known and SAME_WIDTH.get(case.precision, case.precision) not in known:
            found.append(f"precision {case.precision} not among the fitted ones ({', '.join(known)})")
        if case.pipeline_parallel > 1:
            found.append("pipeline parallel: modelled, never measured")
        if case.model.is_moe and case.tensor_parallel > 1 and case.expert_gpus != case.tensor_parallel:
            found.append("experts split by tensor parallelism: every measured deployment spread whole experts")
        if SAME_WIDTH.get(case.kv_precision, case.kv_precision) != "bf16":
            found.append(f"KV cache in {case.kv_precision}: every measured cache was in 16 bit")
        if self.cold_start:
            donor = self.provenance.get("carried_over_from", "another GPU")
            found.append(f"{self.gpu} was never measured: parameters carried over from {donor}")
        return found


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of everything uncertain about a law: parameters, what an unseen architecture is off by, idle, clock."""

    parameters: Mapping[str, float]
    time_factor: float
    power_factor: float
    idle_w: float
    clock: ClockPrior

    def law(self, case: Case) -> NDArray[np.float64]:
        """Return the coefficients of one iteration under this draw."""
        given = replace(case, idle_w=self.idle_w)
        return scaled(law_vector(self.parameters, given, self.clock), self.time_factor, self.power_factor)


def scaled(law: NDArray[np.float64], time_factor: float, power_factor: float) -> NDArray[np.float64]:
    """Return a law whose every iteration takes `time_factor` times as long at `power_factor` times the watts."""
    out = law.copy()
    for i in (it.HOST_S, it.HOST_PER_SEQ_S, it.COMM_S, it.COMM_PER_TOKEN_S, it.LAYER_S, it.SEQ_S):
        out[i] *= time_factor
    for i in (it.EXPERT_S, it.EXPERT_TOKEN_S):
        out[i] *= time_factor
    for i in (it.WEIGHT_BYTES_PER_S, it.KV_BYTES_PER_S, it.FLOP_PER_S, it.ATTENTION_FLOP_PER_S):
        out[i] /= time_factor
    for i in (it.STATIC_W, it.HOST_LESS_W, it.LAYER_LESS_W):
        out[i] *= power_factor
    for i in (it.BYTE_J, it.FLOP_J, it.SEQ_J, it.EXPERT_J, it.EXPERT_TOKEN_J):
        out[i] *= time_factor * power_factor
    return out


def draw(profile: Profile, case: Case, rng: np.random.Generator) -> Draw:
    """Return one draw of the law for `case`, seeded by `rng`."""
    family = profile.family(case)
    centre = np.log([family.parameters[name] for name in PARAMETERS])
    # the shipped covariance is rounded: tiny negative eigenvalues are no information
    values, vectors = np.linalg.eigh(family.covariance_log)
    # the symmetric root is unique, whatever signs a machine's eigenvectors have
    step = vectors @ (np.sqrt(np.clip(values, 0.0, None)) * (vectors.T @ rng.standard_normal(len(values))))
    # no kernel beats the peak it is a share of
    ceiling = np.where([name.startswith("eta_") for name in PARAMETERS], 0.0, np.inf)
    gpu_ = case.gpu
    return Draw(
        parameters=dict(zip(PARAMETERS, np.exp(np.minimum(centre + step, ceiling)).tolist(), strict=True)),
        time_factor=float(np.exp(family.group_sd_time * rng.standard_normal())),
        power_factor=float(np.exp(family.group_sd_power * rng.standard_normal())),
        idle_w=float(rng.triangular(gpu_.idle_loaded_w_lo, gpu_.idle_loaded_w, gpu_.idle_loaded_w_hi)),
        clock=draw_clock_prior(rng),
    )


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile file, numbers rounded to 5 significant digits."""

    def short(value: float) -> float:
        return float(f"{value:.5g}")

    families = {
        kind: {
            "parameters": {
                n: {"value": short(v), "origin": f.origins.get(n, "fitted")} for n, v in f.parameters.items()
            },
            "covariance_log": [[short(v) for v in row] for row in f.covariance_log],
            "group_sd_time": short(f.group_sd_time),
            "group_sd_power": short(f.group_sd_power),
            "range": {k: [float(v) for v in limits] for k, limits in f.range.items()},
            "precisions": list(f.precisions),
            "deviation_sd": {name: short(sd) for name, sd in f.deviation_sd.items()},
            "conformal": {
                kind: {"half_width_log": short(c.half_width_log), "groups": c.groups, "level": CONFORMAL_LEVEL}
                for kind, c in f.conformal.items()
            },
            "within_sd": {name: short(sd) for name, sd in f.within_sd.items()},
            "residuals": dict(f.residuals),
        }
        for kind, f in profile.families.items()
    }
    head: dict[str, Any] = {"law": "phase", "name": profile.name, "gpu": profile.gpu, "engine": profile.engine}
    if profile.cold_start:
        head["cold_start"] = True
    write_json(path, KIND, {**head, "families": families, "provenance": dict(profile.provenance)})


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _family_problems(part: Any) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f"is {part!r}; expected an object"
        return
    parameters = part.get("parameters")
    found = parameters if isinstance(parameters, dict) else {}
    for name in PARAMETERS:
        value = found[name].get("value") if isinstance(found.get(name), dict) else found.get(name)
        if name not in found:
            yield f"missing parameter {name!r}"
        elif not (isinstance(found[name], dict) and "origin" in found[name] and _is_number(value) and value > 0):
            yield f"{name} is {value!r}; expected a value above 0 with its origin"
    yield from (f"missing key {key!r}" for key in FAMILY_KEYS if key not in part)
    covariance = part.get("covariance_log", [])
    size = len(PARAMETERS)
    rows = covariance if isinstance(covariance, list) else []
    if "covariance_log" in part and [len(r) if isinstance(r, list) else 0 for r in rows] != [size] * size:
        yield f"covariance_log is not {size} rows of {size} numbers"
    spreads = {key: part[key] for key in ("group_sd_time", "group_sd_power") if key in part}
    within = part.get("within_sd", {})
    spreads |= {f"within_sd of {k}": sd for k, sd in (within if isinstance(within, dict) else {"?": within}).items()}
    for key, sd in spreads.items():
        if not (_is_number(sd) and sd >= 0):
            yield f"{key} is {sd!r}; expected a number of at least 0"
    limits = part.get("range", {})
    conformal = part.get("conformal", {})
    for kind, width in conformal.items() if isinstance(conformal, dict) else [("?", conformal)]:
        if not (
            isinstance(width, dict) and _is_number(width.get("half_width_log")) and _is_number(width.get("groups"))
        ):
            yield f"conformal of {kind} is {width!r}; expected half_width_log and groups"
    for name, pair in limits.items() if isinstance(limits, dict) else [("range", limits)]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(_is_number(v) for v in pair)):
            yield f"range of {name} is {pair!r}; expected [lowest, highest]"


def read_profile(path: Path) -> Profile:
    """Read a profile file; every problem of its content is reported together.

    Raises:
        FileFormatError: truncated, another kind or a newer schema.
        InputError: keys or parameters missing or of the wrong form.
    """
    body = read_json(path, KIND)
    problems = [f"missing key {key!r}" for key in ("name", "gpu", "engine", "families") if key not in body]
    parts = body.get("families", {})
    if isinstance(parts, dict):
        problems += [f"{kind}: {problem}" for kind, part in parts.items() for problem in _family_problems(part)]
    else:
        problems.append(f"families is {parts!r}; expected an object by kind of model")
    if problems:
        raise InputError.gathered(str(path), problems)
    families = {
        kind: Family(
            parameters={n: float(v["value"]) for n, v in part["parameters"].items()},
            origins={n: v["origin"] for n, v in part["parameters"].items()},
            covariance_log=np.array(part["covariance_log"], dtype=float),
            group_sd_time=float(part["group_sd_time"]),
            group_sd_power=float(part["group_sd_power"]),
            range={k: (float(v[0]), float(v[1])) for k, v in part["range"].items()},
            residuals=part["residuals"],
            precisions=tuple(part.get("precisions", ())),
            deviation_sd={name: float(sd) for name, sd in part.get("deviation_sd", {}).items()},
            conformal={
                name: Conformal(float(width["half_width_log"]), int(width["groups"]))
                for name, width in part.get("conformal", {}).items()
            },
            within_sd={name: float(sd) for name, sd in part.get("within_sd", {}).items()},
        )
        for kind, part in body["families"].items()
    }
    cold = bool(body.get("cold_start", False))
    return Profile(body["name"], body["gpu"], body["engine"], families, body.get("provenance", {}), cold)


@cache
def shipped_profiles() -> dict[str, Profile]:
    """Return the profiles that come with wattlane, by GPU name."""
    folder = resources.files("wattlane.model") / "profiles"
    with resources.as_file(folder) as path:
        found = [read_profile(file) for file in sorted(path.glob("*.json"))]
    return {profile.gpu: profile for profile in found}


def profile_for(board: Gpu) -> Profile:
    """Return the shipped profile of a GPU, or a cold start from the nearest generation, marked as such.

    Parameters are shares of peak, of bandwidth and of the board limit, and joules per byte and FLOP: a cold start
    keeps those of the GPU it is carried over from, takes the facts of the board, and doubles the spread of a new
    architecture.
    """
    profiles = shipped_profiles()
    if board.name in profiles:
        return profiles[board.name]
    if not profiles:
        raise UnknownNameError("profile", board.name, profiles)
    return carried_over(profiles["H100" if "fp8" in board.flop_per_s else "A100-40GB"], board)


def carried_over(donor: Profile, board: Gpu) -> Profile:
    """Return `donor` as a cold start for `board`."""
    families = {kind: _widened(f, donor.gpu) for kind, f in donor.families.items()}
    note = {"carried_over_from": donor.name, "reason": f"no serving measurements of {board.name} were at hand"}
    return Profile(f"{board.name} (cold start)", board.name, donor.engine, families, note, cold_start=True)


def _widened(f: Family, donor: str) -> Family:
    own = np.array([f.deviation_sd.get(name, 0.0) for name in PARAMETERS])
    unseen = {kind: f.conformal[key] for kind in CONFORMAL_KINDS if (key := f"{kind}_unseen_gpu") in f.conformal}
    return replace(
        f,
        origins=dict.fromkeys(f.parameters, f"carried over from {donor}"),
        covariance_log=f.covariance_log + np.diag(own**2),
        group_sd_time=2.0 * max(f.group_sd_time, 0.08),
        group_sd_power=2.0 * max(f.group_sd_power, 0.08),
        residuals={},
        conformal={**f.conformal, **unseen},
    )
