"""One core behind every prediction: what is asked, what is refused and why, and the values of the rest.

A row is a deployment (model, GPU, precision, parallelism, clock, perhaps a cap) with a batch and lengths. A single case
is a table of one row. Every problem of a row is named, not only the first.

    bad     a value that makes no sense, or a model that does not fit            InputError, exit 1
    far     more than `REFUSAL_FACTOR` times outside the calibrated range         OutOfRangeError, exit 5
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.nodes import node_of
from wattlane.model.clock import SOURCE
from wattlane.model.laws.phase import Case
from wattlane.model.node import wall, wall_energy
from wattlane.model.predict_bundle import Bundle, bundle
from wattlane.model.predict_core import (
    PROMPT_LOG_SD,
    PROMPT_SOURCE,
    PROMPT_TOKENS,
    QUANTITIES,
    Rows,
    evaluate,
)
from wattlane.model.profile import Profile

# Refused past this multiple of the calibrated range; between the range and it, predicted and marked extrapolated.
REFUSAL_FACTOR = 4.0
GPU_MEMORY_UTILIZATION = 0.9
# Quantities with a split-conformal interval, by the place they have among the predicted ones.
CONFORMAL = {"power_w": ("power", 0), "itl_s": ("itl", 1), "energy_j_per_output_token": ("energy", 4)}
PREFILL_NOTE = "prefill_j_per_token is not validated against serving measurements"
CAP_NOTE = "the clock a power cap forces rests on priors, not on measurements"
PIPELINE_NOTE = (
    "a pipeline of s equal stages streams its weights once for each of s parts of the batch, in the time of one; with "
    "fewer than s sequences a stage waits 1 - batch/s of the time, at loaded idle watts"
)
EXPERTS_NOTE = "experts are taken as unevenly loaded as in the fitted deployments"

Floats = NDArray[np.float64]
Words = Callable[[int], str]


@dataclass(frozen=True, eq=False)
class Deployed:
    """One distinct deployment: `data_parallel` replicas of `case`; a capped one is solved for its clock."""

    case: Case
    profile: Profile
    data_parallel: int = 1
    capped: bool = False
    doubts: tuple[str, ...] = ()

    @cached_property
    def laws(self) -> Bundle:
        """The laws of one replica."""
        return bundle(self.profile, self.case, capped=self.capped)

    @cached_property
    def capacity_tokens(self) -> float:
        """How many tokens the caches of all replicas hold."""
        return float(self.data_parallel * self.case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION))

    @cached_property
    def batches(self) -> tuple[float, float]:
        """Batches of one replica the profile was fitted on."""
        return self.profile.family(self.case).range.get("batch", (0.0, np.inf))

    @cached_property
    def conformal_log(self) -> tuple[float, ...]:
        """Log half-widths of `CONFORMAL` at `CONFORMAL_LEVEL`, NaN where the profile has none."""
        known = {} if self.bad else self.profile.family(self.case).conformal
        return tuple(known[kind].half_width_log if kind in known else np.nan for kind, _ in CONFORMAL.values())

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Why every answer is extrapolated, whatever the batch."""
        inside = min(max(1.0, self.batches[0]), self.batches[1])
        return (*self.profile.outside(self.case, inside), *self.doubts)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What every answer rests on."""
        found = [PREFILL_NOTE]
        if self.case.clock_ratio < 1.0:
            found.append(f"the effect of {self.case.clock_hz:.4g} Hz is a prior, not measured: {SOURCE}")
        if self.capped:
            found.append(f"{CAP_NOTE}: {SOURCE}")
        if self.case.pipeline_parallel > 1:
            found.append(PIPELINE_NOTE)
        if self.case.model.is_moe:
            found.append(EXPERTS_NOTE)
        return tuple(found)

    @cached_property
    def bad(self) -> tuple[str, ...]:
        """Why nothing can be predicted: the weights do not fit, or the profile lacks the family."""
        found = []
        for tried in (lambda: self.profile.family(self.case), lambda: self.capacity_tokens):
            try:
                tried()
            except InputError as error:
                found.append(str(error))
        return tuple(found)

    @cached_property
    def far(self) -> tuple[str, ...]:
        """Properties of the deployment too far outside the calibrated range."""
        limits = self.profile.family(self.case).range
        asked = {"active_params": self.case.model.active_params, "num_gpus": float(self.case.num_gpus)}
        return tuple(
            _against(name, value, limits[name])
            for name, value in asked.items()
            if name in limits and not limits[name][0] / REFUSAL_FACTOR <= value <= limits[name][1] * REFUSAL_FACTOR
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows of equal length: which deployment (−1: none), and what of it.

    `batch` is over all replicas of the deployment; `input_tokens` NaN is marginalised over a prior; `power_cap_w` is
    per GPU, NaN without one.
    """

    index: NDArray[np.int64]
    batch: Floats
    input_tokens: Floats
    output_tokens: Floats
    power_cap_w: Floats


