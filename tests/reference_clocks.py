"""The clock policies in plain Python, written from docs/concepts/policies.md, sharing no code with the kernels."""

from __future__ import annotations

import math

from reference_engine import Law
from reference_scheduler import Ask
from wattlane.core.types import Slo
from wattlane.model import iteration as it
from wattlane.sim.fleet_types import Pool


class Governor:
    """What the policy of one replica has seen, and the clock it wants."""

    def __init__(self, pool: Pool, slo: Slo | None, start_s: float) -> None:
        self.pool, self.guard = pool, float(pool.max_num_batched_tokens)
        if not pool.switch_s or not pool.clocking.memory_s:
            self.guard = 0.0
        self.rule, self.slo, self.kind = pool.clocking, slo, pool.clocking.kind.value
        self.laws = [Law(law) for law in pool.laws]
        self.rest_w = float(pool.laws[-1, it.IDLE_W])
        self.top = len(self.laws) - 1
        self.last = 0.0
        self.clock, self.level, self.floor = self.top, float(self.top + 1), 0
        self.period_s, self.slow_s = start_s + self.rule.period_s, start_s
        empty = [0.0] * 4
        self.empty_w = min(
            float(law.joules(empty)) / law.seconds(empty) if law.seconds(empty) else 0 for law in self.laws
        )
        self.mean, self.price_w = 0.0, self.rest_w
        self.gaps: list[float] = []
        self.firsts: list[float] = []
        self.allow = self.rule.margin
        if self.kind == "energy-minimum":
            self.allow = 1 / (1 + self.rule.z * self.rule.relative_error)

    @property
    def is_fixed(self) -> bool:
        return self.kind == "fixed"

    def pending(self, chunks: list[Ask], waiting: list[Ask], p: float, now_s: float) -> list[tuple[float, float]]:
        """Return (prompt tokens up to its first token, seconds left for it) of every prompt, infinite if it had one."""
        assert self.slo is not None
        out, tokens = [], p
        for r in chunks:
            left = r.goal - r.computed
            slack_s = r.arrival_s + self.slo.ttft_s - now_s if r.produced == 0 else math.inf
            out.append((p + left, slack_s))
            tokens += left
        for r in waiting[:64]:
            if not r.handoff:
                tokens += max(r.input_tokens - r.cached, 1) + r.produced
            out.append((tokens, r.arrival_s + self.slo.ttft_s - now_s if r.produced == 0 else math.inf))
        return out

    def want(
        self, x: list[float], p: float, chunks: list[Ask], waiting: list[Ask], stuck: bool, now_s: float, more_s: float
    ) -> int:
        """Return the clock wanted for an iteration over x, `p` prompt tokens of it; `stuck`: a prompt waits."""
        assert self.slo is not None
        pending = self.pending(chunks, waiting, p, now_s)
        gap_s = self.allow * self.slo.tbt_s if x[2] else math.inf
        prompt_s = math.inf
        if chunks:
            for tokens, slack_s in pending:
                if slack_s < math.inf:
                    prompt_s = min(prompt_s, self.allow * p * max(slack_s, 0.0) / tokens)
        elif waiting or stuck:
            prompt_s = 0.0
        seconds = [law.seconds(x) + more_s for law in self.laws]
        if self.kind == "energy-minimum":
            more = max(self.guard - p, 0.0)
            joined = [
                s + more * law.flop_per_prefill_token / law.flop_per_s
                for s, law in zip(seconds, self.laws, strict=True)
            ]
            return self.cheapest(x, [c for c in range(self.top + 1) if joined[c] <= gap_s and seconds[c] <= prompt_s])
        fits = [c for c in range(self.top + 1) if seconds[c] <= min(gap_s, prompt_s)]
        if self.kind == "lowest-feasible":
            return min(fits, default=self.top)
        if self.kind == "miad":
            return math.ceil(self.level) - 1
        wanted = self.clock if x[2] else 0
        if chunks:
            oldest_s, backlog = min(slack_s for _, slack_s in pending), p
            backlog += sum(r.goal - r.computed for r in chunks)
            backlog += sum(max(r.input_tokens - r.cached, 1) + r.produced for r in waiting[:64] if not r.handoff)
            budget_s = self.allow * max(oldest_s, 0.0) * p / backlog
            wanted = max(wanted, self.cheapest(x, [c for c in range(self.top + 1) if seconds[c] <= budget_s]))
        return wanted

    def cheapest(self, x: list[float], among: list[int]) -> int:
        def net(c: int) -> float:
            return float(self.laws[c].joules(x)) - self.price_w * self.laws[c].seconds(x)

        return min(among, key=net, default=self.top)

    def price(self, last: tuple[float, float, float, int] | None, d: float, p: float, now_s: float) -> None:
        """Work out what a second is worth; `last` is the iteration before (watts, start, end, clock)."""
        if self.kind != "energy-minimum":
            return
        memory_s = self.rule.memory_s
        if last and memory_s:
            _, begun_s, end_s, _ = last
            share = min(1.0, (end_s - begun_s) / memory_s)
            self.mean = (1 - share) * self.mean + share * self.last
            self.mean *= 1 - min(1.0, (now_s - end_s) / memory_s)
            if self.pool.switch_s:
                self.guard = max(p, self.guard * (1 - min(1.0, (now_s - begun_s) / memory_s)))
        self.last = d
        rests = self.mean / (math.exp(self.mean) - 1) if self.mean > 1e-6 else 1 - self.mean / 2
        self.price_w = rests * self.rest_w + (1 - rests) * max(self.empty_w, self.rest_w)

    def tick(self, x: list[float], chunks: list[Ask], waiting: list[Ask], now_s: float) -> None:
        """Let the control loops act if their time has come."""
        assert self.slo is not None
        rule, slo = self.rule, self.slo
        if self.kind == "green" and x[2] and now_s >= self.slow_s:
            fits = [c for c, law in enumerate(self.laws) if law.seconds([0.0, 0.0, *x[2:]]) <= self.allow * slo.tbt_s]
            self.floor = min(fits, default=self.top)
            self.slow_s = now_s + rule.slow_periods * rule.period_s
        if now_s < self.period_s:
            return

        def tail(values: list[float], target_s: float) -> bool:
            return sum(v > target_s for v in values) > rule.tail * len(values)

        late = tail(self.gaps, self.allow * slo.tbt_s)
        near = tail(self.gaps, self.allow * (1 - rule.hysteresis) * slo.tbt_s) or not self.gaps
        if self.kind == "green":
            band = self.floor - 1
            step = max(self.clock, band) + 1 if late else (self.clock if near else self.clock - 1)
            self.clock = min(max(step, band, 0), self.top)
        else:
            oldest_s = min((slack_s for _, slack_s in self.pending(chunks, waiting, 0.0, now_s)), default=math.inf)
            pressed = late or tail(self.firsts, self.allow * slo.ttft_s) or oldest_s < (1 - self.allow) * slo.ttft_s
            self.level = (
                min(self.top + 1, self.level * rule.increase) if pressed else max(1, self.level - rule.decrease)
            )
        self.period_s = now_s + rule.period_s
        self.gaps, self.firsts = [], []
