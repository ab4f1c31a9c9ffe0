"""Many replays of one workload: `run_sweep` re-prices a timing history where it may, and replays in full where not."""

from wattlane.sim.sweep.points import Point, Step
from wattlane.sim.sweep.run import Sweep, run_sweep
from wattlane.sim.sweep.spread import OnRay, in_threads

__all__ = ["OnRay", "Point", "Step", "Sweep", "in_threads", "run_sweep"]
