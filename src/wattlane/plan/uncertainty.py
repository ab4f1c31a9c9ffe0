"""How sure the saving is: paired draws of the law × block resampling of the arrivals.

Each draw takes law parameters from their covariance, the error of an unseen architecture, the loaded idle watts and
the clock prior, and rebuilds the trace from blocks of up to 60 s drawn with replacement; baseline and plan are replayed
under the same draw, so what both share cancels. The interval holds the middle 95 % of the savings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattlane.core.types import Deployment
from wattlane.core.workload import Workload
from wattlane.model.profile import draw
from wattlane.plan.pool import workers
from wattlane.plan.scenario import Scenario, saving

BLOCK_S = 60.0
LEVEL = 0.95
SOURCES = ("time", "power", "idle_w", "clock voltage", "clocked share", "arrivals")


@dataclass(frozen=True, eq=False)
class Draws:
    """Paired draws: `energy_j` and `attainment` are (draws, deployments), `savings` (draws, deployments − 1)."""

    energy_j: NDArray[np.float64]
    attainment: NDArray[np.float64]
    savings: NDArray[np.float64]
    inputs: NDArray[np.float64]

    def interval(self, column: int) -> tuple[float, float]:
        """Return the middle `LEVEL` of the savings of deployment `column` + 1 against deployment 0."""
        tail = (1.0 - LEVEL) / 2.0
        lo, hi = np.quantile(self.savings[:, column], [tail, 1.0 - tail])
        return float(lo), float(hi)

    def attainment_interval(self, column: int) -> tuple[float, float]:
        """Return the middle `LEVEL` of the attainments of deployment `column`."""
        tail = (1.0 - LEVEL) / 2.0
        lo, hi = np.quantile(self.attainment[:, column], [tail, 1.0 - tail])
        return float(lo), float(hi)

    def kept_share(self, column: int, attainment: float) -> float:
        """Return the share of draws in which deployment `column` keeps `attainment`."""
        return float(np.mean(self.attainment[:, column] >= attainment))

    def parts(self, column: int) -> dict[str, float]:
        """Return the share of the savings' variance that goes linearly with each source, and the rest."""
        y = self.savings[:, column] - self.savings[:, column].mean()
        if float(y @ y) == 0.0:
            return {}
        x = self.inputs - self.inputs.mean(axis=0)
        spread = np.sqrt((x**2).sum(axis=0))
        r2 = np.divide((x.T @ y) ** 2, spread**2 * (y @ y), out=np.zeros(x.shape[1]), where=spread > 0)
        shares = dict(zip(SOURCES, r2.tolist(), strict=True))
        return {**shares, "other": max(0.0, 1.0 - sum(shares.values()))}


def resample_blocks(workload: Workload, rng: np.random.Generator, block_s: float = BLOCK_S) -> Workload:
    """Return a workload of the same span built from blocks drawn with replacement.

    The span is cut into equal blocks of at most `block_s`, so that every block fits every place and the expected number
    of requests is that of the workload. Arrivals stay ascending and count from the start of the span.
    """
    start = workload.arrival_s - workload.arrival_s[0]
    blocks = max(1, int(np.ceil(workload.span_s / block_s)))
    length_s = workload.span_s / blocks
    of = np.searchsorted(length_s * np.arange(1, blocks), start, side="right")
    edges = np.searchsorted(of, np.arange(blocks + 1))
    drawn = rng.integers(0, blocks, blocks).tolist()
    rows = np.concatenate([np.arange(edges[block], edges[block + 1]) for block in drawn])
    if len(rows) == 0:
        return workload
    places = np.repeat(np.arange(blocks), [edges[block + 1] - edges[block] for block in drawn])
    offset = np.clip(start[rows] - length_s * of[rows], 0.0, length_s)
    # the last arrival of a block may be rounded past the first of the next
    arrival_s = np.maximum.accumulate(length_s * places + offset)
    return workload.take(rows, arrival_s, f"{workload.name} (resampled)")


class Row(NamedTuple):
    """One draw: joules and attainment of every deployment, savings of all but the first, and what was drawn."""

    energy_j: list[float]
    attainment: list[float]
    savings: list[float]
    inputs: list[float]


def one_draw(scenario: Scenario, deployments: Sequence[Deployment], seed: int, number: int) -> Row:
    """Return draw `number`: the same for the same seed and number, whatever was drawn before."""
    rng = np.random.default_rng([seed, number])
    law = draw(scenario.profile, scenario.case, rng)
    workload = resample_blocks(scenario.workload, rng)
    scores = [scenario.score(d, law, workload) for d in deployments]
    end_s = max(s.last_end_s for s in scores)
    inputs = [law.time_factor, law.power_factor, law.idle_w, law.clock.v_min, law.clock.share, float(len(workload))]
    return Row(
        [s.energy_j(end_s) for s in scores],
        [s.attainment for s in scores],
        [saving(scores[0], s) for s in scores[1:]],
        inputs,
    )


def paired_draws(
    scenario: Scenario,
    deployments: Sequence[Deployment],
    draws: int,
    seed: int,
    known: Mapping[int, Row] | None = None,
    finished: Callable[[int, Row], None] = lambda _n, _row: None,
) -> Draws:
    """Return `draws` paired draws of all `deployments`; the first is the baseline. Same seed, same draws.

    `known` holds draws made before; `finished(number, row)` is called for each new one, in order.
    """
    rows = dict(known or {})
    missing = [n for n in range(draws) if n not in rows]
    with workers() as pool:
        made = pool.map(lambda n: one_draw(scenario, deployments, seed, n), missing)
        for number, row in zip(missing, made, strict=True):
            rows[number] = row
            finished(number, row)
    ordered = [rows[n] for n in range(draws)]
    return Draws(*(np.array([row[i] for row in ordered]) for i in range(4)))
