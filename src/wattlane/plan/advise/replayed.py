"""Batch limit, token budget and release window by replay of the workload: paired draws of the law, the SLO beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wattlane.core.types import Deployment
from wattlane.model.profile import Draw, draw
from wattlane.plan.advise.advice import Advice, Basis
from wattlane.plan.pool import workers
from wattlane.plan.scenario import Scenario, Score, saving

DRAWS = 24
TAIL = 2.5
CAPS = (8, 16, 32, 64, 128, 256, 512)
BUDGETS = (512, 1024, 2048, 4096, 8192)
WINDOWS_S = (0.05, 0.1, 0.25, 0.5, 1.0)
SOURCE = "replay of the workload, interval over paired draws of the law"


def advise(scenario: Scenario, now: Deployment, latency_budget_s: float) -> list[Advice]:
    """Return the best value of each knob that keeps the SLO, and the nearest that saves more but breaks it."""
    lines: list[tuple[str, list[tuple[str, Deployment]], str]] = [
        (
            "max_num_seqs",
            _line(now, "max_num_seqs", [c for c in CAPS if c <= now.max_num_batched_tokens], "{}"),
            "More sequences share each reading of the weights; each also waits for the others.",
        ),
        (
            "max_num_batched_tokens",
            _line(now, "max_num_batched_tokens", [b for b in BUDGETS if b >= now.max_num_seqs], "{}"),
            "Long prompt chunks fill the arithmetic, and hold up the tokens of those who decode.",
        ),
        (
            "release window",
            [
                (f"{w * 1e3:.0f} ms", replace(now, release_window_s=w))
                for w in WINDOWS_S
                if w <= latency_budget_s and w != now.release_window_s
            ],
            "Requests released together run together; each waits half the window on average.",
        ),
    ]
    draws = [draw(scenario.profile, scenario.case, np.random.default_rng([7, n])) for n in range(DRAWS)]
    base = scenario.score(now)
    base_drawn = _scores(scenario, now, draws)
    found = []
    for knob, line, why in lines:
        best = _best(scenario, base, line)
        if best is not None:
            found.append(_advice(scenario, knob, *best, why, base, base_drawn, draws))
    return found


def _line(now: Deployment, name: str, values: Sequence[int], shown: str) -> list[tuple[str, Deployment]]:
    changed: list[dict[str, Any]] = [{name: value} for value in values if value != getattr(now, name)]
    return [(shown.format(change[name]), replace(now, **change)) for change in changed]


def _best(scenario: Scenario, base: Score, line: list[tuple[str, Deployment]]) -> tuple[str, Deployment, Score] | None:
    """Return the value that keeps the SLO and saves most; where none keeps it, the one that saves most."""
    with workers() as pool:
        scores = list(pool.map(lambda pair: scenario.score(pair[1]), line))
    tried = [(words, d, s) for (words, d), s in zip(line, scores, strict=True)]
    keeping = [one for one in tried if one[2].attainment >= scenario.slo.attainment]
    return max(keeping or tried, key=lambda one: saving(base, one[2]), default=None)


def _scores(scenario: Scenario, deployment: Deployment, draws: Sequence[Draw]) -> list[Score]:
    with workers() as pool:
        return list(pool.map(lambda d: scenario.score(deployment, d), draws))


def _advice(
    scenario: Scenario,
    knob: str,
    words: str,
    deployment: Deployment,
    score: Score,
    why: str,
    base: Score,
    base_drawn: list[Score],
    draws: Sequence[Draw],
) -> Advice:
    drawn = [saving(b, s) for b, s in zip(base_drawn, _scores(scenario, deployment, draws), strict=True)]
    middle = saving(base, score)
    lo, hi = np.percentile(drawn, [TAIL, 100 - TAIL])
    return Advice(
        knob,
        words,
        middle,
        min(float(lo), middle),
        max(float(hi), middle),
        Basis.MODELLED,
        SOURCE,
        why,
        score.attainment >= scenario.slo.attainment,
        score.attainment,
    )
