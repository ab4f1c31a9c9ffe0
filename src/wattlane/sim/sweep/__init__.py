"""Many replays of one workload: `run_sweep` re-prices a timing history where it may, and replays in full where not."""

from wattlane.sim.sweep.points import Point, Step
from wattlane.sim.sweep.run import Sweep, run_sweep

__all__ = ["Point", "Step", "Sweep", "run_sweep"]
