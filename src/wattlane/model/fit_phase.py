"""Fit the phase law to measured serving points of several platforms at once: relative errors, robust, partly pooled.

A platform is a GPU with an engine. Its log parameters are a shared mean plus a deviation of its own,

    log θ[platform] = mean + deviation,   mean ~ N(log centre, wide²),   deviation ~ N(0, own²)

with the mean integrated out: the prior of a parameter over the platforms has covariance wide² + own²·δ. `own` 0 makes
the parameter one number for all. A platform nobody measured is predicted by the conditional mean.

Residuals are log(predicted / measured) of inter-token latency and of power, beside the whitened prior, and latent
values the tables lack: the mean prompt of each task, the ratio of the mean context of a running request to its mean
output (½ for equal lengths, more for spread ones) and the time of the slow path of `wattlane.model.calibration`. A row
whose measuring window was not steady had so much less context and prefill (`wattlane.model.measuring_window`). The
solution is the posterior mode; the covariance is that of its Gauss-Newton approximation, in log parameters.

Rows count by the square root of their group's size, so that no architecture drowns the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.extras import require
from wattlane.model import iteration as it
from wattlane.model.calibration import Point
from wattlane.model.laws.phase import PARAMETERS, Geometry, geometry, law_rows, taken
from wattlane.model.steady import steady_rows

PROMPT_OF = {"gpqa": "prompt_gpqa", "lm-arena-chat": "prompt_chat", "sourcegraph-fim": "prompt_fim"}
LATENT = {
    "prompt_chat": (250.0, 0.6),
    "prompt_gpqa": (280.0, 0.4),
    "prompt_fim": (600.0, 0.8),
    "context_ratio": (0.60, 0.15),
    "slow_s": (2.0e-2, 0.5),
}
TIME_SD, POWER_SD = 0.08, 0.05  # noise of a row: repeats differ by 5-19 % in J/token
LOOSE_TIME = 0.3  # weight of the time of a row whose prompts vary too much for a latent mean


@dataclass(frozen=True, slots=True)
class Prior:
    """Prior of one parameter: centre and log sd of the mean, log sd of a platform's deviation."""

    centre: float
    wide: float
    own: float = 0.0


@dataclass(frozen=True, eq=False)
class Table:
    """Measured rows as columns (n,), ready for any number of fits."""

    points: tuple[Point, ...]
    geometry: Geometry
    platform: NDArray[np.intp]
    group: NDArray[np.str_]
    asked: NDArray[np.float64]  # batch, prompt (NaN: latent), output, context per attending layer by two numbers
    prompt_index: NDArray[np.intp]
    windowed: NDArray[np.float64]  # share of attending layers with a window
    window: NDArray[np.float64]
    slow: NDArray[np.float64]
    measured: NDArray[np.float64]  # (n, 2), context and prompt of the measuring window against steady serving
    log_itl: NDArray[np.float64]
    log_power: NDArray[np.float64]

    def rows(self, which: NDArray[np.bool_]) -> Table:
        """Return the table of some rows."""
        index = np.flatnonzero(which)
        columns = {
            name: getattr(self, name)[index]
            for name in (
                "platform",
                "group",
                "asked",
                "prompt_index",
                "windowed",
                "window",
                "slow",
                "measured",
                "log_itl",
            )
        }
        points = tuple(self.points[i] for i in index)
        return Table(points, taken(self.geometry, index), log_power=self.log_power[index], **columns)


def table(platforms: Sequence[Sequence[Point]]) -> Table:
    """Return the rows of several platforms as one table, in order."""
    points = tuple(p for rows in platforms for p in rows)
    latent = list(LATENT)
    known = [p.input_tokens if p.input_tokens is not None else np.nan for p in points]
    return Table(
        points=points,
        geometry=geometry([p.case for p in points]),
        platform=np.repeat(np.arange(len(platforms)), [len(rows) for rows in platforms]),
        group=np.array([p.group for p in points]),
        asked=np.array([(p.batch, k, p.output_tokens) for p, k in zip(points, known, strict=True)]).reshape(-1, 3),
        prompt_index=np.array([latent.index(PROMPT_OF.get(p.task, "prompt_chat")) for p in points], dtype=np.intp),
        windowed=np.array([p.model.window_layers / p.model.attending_layers for p in points]),
        window=np.array([float(p.model.window_tokens) for p in points]),
        slow=np.array([float(p.slow_path) for p in points]),
        measured=np.array([p.window for p in points], dtype=np.float64).reshape(-1, 2),
        log_itl=np.log([p.itl_s for p in points]),
        log_power=np.log([p.power_w for p in points]),
    )


