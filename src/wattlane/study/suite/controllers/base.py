"""What a controller of the comparison is: its source, what that claims and against what, and how its fleet is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wattlane.sim.fleet_types import Fleet
from wattlane.study.suite.site import Knobs, Site
from wattlane.study.suite.tune import MARGIN

CLOCKS, LIMITS, PARKING = "clocks", "power limits", "stopping and starting engines"
NO_CLAIM = "no energy claim"


@dataclass(frozen=True)
class Controller:
    """One row. `privileges` names what it needs beyond the engine's own flags; empty if nothing does.

    `knobs` maps own knobs to their values, tuned from the first; `margin` is what tuning leaves to the target. One that
    is `wary` must keep it also a tenth of full load below, and where the load comes by thinning. A claim is the one of
    the source, for its own engine, model and baseline, and none of ours; `rule` says what is replayed under the name.
    """

    name: str
    title: str
    source: str
    claim: str
    against: str
    rule: str
    fleet: Callable[[Site, Knobs], Fleet]
    privileges: str = ""
    knobs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tuned: bool = True
    margin: float = MARGIN
    wary: bool = False

    def described(self) -> dict[str, str]:
        """Return what a reader needs to know of it, plain values."""
        names = ("name", "title", "source", "claim", "against", "rule", "privileges")
        return {name: getattr(self, name) for name in names}
