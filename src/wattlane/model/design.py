"""Which measurements to take next: a greedy design on the Gauss-Newton information of a profile, weighted by cost.

A measurement is steady decoding at a batch and lengths. It tells log itl and log power, each with the noise of a row:

    y = J·x + noise,    x = (log parameters, log time factor, log power factor) ~ N(0, Σ)

with Σ the profile's covariance and the spread of an unseen architecture, J by finite differences of the law. A point
with rows J_i changes Σ to Σ − ΣJ_iᵀ·(R + J_iΣJ_iᵀ)⁻¹·J_iΣ, whatever it will show. Greedy, one at a time, by one of

    determinant   ½·log det(I + R⁻¹J_iΣJ_iᵀ), the information about x (D-optimal)
    variance      the fall of the mean variance of log power and log J/token over all candidates (I-optimal)

over the seconds the point takes to the power `cost_weight`. Greedy D-optimal choice is within 1 − 1/e of the best, the
gain being submodular (Krause, Singh and Guestrin 2008, Near-optimal sensor placements in Gaussian processes). Then each
choice is made again, given the others (exchange, Fedorov 1972).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import atomic
from wattlane.model.fit_phase import POWER_SD, TIME_SD
from wattlane.model.laws.phase import PARAMETERS, Case, law_vector
from wattlane.model.own_profile import chosen_profile
from wattlane.model.predict_rows import GPU_MEMORY_UTILIZATION, REFUSAL_FACTOR
from wattlane.model.profile import Profile
from wattlane.model.steady import effective_context, steady

CRITERIA = ("variance", "determinant")
MOST = 30
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
INPUTS = (64, 512, 2048, 8192)
OUTPUTS = (32, 128, 512, 2048)
ROUNDS = 5  # times a measurement fills its batch
FEWEST_REQUESTS = 16
OVERHEAD_S = 90.0  # start of an engine and warm-up
STEP = 1e-3
FEW, STARTS = 4, 12  # designs of few points are grown from several first points
EXCHANGES = 2  # passes in which each choice is made again, given the others

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One candidate: batch and lengths, the requests that fill it, and the seconds it takes by the law."""

    batch: int
    input_tokens: int
    output_tokens: int
    requests: int
    seconds: float

    @property
    def name(self) -> str:
        """Short label of a cell."""
        return f"b{self.batch} in{self.input_tokens} out{self.output_tokens}"


@dataclass(frozen=True, eq=False, slots=True)
class Design:
    """Chosen measurements in order, and the sd of log power and log J/token over all candidates before and after."""

    chosen: tuple[Measurement, ...]
    sd_before: float
    sd_after: float
    candidates: int

    @property
    def seconds(self) -> float:
        """Seconds of all chosen measurements, once each."""
        return sum(one.seconds for one in self.chosen)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "chosen": [asdict(one) for one in self.chosen],
            "sd_before": self.sd_before,
            "sd_after": self.sd_after,
            "candidates": self.candidates,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        lines = [f"{'batch':>6}{'input':>8}{'output':>8}{'requests':>10}{'seconds':>9}"]
        lines += [
            f"{p.batch:>6}{p.input_tokens:>8}{p.output_tokens:>8}{p.requests:>10}{p.seconds:>9.0f}" for p in self.chosen
        ]
        lines.append(
            f"sd of log power and log J/token over {self.candidates} points: {self.sd_before:.1%} before, "
            f"{self.sd_after:.1%} after, by the law; about {self.seconds / 60:.0f} minutes"
        )
        return "\n".join(lines)


def candidates(
    profile: Profile,
    case: Case,
    batches: Sequence[int] = BATCHES,
    inputs: Sequence[int] = INPUTS,
    outputs: Sequence[int] = OUTPUTS,
) -> list[Measurement]:
    """Return the measurements that fit the model's context, the memory and the refusal limits of the profile.

    Raises:
        InputError: none fits.
    """
    law, model = profile.law(case), case.model
    capacity = case.kv_capacity_tokens(GPU_MEMORY_UTILIZATION)
    highest = profile.family(case).range.get("batch", (0.0, np.inf))[1] * REFUSAL_FACTOR
    found = []
    for batch in batches:
        for given in inputs:
            for made in outputs:
                context = effective_context(model, given + made / 2.0)
                longest = model.max_context_tokens or np.inf
                if given + made > longest or batch * (given + made) > capacity or batch > highest:
                    continue
                mean = steady(law, float(batch), float(given), float(made), context)
                requests = max(FEWEST_REQUESTS, ROUNDS * batch)
                seconds = OVERHEAD_S + requests / batch * made * mean.iteration_s
                found.append(Measurement(batch, given, made, requests, seconds))
    if not found:
        raise InputError(f"design: no batch and lengths of {model.name} fit on {case.gpu.name}; use more GPUs")
    return found