def errors(
    parameters: Mapping[str, NDArray[np.float64] | float], latent: Mapping[str, float], rows: Table
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log(predicted / measured) of latency and of power, each (n,).

    Args:
        parameters: one number, or one for each row, under every name of `PARAMETERS`.
        latent: a number under every name of `LATENT`.
        rows: what was measured.
    """
    law = law_rows(parameters, rows.geometry)
    law[:, it.HOST_S] += rows.slow * latent["slow_s"]
    batch, prompt, output = rows.asked.T
    prompt = np.where(np.isnan(prompt), np.array(list(latent.values()))[rows.prompt_index], prompt)
    younger, fresh = rows.measured.T
    context = prompt + latent["context_ratio"] * output * younger
    context = (1.0 - rows.windowed) * context + rows.windowed * np.minimum(context, rows.window)
    found = steady_rows(law, np.column_stack([batch, prompt * fresh, output, context]))
    return np.log(found[:, 0]) - rows.log_itl, np.log(found[:, 1] / found[:, 0]) - rows.log_power


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Where each log parameter of each platform stands in the vector of a fit, and the prior of that vector."""

    names: tuple[str, ...]
    platforms: int
    index: NDArray[np.intp]  # (platforms, parameters)
    centre: NDArray[np.float64]
    covariance: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    latent: slice = field(default_factory=lambda: slice(0))

    def parameters(self, x: NDArray[np.float64], platform: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Return the parameters of each row, given the platform of each row."""
        values = np.exp(x[self.index])[platform]
        return {name: values[:, j] for j, name in enumerate(self.names)}

    def latents(self, x: NDArray[np.float64]) -> dict[str, float]:
        """Return the latent values."""
        return dict(zip(LATENT, np.exp(x[self.latent]).tolist(), strict=True))


def hierarchy(priors: Sequence[Mapping[str, Prior]]) -> Hierarchy:
    """Return the joint prior of several platforms, given the prior of each: centres agree, own spreads may differ."""
    blocks: list[NDArray[np.float64]] = []
    centre: list[float] = []
    ceiling: list[float] = []
    index = np.zeros((len(priors), len(PARAMETERS)), dtype=np.intp)
    for j, name in enumerate(PARAMETERS):
        found = [prior[name] for prior in priors]
        own = np.array([prior.own for prior in found])
        places = len(found) if own.any() else 1
        index[:, j] = len(centre) + (np.arange(len(found)) if places > 1 else 0)
        blocks.append(np.full((places, places), found[0].wide ** 2) + np.diag(own[:places] ** 2 + 1e-9))
        centre += [np.log(prior.centre) for prior in found[:places]]
        # no kernel beats the peak it is a share of
        ceiling += [0.0 if name.startswith("eta_") else np.inf] * places
    start = len(centre)
    centre += [np.log(value) for value, _ in LATENT.values()]
    ceiling += [np.inf] * len(LATENT)
    covariance = np.zeros((len(centre), len(centre)))
    at = 0
    blocks += [np.array([[sd**2]]) for _, sd in LATENT.values()]
    for block in blocks:
        covariance[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return Hierarchy(
        PARAMETERS, len(priors), index, np.array(centre), covariance, np.array(ceiling), slice(start, len(centre))
    )


@dataclass(frozen=True, eq=False)
class PhaseFit:
    """A fitted phase law of several platforms: the mode and its covariance, in the order of `hierarchy`."""

    hierarchy: Hierarchy
    x: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def parameters(self, platform: int) -> dict[str, float]:
        """Return the parameters of one platform."""
        return {
            name: float(np.exp(self.x[i])) for name, i in zip(PARAMETERS, self.hierarchy.index[platform], strict=True)
        }

    def covariance_log(self, platform: int) -> NDArray[np.float64]:
        """Return the covariance of the log parameters of one platform."""
        index = self.hierarchy.index[platform]
        return self.covariance[np.ix_(index, index)]

    @property
    def latent(self) -> dict[str, float]:
        """The latent values."""
        return self.hierarchy.latents(self.x)

    def errors(self, rows: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log(predicted / measured) of latency and of power of `rows`, each (n,)."""
        return errors(self.hierarchy.parameters(self.x, rows.platform), self.latent, rows)


def _weights(rows: Table) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(rows.group, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] ** -0.25)


def _robust(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return residuals whose square grows like |r| where r is large: large misfits pull like their square root."""
    return np.asarray(np.sign(r) * np.sqrt(2.0 * (np.sqrt(1.0 + r**2) - 1.0)))


def solve(
    rows: Table, prior: Hierarchy, start: NDArray[np.float64] | None = None, loose: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the posterior mode of the log parameters, and its covariance.

    Args:
        rows: what was measured.
        prior: of the vector that is looked for.
        start: where to begin; the centre of the prior unless given.
        loose: rows without prompt lengths whose prompts vary much tell little of time.
    """
    optimize: Any = require("scipy.optimize")
    whiten = np.linalg.inv(np.linalg.cholesky(prior.covariance))
    weight = _weights(rows)
    vague = (rows.prompt_index == list(LATENT).index("prompt_fim")) & np.isnan(rows.asked[:, 1]) & loose
    time_weight, power_weight = weight * np.where(vague, LOOSE_TIME, 1.0) / TIME_SD, weight / POWER_SD

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        time, power = errors(prior.parameters(x, rows.platform), prior.latents(x), rows)
        data = _robust(np.concatenate([time * time_weight, power * power_weight]))
        return np.concatenate([data, whiten @ (x - prior.centre)])

    begin = np.minimum(prior.centre if start is None else start, prior.ceiling - 1e-3)
    found = optimize.least_squares(
        residuals, begin, method="trf", x_scale=np.sqrt(np.diag(prior.covariance)), bounds=(-np.inf, prior.ceiling),
        ftol=1e-6, xtol=1e-6, gtol=1e-6,
    )  # fmt: skip
    return found.x, np.linalg.inv(found.jac.T @ found.jac)


def fit_phase(rows: Table, priors: Sequence[Mapping[str, Prior]], start: PhaseFit | None = None) -> PhaseFit:
    """Return the posterior mode given the prior of each platform and the measured rows."""
    prior = hierarchy(priors)
    x, covariance = solve(rows, prior, None if start is None else start.x)
    return PhaseFit(prior, x, covariance)


def platform_prior(fit: PhaseFit, prior: Mapping[str, Prior]) -> Hierarchy:
    """Return what a fit of other platforms says of a platform it never saw, as the prior of a fit of that one alone.

    The conditional mean and covariance of the hierarchy. Nothing flows back: an older engine cannot bend the law of a
    newer one.
    """
    n, size = len(PARAMETERS), len(LATENT)
    known, before = fit.x, fit.hierarchy
    weights, spread, centre = np.zeros((n, len(known))), np.zeros(n), np.zeros(n)
    for j, name in enumerate(PARAMETERS):
        places = np.unique(before.index[:, j])
        shared = len(places) == 1
        k = np.full(len(places), prior[name].wide ** 2)
        share = np.ones(1) if shared else np.linalg.solve(before.covariance[np.ix_(places, places)], k)
        weights[j, places] = share
        own_centre = before.centre[places[0]] if shared else np.log(prior[name].centre)
        centre[j] = own_centre + share @ (known[places] - before.centre[places])
        spread[j] = prior[name].own ** 2 + (0.0 if shared else prior[name].wide ** 2 - k @ share)
    covariance = np.zeros((n + size, n + size))
    covariance[:n, :n] = weights @ fit.covariance @ weights.T + np.diag(spread + 1e-9)
    covariance[n:, n:] = np.diag([sd**2 for _, sd in LATENT.values()])
    ceiling = np.array([0.0 if name.startswith("eta_") else np.inf for name in (*PARAMETERS, *LATENT)])
    middle = np.concatenate([np.minimum(centre, ceiling[:n] - 1e-3), np.log([value for value, _ in LATENT.values()])])
    return Hierarchy(PARAMETERS, 1, np.arange(n)[None, :], middle, covariance, ceiling, slice(n, n + size))


def unseen(fit: PhaseFit, prior: Mapping[str, Prior]) -> PhaseFit:
    """Return the law of a platform nobody measured, by what `fit` says of it."""
    found = platform_prior(fit, prior)
    return PhaseFit(found, found.centre, found.covariance)


def fit_after(rows: Table, fit: PhaseFit, prior: Mapping[str, Prior]) -> PhaseFit:
    """Return the fit of one further platform, whose prior is what `fit` says of it."""
    hierarchy_ = platform_prior(fit, prior)
    x, covariance = solve(rows, hierarchy_)
    return PhaseFit(hierarchy_, x, covariance)
