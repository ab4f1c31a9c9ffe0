"""From a case and an ask to the arrays of the problem."""

from __future__ import annotations

import numpy as np

from wattlane.core.errors import InputError
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.equations import ADMISSIONS, CONSTRAINTS, OBJECTIVES
from wattlane.plan.assign.problem import Problem, Row
from wattlane.plan.assign.values import Case


def build(case: Case, ask: Ask) -> Problem:
    """Return the problem.

    Raises:
        InputError: the ask is wrong or needs what the targets do not say; all problems together.
    """
    problems = ask.problems(len(case.targets))
    if problems:
        raise InputError.gathered("assignment", problems)
    try:
        cost = OBJECTIVES[ask.objective].cost(case, ask)
    except InputError as error:
        problems.append(str(error))
    rows: list[Row] = []
    for constraint in CONSTRAINTS:
        try:
            rows += constraint.rows(case, ask)
        except InputError as error:
            problems.append(str(error))
    for admission in ADMISSIONS:
        try:
            refused = admission.refused(case, ask)
        except InputError as error:
            problems.append(str(error))
            continue
        if refused is not None and not problems:
            cost = np.where(refused, np.inf, cost)
    if problems:
        raise InputError.gathered("assignment", dict.fromkeys(problems))
    return Problem(cost, case.kinds.requests, tuple(rows), tuple(target.name for target in case.targets))
