"""Log-normal lengths, input and output independent, rounded and clipped to 1 … max.

Each side is given by mean and standard deviation of the tokens, or by median and σ of log tokens:
σ² = ln(1 + (sd / mean)²), median = mean · exp(−σ² / 2). The moments are those before clipping.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.workload.lengths.drawn import Drawn
from wattlane.workload.spec import Kind, Param

WHAT = "lengths kind=lognormal"


def lognormal(
    rng: np.random.Generator,
    n: int,
    *,
    input_mean_tokens: float | None = None,
    input_sd_tokens: float | None = None,
    input_median_tokens: float | None = None,
    input_sigma: float | None = None,
    output_mean_tokens: float | None = None,
    output_sd_tokens: float | None = None,
    output_median_tokens: float | None = None,
    output_sigma: float | None = None,
    max_input_tokens: int = 131072,
    max_output_tokens: int = 131072,
) -> Drawn:
    """Return n pairs, tokens.

    Raises:
        InputError: a side is given by neither or both forms, or a value is out of range.
    """
    problems: list[str] = []
    given_in = (input_mean_tokens, input_sd_tokens, input_median_tokens, input_sigma)
    given_out = (output_mean_tokens, output_sd_tokens, output_median_tokens, output_sigma)
    median_in, sigma_in = _median_and_sigma("input", given_in, problems)
    median_out, sigma_out = _median_and_sigma("output", given_out, problems)
    if min(max_input_tokens, max_output_tokens) < 1:
        problems.append("max_input_tokens and max_output_tokens must be at least 1")
    if problems:
        raise InputError.gathered(WHAT, problems)
    inputs, cut_in = _side(rng, n, median_in, sigma_in, max_input_tokens)
    outputs, cut_out = _side(rng, n, median_out, sigma_out, max_output_tokens)
    return Drawn(inputs, outputs, clipped=cut_in + cut_out)


def _median_and_sigma(
    side: str, given: tuple[float | None, float | None, float | None, float | None], problems: list[str]
) -> tuple[float, float]:
    mean, sd, median, sigma = given
    if mean is not None and sd is not None and median is None and sigma is None:
        if mean > 0 and sd >= 0:
            variance = math.log1p((sd / mean) ** 2)
            return mean * math.exp(-variance / 2), math.sqrt(variance)
        problems.append(f"{side}: mean {mean} and sd {sd} tokens; expected a mean above 0 and an sd of at least 0")
    elif median is not None and sigma is not None and mean is None and sd is None:
        if median > 0 and sigma >= 0:
            return median, sigma
        problems.append(f"{side}: median {median} tokens, sigma {sigma}; expected above 0, and at least 0")
    else:
        problems.append(
            f"{side}: expected {side}_mean_tokens with {side}_sd_tokens, or {side}_median_tokens with {side}_sigma"
        )
    return 1.0, 0.0


def _side(rng: np.random.Generator, n: int, median: float, sigma: float, most: int) -> tuple[NDArray[np.int64], int]:
    drawn = np.rint(median * np.exp(sigma * rng.standard_normal(n)))
    return np.clip(drawn, 1, most).astype(np.int64), int(np.count_nonzero(drawn > most))


def _side_params(side: str) -> tuple[Param, ...]:
    return (
        Param(f"{side}_mean_tokens", "mean tokens above 0", required=False),
        Param(f"{side}_sd_tokens", "standard deviation, tokens of at least 0", required=False),
        Param(f"{side}_median_tokens", "median tokens above 0", required=False),
        Param(f"{side}_sigma", "standard deviation of log tokens, at least 0", required=False),
    )


KIND = Kind(
    "lognormal",
    lognormal,
    "independent log-normal lengths by mean and sd or median and sigma",
    (
        *_side_params("input"),
        *_side_params("output"),
        Param("max_input_tokens", "longest prompt, tokens", required=False, default=131072, read=int),
        Param("max_output_tokens", "longest output, tokens", required=False, default=131072, read=int),
    ),
)
