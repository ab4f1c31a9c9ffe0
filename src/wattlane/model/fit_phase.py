"""Fit the phase law to measured serving points: relative errors, robust loss, priors from kernel tables.

Residuals are log(predicted / measured) of inter-token latency and of power, beside (log θ − log prior) / sd for every
parameter and for three latent values the tables lack: the mean prompt of each task and the ratio of the mean context
of a running request to its mean output (½ for equal lengths, more for spread ones). The solution is the posterior
mode; the covariance is that of its Gauss-Newton approximation, in log parameters.

A point is steady decoding at a fixed batch, in the form of `wattlane.model.steady`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.extras import require
from wattlane.model.calibration import Point
from wattlane.model.laws.phase import PARAMETERS, Case, law_vector
from wattlane.model.steady import effective_context, steady

LATENT = {"prompt_chat": (250.0, 0.6), "prompt_gpqa": (280.0, 0.4), "context_ratio": (0.60, 0.15)}
TIME_SD, POWER_SD = 0.08, 0.05  # noise of a row: repeats differ by 5-19 % in J/token


@dataclass(frozen=True, slots=True)
class PhaseFit:
    """A fitted phase law: parameters, covariance of their logarithms, latent values and residuals by group."""

    parameters: dict[str, float]
    covariance_log: NDArray[np.float64]
    latent: dict[str, float]
    time_error: NDArray[np.float64]
    power_error: NDArray[np.float64]
    groups: tuple[str, ...]

    @property
    def group_sd(self) -> tuple[float, float]:
        """Spread of the groups' mean log errors (time, power): what a new architecture may be off by."""
        names = sorted(set(self.groups))
        labels = np.array(self.groups)
        means = np.array([(self.time_error[labels == g].mean(), self.power_error[labels == g].mean()) for g in names])
        time_sd, power_sd = np.sqrt((means**2).mean(axis=0))
        return float(time_sd), float(power_sd)


def steady_state(law: NDArray[np.float64], point: Point, prompt: float, ratio: float) -> tuple[float, float]:
    """Return (mean inter-token latency in seconds, watts of the replica) of steady decoding at `point`."""
    context = effective_context(point.model, prompt + ratio * point.output_tokens)
    found = steady(law, point.batch, prompt, point.output_tokens, context)
    return found.iteration_s, found.power_w


def _prompt(latent: Mapping[str, float], task: str) -> float:
    return latent["prompt_gpqa" if task == "gpqa" else "prompt_chat"]


def errors(
    parameters: Mapping[str, float], latent: Mapping[str, float], points: Sequence[Point]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log(predicted / measured) of latency and of power, each (points,)."""
    time_error, power_error = np.empty(len(points)), np.empty(len(points))
    for i, p in enumerate(points):
        law = law_vector(parameters, Case(p.gpu, p.model, p.precision, p.num_gpus))
        t, w = steady_state(law, p, _prompt(latent, p.task), latent["context_ratio"])
        time_error[i], power_error[i] = np.log(t / p.itl_s), np.log(w / p.power_w)
    return time_error, power_error


def fit_phase(points: Sequence[Point], prior: Mapping[str, tuple[float, float]]) -> PhaseFit:
    """Return the posterior mode given `prior` (parameter → centre, log sd) and the measured points.

    Rows count by the square root of their group's size, so that no architecture drowns the others.
    """
    optimize = require("scipy.optimize")
    names = (*PARAMETERS, *LATENT)
    centres = np.log([(prior[n] if n in prior else LATENT[n])[0] for n in names])
    spreads = np.array([(prior[n] if n in prior else LATENT[n])[1] for n in names])
    labels = np.array([p.group for p in points])
    weight = np.array([1.0 / np.sqrt(np.sqrt(np.sum(labels == g))) for g in labels])

    def split(x: NDArray[np.float64]) -> tuple[dict[str, float], dict[str, float]]:
        values = dict(zip(names, np.exp(x).tolist(), strict=True))
        return {n: values[n] for n in PARAMETERS}, {n: values[n] for n in LATENT}

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        time_error, power_error = errors(*split(x), points)
        data = np.concatenate([time_error / TIME_SD * weight, power_error / POWER_SD * weight])
        # A robust loss on the data only: large misfits pull like their square root.
        data = np.sign(data) * np.sqrt(2.0 * (np.sqrt(1.0 + data**2) - 1.0))
        return np.concatenate([data, (x - centres) / spreads])

    # no kernel beats the peak it is a share of
    ceiling = np.where([n.startswith("eta_") for n in names], 0.0, np.inf)
    found = optimize.least_squares(residuals, centres, method="trf", x_scale=spreads, bounds=(-np.inf, ceiling))
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    parameters, latent = split(found.x)
    time_error, power_error = errors(parameters, latent, points)
    n = len(PARAMETERS)
    return PhaseFit(parameters, covariance[:n, :n], latent, time_error, power_error, tuple(labels.tolist()))
