"""Differences b − a with 95 % intervals, and what would decide where none is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from wattlane.measure.campaigns.metrics import is_energy
from wattlane.measure.campaigns.rows import per_request
from wattlane.measure.comparing.blocks import block_mean
from wattlane.measure.comparing.meter_error import MeterError, meter_error
from wattlane.measure.comparing.sides import Figures
from wattlane.measure.energy.budget import Z
from wattlane.measure.spread import Spread, repeats_to_show, spread

if TYPE_CHECKING:
    import polars as pl

SERIES_METRICS = (
    "ttft_mean_s",
    "ttft_p99_s",
    "tbt_mean_s",
    "tbt_p99_s",
    "e2e_mean_s",
    "window_s",
    "power_w",
    "prefill_j",
    "decode_j",
    "energy_j_per_request",
    "energy_j_per_output_token",
)
REQUEST_METRICS = ("ttft", "tbt", "e2e")


class Verdict(StrEnum):
    """What a difference allows to be said."""

    LOWER = "b is lower"
    HIGHER = "b is higher"
    NOT_SHOWN = "no difference shown"
    UNDECIDED = "cannot be told from so few"


@dataclass(frozen=True, slots=True)
class Difference:
    """b − a of one metric. `basis` says whether the interval is over requests of one run a side, or over trials.

    `needed` is how many of the basis would show this difference if the spread stays; None when it is shown, or when no
    number would: the gain of two cards and bounds do not fall with it. `relative` is b/a − 1, with its own interval
    over trials. `like_for_like` is False where boundary or origin of an energy differ.
    """

    metric: str
    basis: str
    n: int
    a: float
    b: float
    difference: float
    lo: float | None
    hi: float | None
    relative: float | None
    verdict: Verdict
    needed: int | None
    like_for_like: bool = True
    relative_lo: float | None = None
    relative_hi: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "verdict": self.verdict.value}


def between_trials(a: Mapping[int, Figures], b: Mapping[int, Figures], alike: bool) -> list[Difference]:
    """Return the differences over trials of the same number; `alike` is whether energies are like for like.

    The gain of a card's sensor is one in all its trials: it scales a difference and cancels in a ratio on that card.
    """
    pairs, found = sorted(a.keys() & b.keys()), []
    for metric in SERIES_METRICS:
        both = [i for i in pairs if a[i].get(metric) is not None and b[i].get(metric) is not None]
        if not both:
            continue
        deltas = [float(b[i][metric]) - float(a[i][metric]) for i in both]
        one = spread(deltas)
        assert one is not None
        error = meter_error([(a[i], b[i]) for i in both], metric) if is_energy(metric) else MeterError()
        # the spread over trials holds the random parts of their windows; two trials may agree by chance
        random = None if one.half_width is None else max(one.half_width, error.random)
        half = None if random is None else math.hypot(random, error.gain) + error.bounds
        mean_a = math.fsum(float(a[i][metric]) for i in both) / len(both)
        sd, reach = _sd(one, error), _reachable(one.mean, error)
        difference = _difference(metric, "trials", len(both), mean_a, one.mean, half, sd, alike, reach)
        ratio_half = _ratio_half([(float(a[i][metric]), float(b[i][metric])) for i in both], error)
        if difference.relative is not None and ratio_half is not None:
            lo, hi = difference.relative - ratio_half, difference.relative + ratio_half
            difference = replace(difference, relative_lo=lo, relative_hi=hi)
        found.append(difference)
    return found


def _ratio_half(pairs: list[tuple[float, float]], error: MeterError) -> float | None:
    """Return the half-width of mean b / mean a: spread of b − (b/a) a over the pairs, and the meter's own error."""
    a, b = (math.fsum(pair[side] for pair in pairs) for side in (0, 1))
    if not a:
        return None
    seen = spread([other - b / a * one for one, other in pairs])
    if seen is None or seen.half_width is None:
        return None
    random = max(seen.half_width * len(pairs) / abs(a), error.ratio_random)
    return math.hypot(random, error.ratio_gain) + error.ratio_bounds


def between_requests(a: pl.DataFrame, b: pl.DataFrame, alike: bool) -> tuple[list[Difference], dict[str, Any]]:
    """Return the differences over requests of the same id that completed on both sides, and how they matched."""
    left, right = _by_request(a), _by_request(b)
    _, at_a, at_b = np.intersect1d(left["request_id"], right["request_id"], return_indices=True)
    order = np.argsort(left["arrival"][at_a], kind="stable")
    at_a, at_b = at_a[order], at_b[order]
    asked_apart = left["input_tokens"][at_a] != right["input_tokens"][at_b]
    matching = {
        "matched": len(at_a),
        "completed_a": len(left["request_id"]),
        "completed_b": len(right["request_id"]),
        "requests_a": len(a),
        "requests_b": len(b),
        "other_lengths": int(np.sum(asked_apart & np.isfinite(left["input_tokens"][at_a]))),
    }
    found = []
    for name in (*REQUEST_METRICS, "energy"):
        metric = f"{name}_s" if name != "energy" else "energy_j_per_request"
        x, y = left[name][at_a], right[name][at_b]
        known = np.isfinite(x) & np.isfinite(y)
        one = block_mean(y[known] - x[known])
        if one is None:
            continue
        half = None if one.hi is None else one.hi - one.mean
        sd = None if one.error is None else one.error * math.sqrt(one.n)
        found.append(
            _difference(
                metric, "requests", one.n, float(x[known].mean()), one.mean, half, sd, alike or name != "energy"
            )
        )
    return found, matching


def _by_request(served: pl.DataFrame) -> dict[str, Any]:
    done = served.filter(served["outcome"] == "completed").sort("request_id")
    parts = [done[name].cast(float).to_numpy() for name in ("prefill_j", "decode_j")]
    return {
        **per_request(served),
        "input_tokens": done["input_tokens"].cast(float).to_numpy(),
        "energy": parts[0] + parts[1],
    }


def _difference(
    metric: str,
    basis: str,
    n: int,
    a: float,
    delta: float,
    half: float | None,
    sd: float | None,
    alike: bool,
    reach: float | None = None,
) -> Difference:
    lo, hi = (None, None) if half is None else (delta - half, delta + half)
    like = alike or not is_energy(metric)
    if lo is None or hi is None:
        verdict = Verdict.UNDECIDED
    elif lo <= 0 <= hi:
        verdict = Verdict.NOT_SHOWN
    else:
        verdict = Verdict.LOWER if hi < 0 else Verdict.HIGHER
    shown = verdict in (Verdict.LOWER, Verdict.HIGHER)
    needed = None if shown or sd is None else repeats_to_show(delta if reach is None else reach, sd)
    return Difference(metric, basis, n, a, a + delta, delta, lo, hi, delta / a if a else None, verdict, needed, like)


def _sd(found: Spread, error: MeterError) -> float | None:
    """Return the sd of one pair; not below what the windows themselves have, since few pairs may agree by chance."""
    return None if found.sd is None else max(found.sd, error.random / Z * math.sqrt(found.n))


def _reachable(delta: float, error: MeterError) -> float:
    """Return what is left of a difference for repeats to show, once gain and bounds have taken their share of it."""
    return math.sqrt(max(max(abs(delta) - error.bounds, 0.0) ** 2 - error.gain**2, 0.0))