@dataclass(slots=True)
class Answer:
    """Values of the rows; `bad` and `far` name per refused row all its problems; `outside` are rows by batch."""

    rows: Rows
    outside: NDArray[np.bool_]
    bad: dict[int, list[str]] = field(default_factory=dict)
    far: dict[int, list[str]] = field(default_factory=dict)

    def refusals(self) -> dict[int, str]:
        """Return the problems of each refused row in one text."""
        texts = {}
        for row in sorted({*self.bad, *self.far}):
            far = [f"more than {REFUSAL_FACTOR:g} times outside the fitted range: {x}" for x in self.far.get(row, ())]
            texts[row] = "; ".join([*self.bad.get(row, ()), *far])
        return texts


def answer(deployments: Sequence[Deployed], asked: Asked) -> Answer:
    """Return the predictions of `asked`; refused rows are NaN and named."""
    size = len(asked.index)
    empty = np.full((QUANTITIES, size), np.nan)
    found = Answer(Rows(empty, empty, empty, np.full(size, np.nan)), np.zeros(size, dtype=bool))
    whole = [d for d in deployments if not d.bad]
    place = {id(d): i for i, d in enumerate(whole)}
    moved = np.array([place.get(id(d), -1) for d in deployments] + [-1], dtype=np.int64)
    index = moved[asked.index]
    for number, d in enumerate(deployments):
        problems = ((d.bad, found.bad), (() if d.bad else d.far, found.far))
        for texts, into in problems:
            if texts:
                for row in np.flatnonzero(asked.index == number).tolist():
                    into.setdefault(row, []).extend(texts)
    _check_values(asked, found)
    if whole:
        _check_against(whole, index, asked, found)
    index[[*found.bad, *found.far]] = -1
    replicas = np.array([d.data_parallel for d in whole] + [1.0])[index]
    gpus = np.array([float(d.case.num_gpus) for d in whole] + [1.0])[index]
    caps = np.where(np.isnan(asked.power_cap_w), np.inf, asked.power_cap_w * gpus)
    if not whole:
        return found
    found.rows = evaluate(
        [d.laws for d in whole], index, asked.batch / replicas, asked.input_tokens, asked.output_tokens, caps
    )
    if (replicas != 1.0).any():
        for part in found.rows[:3]:
            part[[0, 3]] *= replicas  # watts and tokens per second add up over replicas
    _check_caps(whole, index, asked, found)
    return found


def _note(into: dict[int, list[str]], where: NDArray[np.bool_], words: Words) -> None:
    for row in np.flatnonzero(where).tolist():
        into.setdefault(row, []).append(words(row))


def _too_small(name: str, values: Floats, row: int) -> str:
    return f"{name} is {values[row]:g}; expected at least 1"


def _against(name: str, value: float, limits: tuple[float, float]) -> str:
    return f"{name} {value:.4g} against [{limits[0]:.4g}, {limits[1]:.4g}]"


def _check_values(asked: Asked, found: Answer) -> None:
    for name in ("batch", "input_tokens", "output_tokens"):
        values: Floats = getattr(asked, name)
        wrong = values < 1.0 if name == "input_tokens" else ~(values >= 1.0)
        words = partial(_too_small, name, values)
        _note(found.bad, wrong | np.isinf(values), words)
    cap = asked.power_cap_w
    _note(found.bad, cap <= 0.0, lambda row: f"power_cap_w is {cap[row]:g}; expected watts above 0")