def _logs(law: Floats, case: Case, points: Sequence[Measurement]) -> Floats:
    """Return log itl and log power of each point, (n, 2)."""
    out = np.empty((len(points), 2))
    for i, p in enumerate(points):
        context = effective_context(case.model, p.input_tokens + p.output_tokens / 2.0)
        found = steady(law, float(p.batch), float(p.input_tokens), float(p.output_tokens), context)
        out[i] = np.log(found.iteration_s), np.log(found.power_w)
    return out


def sensitivities(profile: Profile, case: Case, points: Sequence[Measurement]) -> tuple[Floats, Floats]:
    """Return J, (n, 2, p + 2), and Σ, (p + 2, p + 2): the slopes of log itl and log power, and what is known of x."""
    family = profile.family(case)
    best = dict(family.parameters)
    base = _logs(profile.law(case), case, points)
    slopes = np.zeros((len(points), 2, len(PARAMETERS) + 2))
    for j, name in enumerate(PARAMETERS):
        # downwards: no kernel beats the peak it is a share of
        moved = law_vector({**best, name: best[name] * np.exp(-STEP)}, case)
        slopes[:, :, j] = (base - _logs(moved, case, points)) / STEP
    slopes[:, 0, -2] = slopes[:, 1, -1] = 1.0
    size = len(PARAMETERS)
    covariance = np.zeros((size + 2, size + 2))
    covariance[:size, :size] = family.covariance_log
    covariance[-2, -2], covariance[-1, -1] = family.group_sd_time**2, family.group_sd_power**2
    return slopes, covariance


def predicted_variance(slopes: Floats, covariance: Floats) -> float:
    """Return the mean variance of log power and of log J/token (power × time) over points with `slopes`."""
    targets = np.concatenate([slopes[:, 1], slopes[:, 0] + slopes[:, 1]])
    return float(np.mean(np.einsum("ij,jk,ik->i", targets, covariance, targets)))


def learned(covariance: Floats, rows: Floats) -> Floats:
    """Return the covariance of x after a point with slopes `rows`, (2, p + 2)."""
    noise = np.diag([TIME_SD**2, POWER_SD**2])
    moved = covariance @ rows.T
    return covariance - moved @ np.linalg.solve(noise + rows @ moved, moved.T)


def _gains(slopes: Floats, covariance: Floats, criterion: str) -> Floats:
    noise = np.diag([TIME_SD**2, POWER_SD**2])
    moved = np.einsum("jk,nik->nji", covariance, slopes)  # Σ Jᵀ
    spread = noise + np.einsum("nij,njk->nik", slopes, moved)
    if criterion == "determinant":
        return 0.5 * (np.linalg.slogdet(spread)[1] - np.linalg.slogdet(noise)[1])
    targets = np.concatenate([slopes[:, 1], slopes[:, 0] + slopes[:, 1]])
    seen = np.einsum("tj,nji->nti", targets, moved)
    return np.einsum("nti,nij,ntj->n", seen, np.linalg.inv(spread), seen) / len(targets)


def _grown(slopes: Floats, prior: Floats, criterion: str, cost: Floats, count: int, first: int) -> list[int]:
    """Return `count` points grown greedily from `first`, each then chosen again given the others."""
    chosen, covariance = [first], learned(prior, slopes[first])
    while len(chosen) < count:
        gains = _gains(slopes, covariance, criterion) / cost
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
        covariance = learned(covariance, slopes[chosen[-1]])
    for _ in range(EXCHANGES):
        for place, given in enumerate(chosen):
            others = [i for i in chosen if i != given]
            rest = prior
            for i in others:
                rest = learned(rest, slopes[i])
            gains = _gains(slopes, rest, criterion) / cost
            gains[others] = -np.inf
            chosen[place] = int(np.argmax(gains))
    return chosen


def _worth(slopes: Floats, prior: Floats, criterion: str, cost: Floats, chosen: list[int]) -> float:
    """Return what a whole design gains for its mean cost."""
    total, covariance = 0.0, prior
    for i in chosen:
        total += float(_gains(slopes[[i]], covariance, criterion)[0]) if criterion == "determinant" else 0.0
        covariance = learned(covariance, slopes[i])
    if criterion == "variance":
        total = predicted_variance(slopes, prior) - predicted_variance(slopes, covariance)
    return total / float(np.mean(cost[chosen]))


