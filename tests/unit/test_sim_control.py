"""A controller ticks on time, sees what happened since, and costs nothing where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fleet_scenes import fleet_scene
from reference_fleet import replay as slowly
from wattlane.core.errors import InputError
from wattlane.sim.fleet_types import Fleet, Scale, Scaling

# what would prove it wrong: no scene in which a controller changes who is active


def test_controllers_of_the_scenes_park_and_wake() -> None:
    """The scenes that the kernels are compared on reach both."""
    parked = 0
    for seed in range(1000, 1120):
        s = fleet_scene(seed, requests=9, longest_output=14)
        if s.fleet.scaling is None:
            continue
        _, servers, _ = slowly(s.workload, s.fleet, s.tags)
        parked += any(not server.active for server in servers)
    assert parked > 3


def test_scaling_says_all_that_is_wrong() -> None:
    with pytest.raises(InputError) as refused:
        Scaling(period_s=math.inf, target=0.0, pressure=-1, least=0)
    assert len(str(refused.value).split("\n")) == 5
    pools = fleet_scene(1000).fleet.pools
    with pytest.raises(InputError, match=r"parking without slo(.|\n)*both set"):
        Fleet(pools, scaling=Scaling(), scales=(Scale(0.0, (1,) * len(pools)),))
    assert np.isfinite(Scaling().period_s)
