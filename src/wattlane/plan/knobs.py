"""What each knob contributes: the way from the baseline to the plan, one knob at a time, every step replayed.

The order is fixed (batch limits, replicas, release window, clock), so that what needs no privileges comes first; of the
two batch limits the one comes first that leaves a token for every sequence. A step need not keep the SLO by itself:
batch limits make room for fewer replicas, which only then are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wattlane.plan.scenario import Scenario, Score, saving

Turn = tuple[str, Mapping[str, Any], str, str]  # knob, change, before, after


@dataclass(frozen=True, slots=True)
class Step:
    """One knob turned: its values before and after, and where the energy stands then."""

    knob: str
    before: str
    after: str
    energy_j: float
    saving_fraction: float
    attainment: float


def _clock(hz: float | None) -> str:
    return "maximum" if hz is None else f"{hz / 1e6:.0f} MHz"


def path(scenario: Scenario, baseline: Score, plan: Score) -> list[Step]:
    """Return the steps from baseline to plan; `saving_fraction` is cumulative, against the baseline."""
    b, p = baseline.deployment, plan.deployment
    limits: list[Turn] = [
        (name, {name: getattr(p, name)}, str(getattr(b, name)), str(getattr(p, name)))
        for name in ("max_num_batched_tokens", "max_num_seqs")
    ]
    if p.max_num_batched_tokens < b.max_num_seqs:
        limits.reverse()
    turns: list[Turn] = [
        *limits,
        ("replicas", {"replicas": p.replicas}, str(b.replicas), str(p.replicas)),
        (
            "release_window_s",
            {"release_window_s": p.release_window_s},
            f"{b.release_window_s * 1e3:.0f} ms",
            f"{p.release_window_s * 1e3:.0f} ms",
        ),
        ("clock_hz", {"clock_hz": p.clock_hz}, _clock(b.clock_hz), _clock(p.clock_hz)),
    ]
    steps, at = [], b
    for knob, change, before, after in turns:
        turned = replace(at, **change)
        if turned == at:
            continue
        at = turned
        score = plan if at == p else scenario.score(at)
        end_s = max(baseline.last_end_s, score.last_end_s)
        steps.append(Step(knob, before, after, score.energy_j(end_s), saving(baseline, score), score.attainment))
    return steps
