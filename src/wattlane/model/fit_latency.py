"""Fit the time part of the phase law to times of another source and engine, partly pooled with what is known already.

What a fit of other platforms says of a new one (`wattlane.model.fit_phase.platform_prior`) is the prior. Engine
versions inside the source deviate from each other in what software decides:

    log θ[version] = log θ + deviation,    deviation ~ N(centre[version], VERSION_SD²)

with the centre of the host's time at log `ASYNC_HOST` for versions that schedule while the GPU works, else 0. How much
expert kernels pad is one fact of their software, seen on two kinds of weights: the two deviate together. Watts are not
fitted: the rows have none. Robust relative errors; rows count by the square root of their model's number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.extras import require
from wattlane.model.fit_phase import TIME_SD, Hierarchy
from wattlane.model.latency_points import LatencyRow, columns
from wattlane.model.laws.phase import PARAMETERS, geometry, law_rows
from wattlane.model.priors import SOFTWARE
from wattlane.model.steady import steady_rows

VERSION_SD = 0.5
ASYNC_HOST = 0.3  # of the host's time stays visible where scheduling overlaps with the GPU; wide by VERSION_SD
ANOTHER_SOURCE = {"eta_expert_flop": 0.8, "eta_experts": 0.2, "pad_tokens": 0.3, "pad_block_tokens": 0.3}
PADDING_SD = 0.8  # of what both paddings share


@dataclass(frozen=True, eq=False, slots=True)
class TimeFit:
    """Parameters of the law for each engine version of a source; versions never seen get the centre of theirs."""

    parameters: Mapping[str, float]
    deviations: Mapping[str, NDArray[np.float64]]

    def of(self, row: LatencyRow) -> dict[str, float]:
        """Return the parameters for the engine of a row."""
        deviation = self.deviations.get(row.version, _centre(row))
        out = dict(self.parameters)
        for name, value in zip(SOFTWARE, deviation, strict=True):
            out[name] *= float(np.exp(value))
        return out

    def predict(self, rows: tuple[LatencyRow, ...]) -> NDArray[np.float64]:
        """Return the seconds per output token of every row, (n,)."""
        found = [self.of(row) for row in rows]
        values = {name: np.array([p[name] for p in found]) for name in PARAMETERS}
        asked, _ = columns(rows)
        out: NDArray[np.float64] = steady_rows(law_rows(values, geometry([r.case for r in rows])), asked)[:, 0]
        return out

    def errors(self, rows: tuple[LatencyRow, ...]) -> NDArray[np.float64]:
        """Return log(predicted / measured) of every row, (n,)."""
        return np.asarray(np.log(self.predict(rows)) - columns(rows)[1])


def _centre(row: LatencyRow) -> NDArray[np.float64]:
    out = np.zeros(len(SOFTWARE))
    if row.is_async:
        out[SOFTWARE.index("host_s")] = np.log(ASYNC_HOST)
    return out


def _widened(prior: Hierarchy) -> NDArray[np.float64]:
    """Return the covariance of the parameters with what another source may differ in."""
    n = len(PARAMETERS)
    covariance = prior.covariance[:n, :n].copy()
    for name, sd in ANOTHER_SOURCE.items():
        covariance[PARAMETERS.index(name), PARAMETERS.index(name)] += sd**2
    both = [PARAMETERS.index("pad_tokens"), PARAMETERS.index("pad_block_tokens")]
    covariance[np.ix_(both, both)] += PADDING_SD**2
    return covariance


def fit_latency(rows: tuple[LatencyRow, ...], prior: Hierarchy) -> TimeFit:
    """Return the posterior mode of the time part given the prior of the platform.

    Args:
        rows: measured times, of any models and engine versions.
        prior: of one platform (`platform_prior`); its latent values are not used, lengths are known here.
    """
    n, soft = len(PARAMETERS), [PARAMETERS.index(name) for name in SOFTWARE]
    versions = sorted({row.version for row in rows})
    version = np.array([versions.index(row.version) for row in rows])
    centres = np.array([_centre(next(r for r in rows if r.version == v)) for v in versions])
    asked, measured = columns(rows)
    cases = geometry([row.case for row in rows])
    names = np.array([row.case.model.name for row in rows])
    _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    weight = counts[inverse] ** -0.25 / TIME_SD
    whiten = np.linalg.inv(np.linalg.cholesky(_widened(prior)))
    middle, top = prior.centre[:n], prior.ceiling[:n]

    def split(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return x[:n], x[n:].reshape(len(versions), len(soft))

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        shared, own = split(x)
        each = np.tile(shared, (len(rows), 1))
        each[:, soft] += own[version]
        values = dict(zip(PARAMETERS, np.exp(each).T, strict=True))
        error = (np.log(steady_rows(law_rows(values, cases), asked)[:, 0]) - measured) * weight
        robust = np.sign(error) * np.sqrt(2.0 * (np.sqrt(1.0 + error**2) - 1.0))
        return np.concatenate([robust, whiten @ (shared - middle), ((own - centres) / VERSION_SD).ravel()])

    begin = np.concatenate([np.minimum(middle, top - 1e-3), centres.ravel()])
    ceiling = np.concatenate([top, np.full(centres.size, np.inf)])
    scale = np.concatenate([np.sqrt(np.diag(_widened(prior))), np.full(centres.size, VERSION_SD)])
    found = require("scipy.optimize").least_squares(
        residuals, begin, x_scale=scale, bounds=(-np.inf, ceiling), ftol=1e-6, xtol=1e-6, gtol=1e-6
    )
    shared, own = split(found.x)
    return TimeFit(dict(zip(PARAMETERS, np.exp(shared).tolist(), strict=True)), dict(zip(versions, own, strict=True)))


def held(rows: Sequence[LatencyRow], name: str) -> tuple[tuple[LatencyRow, ...], tuple[LatencyRow, ...]]:
    """Return (the rows of all other models, the rows of the model `name`)."""
    return (
        tuple(r for r in rows if r.case.model.name != name),
        tuple(r for r in rows if r.case.model.name == name),
    )
