"""All work done by a time: the instances of a target share its requests evenly and never wait."""

from __future__ import annotations

from wattlane.core.errors import InputError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations.equation import Constraint
from wattlane.plan.assign.problem import Row
from wattlane.plan.assign.values import Case


def rows(case: Case, ask: Ask) -> tuple[Row, ...]:
    """Return one row a target, in seconds of work.

    Raises:
        InputError: the instances of a target are not known.
    """
    if ask.finish_s is None:
        return ()
    unknown = [target.name for target in case.targets if target.instances is None]
    if unknown:
        raise InputError(f"finish_s is given and the instances of {', '.join(unknown)} are not; expected how many run")
    runtime = case.predicted("runtime_s")
    return tuple(
        Row(f"finish[{target.name}]", "finish", {k: runtime[k]}, "<=", (target.instances or 0) * ask.finish_s, "s")
        for k, target in enumerate(case.targets)
    )


EQUATION = Constraint("finish", "Σ_i r_ki·x_ki ≤ n_k·T for each k", rows)