def _check_against(whole: Sequence[Deployed], index: NDArray[np.int64], asked: Asked, found: Answer) -> None:
    """Check rows against the model's context, the memory and the calibrated batches of their deployment."""

    def of(values: list[float]) -> Floats:
        return np.array([*values, np.nan])[index]

    def owner(row: int) -> Deployed:
        return whole[int(index[row])]

    mean_prompt = PROMPT_TOKENS * np.exp(PROMPT_LOG_SD**2 / 2.0)
    prompt = np.where(np.isnan(asked.input_tokens), 1.0, asked.input_tokens)
    total, longest = prompt + asked.output_tokens, of([d.laws.longest_tokens for d in whole])
    _note(
        found.bad,
        total > longest,
        lambda row: (
            f"{total[row]:g} tokens of context; expected at most the {longest[row]:.0f} of {owner(row).case.model.name}"
        ),
    )
    context = np.where(np.isnan(asked.input_tokens), mean_prompt, asked.input_tokens) + asked.output_tokens / 2.0
    share, window = of([d.laws.window_share for d in whole]), of([d.laws.window_tokens for d in whole])
    needed = asked.batch * (context - share * np.maximum(context - window, 0.0))
    capacity = of([d.capacity_tokens for d in whole])
    _note(
        found.bad,
        needed > capacity,
        lambda row: (
            f"a batch of {asked.batch[row]:g} keeps {needed[row]:,.0f} tokens in the cache; found room for "
            f"{capacity[row]:,.0f} on {_boards(owner(row))}; ask for a smaller batch or use more GPUs"
        ),
    )
    replica = asked.batch / of([float(d.data_parallel) for d in whole])
    _note(
        found.bad,
        (asked.batch >= 1.0) & (replica < 1.0 - 1e-12),
        lambda row: f"batch {asked.batch[row]:g} over {owner(row).data_parallel} replicas; expected at least 1 each",
    )
    low, high = of([d.batches[0] for d in whole]), of([d.batches[1] for d in whole])
    # a batch below the range is memory-bound like the smallest one measured: marked, not refused
    _note(
        found.far,
        replica > high * REFUSAL_FACTOR,
        lambda row: _against("batch", replica[row], (low[row], high[row])),
    )
    found.outside |= (replica < low * (1.0 - 1e-4)) | (replica > high * (1.0 + 1e-4))


def _boards(d: Deployed) -> str:
    return f"{d.data_parallel * d.case.num_gpus} x {d.case.gpu.name}"


def _check_caps(whole: Sequence[Deployed], index: NDArray[np.int64], asked: Asked, found: Answer) -> None:
    lost = (index >= 0) & np.isnan(found.rows.clock_hz)
    _note(
        found.bad,
        lost,
        lambda row: (
            f"power_cap_w is {asked.power_cap_w[row]:g}; at the lowest clock "
            f"({whole[int(index[row])].case.gpu.clock_min_hz:.4g} Hz) this work draws more"
        ),
    )


def reasons_of(d: Deployed, outside: bool, batch: float | None = None) -> tuple[str, ...]:
    """Return in words why an answer is extrapolated; with `batch` (of a replica) its number is said."""
    if not outside:
        return d.reasons
    low, high = d.batches
    named = "batch" if batch is None else f"batch {batch:.4g}"
    return (f"{named} outside [{low:.4g}, {high:.4g}]", *d.reasons)


def notes_of(d: Deployed, marginal: bool) -> tuple[str, ...]:
    """Return in words what an answer rests on; `marginal`: its prompt length was not given."""
    return (*d.notes, PROMPT_SOURCE) if marginal else d.notes


def at_the_wall(deployments: Sequence[Deployed], index: NDArray[np.int64], rows: Rows) -> dict[str, Floats]:
    """Return columns of watts and joules at the wall by name, (n,), NaN where a row has no prediction."""
    names = ("wall_power_w", "wall_energy_j_per_output_token")
    out = {f"{name}{end}": np.full(len(index), np.nan) for name in names for end in ("", "_lo", "_hi")}
    out["wall_alone_w"] = np.full(len(index), np.nan)
    gpus = np.array([float(d.data_parallel * d.case.num_gpus) for d in deployments] + [np.nan])[index]
    boards = [d.case.gpu.name for d in deployments]
    for name in dict.fromkeys(boards):
        mine = np.array([board == name for board in boards] + [False])[index] & ~np.isnan(rows.mean[0])
        board = deployments[boards.index(name)].case.gpu
        power = tuple(part[0, mine] for part in (rows.mean, rows.lo, rows.hi))
        found = wall(node_of(name), board, gpus[mine], *power)
        energy = wall_energy(found, power[0], (rows.mean[4, mine], rows.lo[4, mine], rows.hi[4, mine]))
        for column, values in zip(out, (found.mean_w, found.lo_w, found.hi_w, *energy, found.alone_w), strict=True):
            out[column][mine] = values
    return out


def conformal(deployments: Sequence[Deployed], index: NDArray[np.int64], rows: Rows) -> dict[str, Floats]:
    """Return columns `_lo90` and `_hi90` of the quantities that have a split-conformal interval, (n,), else NaN.

    The half-width covers 90 % of the rows of an architecture (for a GPU that was never measured: of a GPU) left out of
    the fit. It says nothing of clocks, caps or an unknown prompt, whose rows have none.
    """
    widths = np.array([d.conformal_log for d in deployments] + [(np.nan,) * len(CONFORMAL)])
    silent = [d.capped or d.case.clock_ratio < 1.0 for d in deployments]
    widths[:-1][np.array(silent, dtype=bool)] = np.nan
    out = {}
    for k, (name, (_, q)) in enumerate(CONFORMAL.items()):
        factor = np.exp(widths[:, k])[index]
        out[f"{name}_lo90"], out[f"{name}_hi90"] = rows.mean[q] / factor, rows.mean[q] * factor
    return out