def design(
    profile: Profile,
    case: Case,
    count: int = 12,
    *,
    criterion: str = "variance",
    cost_weight: float = 0.5,
    among: Sequence[Measurement] | None = None,
) -> Design:
    """Return `count` measurements, the most telling for their cost first.

    Args:
        profile: what is known.
        case: the replica to measure.
        count: at most 30.
        criterion: one of `CRITERIA`.
        cost_weight: 0 ignores the seconds a point takes, 1 divides by them.
        among: candidates instead of those of `candidates`.

    Raises:
        InputError: the count is outside 1 to 30, a negative weight, or nothing fits.
        UnknownNameError: no such criterion.
    """
    problems = [] if 1 <= count <= MOST else [f"count is {count}; expected 1 to {MOST}"]
    problems += [] if cost_weight >= 0.0 else [f"cost_weight is {cost_weight}; expected at least 0"]
    if problems:
        raise InputError.gathered("design", problems)
    if criterion not in CRITERIA:
        raise UnknownNameError("criterion", criterion, CRITERIA)
    points = list(among) if among is not None else candidates(profile, case)
    slopes, prior = sensitivities(profile, case, points)
    covariance = prior
    cost = np.array([p.seconds for p in points]) ** cost_weight
    before = predicted_variance(slopes, prior)
    # a few starts where exchanges are few: the best pair need not hold the best single point
    first = np.argsort(_gains(slopes, prior, criterion) / cost)[::-1][: STARTS if count <= FEW else 1]
    tried = [_grown(slopes, prior, criterion, cost, min(count, len(points)), int(i)) for i in first]
    chosen = max(tried, key=lambda one: _worth(slopes, prior, criterion, cost, one))
    covariance = prior
    for i in chosen:
        covariance = learned(covariance, slopes[i])
    after = predicted_variance(slopes, covariance)
    return Design(tuple(points[i] for i in chosen), float(np.sqrt(before)), float(np.sqrt(after)), len(points))


QUANTIZATION = {"fp8": ",quantization=fp8", "bf16": ""}


def campaign_toml(found: Design, case: Case, name: str, target: str | None = None, repeats: int = 1) -> str:
    """Return the design as a grid for `wattlane campaign`.

    Args:
        found: what to measure.
        case: the replica; decides the engine's options unless `target` is given.
        name: of the campaign.
        target: of `wattlane measure`, such as `url:...`; it may use {point.batch} and the other fields of a point.
        repeats: trials of each cell.

    Raises:
        InputError: a precision that needs a quantised checkpoint, and no target.
    """
    if target is None and case.precision not in QUANTIZATION:
        raise InputError(
            f"design: {case.precision} needs a checkpoint of its own; give a target, such as "
            "vllm:model=PATH,max_num_seqs={point.batch}"
        )
    longest = max(one.input_tokens + one.output_tokens for one in found.chosen) + 16
    engine = target or (
        f"vllm:model={case.model.name},dtype=bfloat16{QUANTIZATION[case.precision]},"
        f"tensor_parallel_size={case.tensor_parallel},max_num_seqs={{point.batch}},max_model_len={longest}"
    )
    points = "\n".join(
        f'  {{ label = "{one.name}", batch = {one.batch}, input = {one.input_tokens}, output = {one.output_tokens}, '
        f"requests = {one.requests} }},  # about {one.seconds:.0f} s"
        for one in found.chosen
    )
    words = f"{case.model.name} in {case.precision} on {case.gpu.name}"
    sds = f"from {found.sd_before:.1%} to {found.sd_after:.1%}"
    return f"""name = "{name}"
note = \"\"\"
{len(found.chosen)} measurements of {found.candidates} that fit: {words}, the most telling first.
By the law they lower the sd of log power and log J/token {sds} in about {found.seconds / 60:.0f} minutes.
Then: wattlane calibrate RUN --profile {case.gpu.name} -o my-profile.json\"\"\"
target = "{engine}"
concurrency = "{{point.batch}}"
order = "shuffled"

[workload]
arrival = "kind=burst"
lengths = "kind=fixed,input_tokens={{point.input}},output_tokens={{point.output}}"
n = "{{point.requests}}"

[factors]
point = [
{points}
]

[repeats]
at_least = {repeats}

[warmup]
batches = 1
settle_s = 2.0
"""


def write_design(
    model: str,
    board: str,
    out: Path,
    count: int,
    *,
    precision: str = "bf16",
    tensor_parallel: int = 1,
    profile: Path | None = None,
    criterion: str = "variance",
    cost_weight: float = 0.5,
    target: str | None = None,
    repeats: int = 1,
) -> Design:
    """Write the design for a model on a GPU to `out`, a grid of `wattlane campaign`, and return it.

    Raises:
        InputError: a name, the profile or a count is wrong, or nothing fits.
    """
    case = Case(gpu(board), resolve_model(model), precision, tensor_parallel)
    known = chosen_profile(case.gpu, profile)
    found = design(known, case, count, criterion=criterion, cost_weight=cost_weight)
    text = campaign_toml(found, case, out.stem, target, repeats)
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return found
