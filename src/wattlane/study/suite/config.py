"""What a suite replays: loads, seeds, draws; the whole of it, or the quick part."""

from __future__ import annotations

from dataclasses import dataclass

NAME = "slo-energy"
LOW, MEDIUM, HIGH = 0.3, 0.6, 0.9
NAMED = {LOW: "low", MEDIUM: "medium", HIGH: "high"}
COMPANIONS = {"azure-conv": "azure-code"}  # a shape that is replayed at medium load beside another


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is replayed. `part` is the share of each hour, from its beginning; the batch limits are those of the
    scenario's search that are named here, since the others win nowhere and cost a replay each. Controllers are tuned at
    the loads of `tuned_at`; a load between two takes the limits of the higher one, so that the SLO is kept."""

    loads: tuple[float, ...] = tuple(round(0.1 * k, 1) for k in range(1, 12))
    tuned_at: tuple[float, ...] = (LOW, MEDIUM, HIGH, 1.1)
    seeds: int = 5
    prior_draws: int = 40
    part: float = 1.0
    budgets: tuple[int, ...] = (512, 1024, 2048, 4096)
    seqs: tuple[int, ...] = (256, 1024)
    companions: bool = True

    def tuned_load(self, load: float) -> float:
        """Return the load whose limits a load takes: the next one that is tuned, or itself beyond all of them."""
        return min((at for at in self.tuned_at if at >= load - 1e-9), default=load)


QUICK = Extent(loads=(MEDIUM,), seeds=1, prior_draws=5, part=0.25, budgets=(1024, 2048), companions=False)
