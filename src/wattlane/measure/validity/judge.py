"""Run every check over a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wattlane.measure.validity import averaging, counter, levels, sampling, scope, serving, throttle
from wattlane.measure.validity.codes import Reason, Verdict
from wattlane.measure.validity.scene import Scene
from wattlane.measure.validity.settle import settle

Check = Callable[[Scene], Iterator[Reason]]
CHECKS: tuple[Check, ...] = (
    scope.check_devices,
    scope.check_mig,
    scope.check_module,
    sampling.check_stale,
    sampling.check_missing,
    counter.check_unit,
    counter.check_falls,
    counter.check_frozen,
    counter.check_agreement,
    levels.check_levels,
    levels.check_constant,
    averaging.check_averaged,
    throttle.check_throttle,
    throttle.check_clock,
    serving.check_edges,
    serving.check_success,
    serving.check_tokens,
    serving.check_generator,
    serving.check_clock_step,
)


def examine(scene: Scene) -> Verdict:
    """Return the verdict on a run."""
    return settle(reason for check in CHECKS for reason in check(scene))
