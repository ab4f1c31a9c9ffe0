"""Whether a deployment keeps its SLO when law and arrivals turn out otherwise: a chance constraint, by replay.

Draws come from a stream of their own, so that the draws behind a saving's interval stay an independent check.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.types import Deployment
from wattlane.model.profile import draw
from wattlane.plan.pool import workers
from wattlane.plan.scenario import CAUTION, Scenario
from wattlane.plan.uncertainty import resample_blocks
from wattlane.sim import fleet

DRAWS = 60
MOST_MISSES = round((1.0 - CAUTION) * DRAWS)
STREAM = 0x5A0  # sets these draws apart from those of the interval, whatever the study's seed
BATCH = 4


def misses(scenario: Scenario, deployment: Deployment, number: int) -> bool:
    """Return whether draw `number` of law and arrivals makes `deployment` miss its attainment."""
    rng = np.random.default_rng([STREAM, STREAM, number])
    law = draw(scenario.profile, scenario.case, rng)
    run = scenario.replay(deployment, law, resample_blocks(scenario.workload, rng))
    return fleet.attainment(run, scenario.slo) < scenario.slo.attainment


def keeps_under_draws(scenario: Scenario, deployment: Deployment) -> bool:
    """Return whether `deployment` keeps its SLO in `CAUTION` of the draws; stops as soon as it cannot."""
    missed = 0
    with workers() as pool:
        for start in range(0, DRAWS, BATCH):
            batch = range(start, min(start + BATCH, DRAWS))
            missed += sum(pool.map(lambda n: misses(scenario, deployment, n), batch))
            if missed > MOST_MISSES:
                return False
    return True
