"""Every controller of the comparison, one row each; the names that the result singles out."""

from __future__ import annotations

from wattlane.study.suite.controllers import capacity, clocks, ours, plain
from wattlane.study.suite.controllers.base import Controller

CONTROLLERS: tuple[Controller, ...] = (*plain.ROWS, *clocks.ROWS, *capacity.ROWS, *ours.ROWS)
DEFAULT, LOWEST = plain.DEFAULT.name, clocks.LOWEST.name
OURS, UNPRIVILEGED = ours.OURS.name, ours.FREE.name
# the way from the default to ours, knob by knob, and what each part brings by itself
ABLATION: tuple[tuple[str, str], ...] = (
    (DEFAULT, "default, tuned batch"),
    (ours.ROUTING.name, "+ routing"),
    (UNPRIVILEGED, "+ parking: all without clocks"),
    (OURS, "+ clock: wattlane"),
    (ours.UNPARKED.name, "wattlane without parking"),
    (clocks.ENERGY_MINIMUM.name, "the clock alone"),
)

__all__ = ["ABLATION", "CONTROLLERS", "DEFAULT", "LOWEST", "OURS", "UNPRIVILEGED", "Controller"]
