"""Find the deployment of least energy that keeps the SLO: repeated line searches over the knobs, every point replayed.

From the best two starts (one per token budget, each with the fewest replicas that keep the SLO at the maximum clock,
then at its best clock) every knob is scanned over all its values, and replicas together with the clock, until nothing
improves. A point counts only if it keeps the attainment at the best estimate, under a law as slow as the 95th
percentile of its uncertainty (parameters, unseen architecture, clock prior), and in 95 % of draws of law and arrivals.
Points are replayed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from wattlane.core.errors import InfeasibleError
from wattlane.core.types import Deployment
from wattlane.plan.caution import keeps_under_draws
from wattlane.plan.pool import workers
from wattlane.plan.scenario import Scenario, Score, saving
from wattlane.plan.space import Space
from wattlane.sim import fleet

Progress = Callable[[Score, int], None]
STARTS = 2
WORTH_IT = 0.01  # a knob that brings less than this share of the energy is left where the baseline has it
# a plan may use this many replicas more than the fewest, at least: slower clocks and caution need them
REPLICAS_BEYOND, SHARE_BEYOND = 2, 0.5


def _silent(_score: Score, _points: int) -> None:
    return


def most_replicas(fewest: int) -> int:
    """Return how many replicas are tried where `fewest` keep the SLO."""
    return fewest + max(REPLICAS_BEYOND, math.ceil(SHARE_BEYOND * fewest))


@dataclass(frozen=True, slots=True)
class Found:
    """The best point and every point replayed on the way."""

    best: Score
    points: tuple[Score, ...]


@dataclass(eq=False)
class Search:
    """One search: the scenario, its baseline to save against, and the points replayed so far."""

    scenario: Scenario
    baseline: Score
    space: Space
    progress: Progress = _silent
    seen: dict[Deployment, Score] = field(default_factory=dict)
    robust: dict[Deployment, bool] = field(default_factory=dict)

    def scores(self, deployments: Iterable[Deployment]) -> list[Score]:
        """Replay what is new, on all cores, and return the scores in order."""
        wanted = list(dict.fromkeys(deployments))
        new = [d for d in wanted if d not in self.seen]
        with workers() as pool:
            for deployment, score in zip(new, pool.map(self.scenario.score, new), strict=True):
                self.seen[deployment] = score
                self.progress(score, len(self.seen))
        return [self.seen[d] for d in wanted]

    def keeps(self, score: Score) -> bool:
        """Whether a point keeps the SLO at the best estimate, under the cautious draw of the law, and under draws."""
        if score.attainment < self.scenario.slo.attainment or score.refused > self.baseline.refused:
            return False
        if score.deployment not in self.robust:
            again = self.scenario.score(score.deployment, self.scenario.cautious_draw(score.deployment))
            holds = again.attainment >= self.scenario.slo.attainment
            self.robust[score.deployment] = holds and keeps_under_draws(self.scenario, score.deployment)
        return self.robust[score.deployment]

    def best_of(self, scores: Iterable[Score], beyond: float = -math.inf) -> Score | None:
        """Return the point of largest saving above `beyond` that keeps the SLO; ties go to the earlier one."""
        for score in sorted(scores, key=lambda s: -saving(self.baseline, s)):
            if saving(self.baseline, score) <= beyond:
                return None
            if self.keeps(score):
                return score
        return None

    def fewest_replicas(self, template: Deployment, most: int) -> Score | None:
        """Return the point with the fewest replicas that keeps the SLO, None if `most` do not."""
        for n in range(1, most + 1):
            (score,) = self.scores([replace(template, replicas=n)])
            if self.keeps(score):
                return score
        return None

    def at_best_clock(self, start: Score) -> Score:
        """Return a start at the clock of least energy that keeps the SLO: a small budget allows a lower one."""
        line = self.scores(replace(start.deployment, clock_hz=hz) for hz in self.space.clock_hz)
        return self.best_of([start, *line]) or start

    def neighbours(self, at: Deployment, fewest: int) -> list[list[Deployment]]:
        """Return the lines to scan from a point: one knob each, and replicas with the clock."""
        most = min(self.space.max_replicas, most_replicas(fewest))
        pairs = [replace(at, replicas=n, clock_hz=hz) for n in range(1, most + 1) for hz in self.space.clock_hz]
        budgets = [b for b in self.space.max_num_batched_tokens if b >= at.max_num_seqs]
        seqs = [s for s in self.space.max_num_seqs if s <= at.max_num_batched_tokens]
        return [
            pairs,
            [replace(at, release_window_s=w) for w in self.space.release_window_s],
            [replace(at, max_num_batched_tokens=b) for b in budgets],
            [replace(at, max_num_seqs=s) for s in seqs],
        ]

    def descend(self, start: Score) -> Score:
        """Scan every line from `start` until nothing improves."""
        best, fewest = start, start.deployment.replicas
        improved = True
        while improved:
            improved = False
            for i in range(4):
                line = self.neighbours(best.deployment, fewest)[i]
                found = self.best_of(self.scores(line), saving(self.baseline, best))
                if found is not None:
                    best, improved = found, True
        return best

    def simplify(self, best: Score) -> Score:
        """Put back every knob that brings less than `WORTH_IT`: a plan should ask for no more than it needs."""
        base = self.baseline.deployment
        for change in (
            {"release_window_s": base.release_window_s},
            {"max_num_seqs": base.max_num_seqs},
            {"max_num_batched_tokens": base.max_num_batched_tokens},
            {"clock_hz": base.clock_hz},
        ):
            kept = replace(best.deployment, **change)
            if kept == best.deployment or kept.max_num_batched_tokens < kept.max_num_seqs:
                continue
            (score,) = self.scores([kept])
            as_good = 1.0 - saving(self.baseline, score) <= (1.0 - saving(self.baseline, best)) * (1.0 + WORTH_IT)
            if as_good and self.keeps(score):
                best = score
        return best

    def run(self) -> Found:
        """Return the best deployment of the space.

        Raises:
            InfeasibleError: no start keeps the SLO; names the nearest miss.
        """
        starts = []
        for budget in self.space.max_num_batched_tokens:
            seqs = [s for s in self.space.max_num_seqs if s <= budget]
            if not seqs:
                continue
            template = replace(
                self.baseline.deployment,
                max_num_batched_tokens=budget,
                max_num_seqs=max(seqs),
                clock_hz=None,
                release_window_s=0.0,
            )
            most = min(self.space.max_replicas, most_replicas(self.baseline.deployment.replicas))
            found = self.fewest_replicas(template, most)
            if found is not None:
                starts.append(self.at_best_clock(found))
        if not starts:
            raise InfeasibleError(nearest_miss(self.scenario, self.seen.values()))
        starts.sort(key=lambda s: -saving(self.baseline, s))
        best = self.best_of([self.descend(s) for s in starts[:STARTS]])
        assert best is not None  # every start keeps the SLO, and descent only improves on it
        best = self.simplify(best)
        return Found(best, tuple(self.seen.values()))


def nearest_miss(scenario: Scenario, scores: Iterable[Score]) -> str:
    """Say in words how near the best point came, which target it missed, and what to relax."""
    tried = list(scores)
    best, slo = max(tried, key=lambda s: s.attainment), scenario.slo
    what = f"no configuration keeps {slo.attainment:.2%} attainment; the nearest, {words(best.deployment)}, reaches"
    run = scenario.replay(best.deployment)
    if best.attainment >= slo.attainment:
        run = scenario.replay(best.deployment, scenario.cautious_draw(best.deployment))
        what = f"{what} {best.attainment:.2%} at the best estimate, but under a law at its slow end only"
    ttft = fleet.attainment(run, replace(slo, tbt_s=math.inf))
    gap = fleet.attainment(run, replace(slo, ttft_s=math.inf))
    which = f"slo.ttft_s ({slo.ttft_s:g} s)" if ttft < gap else f"slo.tbt_s ({slo.tbt_s:g} s)"
    advice = [f"relax {which} or slo.attainment", "use a faster GPU or more of them a replica"]
    most = max(s.deployment.replicas for s in tried)
    if best.deployment.replicas == most:
        advice.append(f"allow more than {most} replicas (search.max_replicas)")
    refused = f"; {best.refused} requests need more KV cache than a replica has" if best.refused else ""
    return (
        f"{what} {fleet.attainment(run, slo):.2%}: {ttft:.2%} meet the TTFT target and {gap:.2%} the token gap's "
        f"(TTFT p99 {best.ttft_p99_s:.3f} s, gap p99 {best.tbt_p99_s * 1e3:.0f} ms){refused}; {', or '.join(advice)}"
    )


def words(d: Deployment) -> str:
    """Return a deployment's knobs in words."""
    clock = "max clock" if d.clock_hz is None else f"{d.clock_hz / 1e6:.0f} MHz"
    return (
        f"{d.replicas} replicas, {d.max_num_seqs} seqs, {d.max_num_batched_tokens} tokens, {clock}, "
        f"window {d.release_window_s * 1e3:.0f} ms"
    )


def fewest_replicas_baseline(scenario: Scenario, template: Deployment, most: int) -> Score:
    """Return the baseline: `template` with the fewest replicas that reach the attainment at the best estimate.

    Raises:
        InfeasibleError: `most` replicas do not reach it.
    """
    # doubling finds out soon whether any number will do; the fewest is then looked for one by one
    doublings = [*dict.fromkeys([*(2**k for k in range(most.bit_length()) if 2**k < most), most])]
    scores = []
    for n in doublings:
        scores.append(scenario.score(replace(template, replicas=n)))
        if scores[-1].attainment >= scenario.slo.attainment:
            break
    else:
        raise InfeasibleError(f"the baseline: {nearest_miss(scenario, scores)}")
    for n in range(doublings[max(len(scores) - 2, 0)] + 1, doublings[len(scores) - 1]):
        score = scenario.score(replace(template, replicas=n))
        if score.attainment >= scenario.slo.attainment:
            return score
    return scores[-1]
