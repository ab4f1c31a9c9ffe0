"""What policies decide, a second time in plain Python: lists and loops where the kernels keep counts."""

from __future__ import annotations

import math

from reference_engine import Law
from reference_scheduler import Ask, Scheduler
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.sim.fleet_types import Fleet, ReleaseKind, Routing, ScalingKind, Scheduling, Tags


def replica_seconds(server: Scheduler, prompt: float, output: float, tbt_s: float) -> float:
    """Return how long a request occupies a replica as full as the token gap allows."""
    law: Law = server.laws[-1]
    memory = server.capacity * server.s.kv_block_tokens // int(prompt + output + 1)
    context = prompt + output / 2
    batch = 1
    while batch < min(server.pool.max_num_seqs, memory):
        if law.seconds([0.0, 0.0, batch + 1.0, (batch + 1) * context]) > tbt_s:
            break
        batch += 1
    prefill_s = law.seconds([prompt, prompt * (prompt + 1) / 2, 0.0, 0.0])
    return prefill_s + max(output - 1, 0) * law.seconds([0.0, 0.0, float(batch), batch * context]) / batch


def expected_tokens(workload: Workload, tags: Tags, row: int) -> int:
    if tags.predicted_tokens is not None:
        return int(tags.predicted_tokens[row])
    return max(1, round(float(workload.output_tokens.mean())))


def alone(workload: Workload, fleet: Fleet, tags: Tags, row: int) -> tuple[float, float, float]:
    """Return (seconds to the first token, to the last, joules saved by two) of a request that nobody disturbs."""
    model = 0 if tags.model is None else int(tags.model[row])
    pool = next(p for p in fleet.pools if p.model == model)
    law, idle_w = Law(pool.laws[-1]), float(pool.laws[-1, it.IDLE_W])
    p = float(max(workload.input_tokens[row] - workload.cached_tokens[row], 1))
    o = expected_tokens(workload, tags, row)
    n = math.ceil(p / pool.max_num_batched_tokens)
    first_s = n * law.seconds([p / n, p * (p + 1) / 2 / n, 0.0, 0.0])
    context = p + o / 2
    whole_s = first_s + max(o - 1, 0) * law.seconds([0.0, 0.0, 1.0, context])
    gain = 0.0
    for times, one in ((1, [p, p * (p + 1) / 2, 0.0, 0.0]), (max(o - 1, 0), [0.0, 0.0, 1.0, context])):
        both = [2 * value for value in one]
        saved_s = 2 * law.seconds(one) - law.seconds(both)
        gain += times * (2 * float(law.joules(one)) - float(law.joules(both)) - idle_w * saved_s)
    return first_s, whole_s, gain


def due_s(workload: Workload, tags: Tags, row: int) -> float:
    if tags.deadline_s is None or math.isnan(tags.deadline_s[row]):
        return math.inf
    return float(workload.arrival_s[row] + tags.deadline_s[row])


def latest_start_s(workload: Workload, fleet: Fleet, tags: Tags, row: int) -> float:
    first_s, whole_s, _ = alone(workload, fleet, tags, row)
    due = due_s(workload, tags, row)
    if due < math.inf:
        return due - whole_s
    return math.inf if fleet.slo is None else float(workload.arrival_s[row]) + fleet.slo.ttft_s - first_s


def released(workload: Workload, fleet: Fleet, tags: Tags) -> list[float]:
    """Return when each request is let through."""
    rule, arrivals_s = fleet.release, workload.arrival_s.tolist()
    kind, rows = rule.kind, range(len(workload))
    if kind is ReleaseKind.WINDOWED:
        return [max(a, math.ceil(a / rule.window_s) * rule.window_s) for a in arrivals_s]
    if kind is ReleaseKind.SPACED:
        out: list[float] = []
        for a in arrivals_s:
            out.append(max(a, out[-1] + rule.spacing_s) if out else a)
        return out
    if kind is ReleaseKind.SLACK_AWARE:
        return held_together(workload, fleet, tags)
    if kind is ReleaseKind.IMMEDIATE:
        return arrivals_s
    out = []
    for row, a in enumerate(arrivals_s):
        due = due_s(workload, tags, row)
        latest_s = max(a, due - alone(workload, fleet, tags, row)[1] - rule.margin_s)
        if due == math.inf or (kind is ReleaseKind.CARBON and tags.deferrable is not None and not tags.deferrable[row]):
            out.append(a)
        elif kind is ReleaseKind.DEADLINE_AWARE:
            out.append(latest_s)
        else:
            series = rule.carbon_g_per_kwh
            hour = math.floor((a - rule.series_start_s) / 3600)
            begins = [(a, series[hour % len(series)])]
            for h in range(hour + 1, hour + len(series) + 1):
                if (at_s := rule.series_start_s + h * 3600) <= latest_s:
                    begins.append((at_s, series[h % len(series)]))
            out.append(min(begins, key=lambda b: b[1])[0])
    assert len(out) == len(rows)
    return out


def held_together(workload: Workload, fleet: Fleet, tags: Tags) -> list[float]:
    """Return releases where requests are held for each other."""
    assert fleet.slo is not None
    arrivals_s, out, group = workload.arrival_s.tolist(), {}, []
    busy_s, mean_s, until_s = -math.inf, math.inf, -math.inf
    told = [alone(workload, fleet, tags, row) for row in range(len(workload))]

    def let_go() -> None:
        nonlocal busy_s
        for row in group:
            out[row] = until_s
            busy_s = max(busy_s, until_s + told[row][1])
        group.clear()

    for row, a in enumerate(arrivals_s):
        if row:
            gap_s = a - arrivals_s[row - 1]
            mean_s = gap_s if row == 1 else mean_s + (gap_s - mean_s) / 8
        slack_s = fleet.release.margin * fleet.slo.ttft_s - told[row][0]
        if a > until_s:
            let_go()
            pays = a >= busy_s and mean_s <= slack_s and told[row][2] > 0 and slack_s > 0
            until_s = a + slack_s if pays else a
        else:
            until_s = min(until_s, a + max(slack_s, 0.0))
        group.append(row)
    let_go()
    return [out[row] for row in range(len(workload))]


def requests_on(server: Scheduler) -> int:
    return len(server.waiting) + len(server.running) + len(server.late) + len(server.batch)


def left(r: Ask) -> int:
    """Return the prompt tokens a waiting request has to process."""
    if r.handoff:
        return 0
    goal = r.input_tokens + r.produced
    return goal - min(r.cached, goal - 1)


def rests_at(server: Scheduler, now_s: float):
    """Return the state of rest a replica without work has come to, None while it idles."""
    if requests_on(server):
        return None
    since_s = server.wake_s if server.now_s <= server.wake_s < now_s else server.now_s
    deep = [state for state in server.pool.rests if since_s + state.after_s < now_s]
    return deep[-1] if deep else None


def foreseen(server: Scheduler, r: Ask, now_s: float) -> tuple[float, float, float, bool]:
    """Return (longest gap, seconds to the first token, marginal joules, whether it is awake)."""
    law, budget = server.laws[-1], server.pool.max_num_batched_tokens
    if server.s.scheduling is Scheduling.STATIC:
        d = len(server.batch)
        k = d * (max((b.input_tokens for b in server.batch), default=0) + (server.step if d else 0))
    else:
        going = [b for b in server.running if b.decodes]
        d, k = len(going), sum(server.context(b) for b in going)
    partial = [b for b in server.running if not b.decodes] if server.s.scheduling is not Scheduling.STATIC else []
    tokens = sum(left(b) for b in server.waiting) + sum(b.goal - b.computed for b in partial) + left(r)
    prompts = len(server.waiting) + len(partial) + 1

    def iteration(p: float, pc: float, d: float, k: float) -> tuple[float, float]:
        x = [float(p), float(pc), float(d), float(k)]
        return law.seconds(x), float(law.joules(x))

    after_s, _ = iteration(0, 0, d + prompts, k + tokens)
    gap_s = first_s = after_s
    room = max(budget - d, 1)
    if tokens:
        n = math.ceil(tokens / room)
        t, _ = iteration(tokens / n, tokens * (tokens / prompts + 1) / 2 / n, d, k)
        first_s = n * t
        if d or n > 1:
            gap_s = max(t, after_s)
    idle_w = float(server.pool.laws[-1, it.IDLE_W])

    def extra(with_it: tuple[float, float]) -> float:
        return with_it[1] - (iteration(0, 0, d, k)[1] if d else idle_w * with_it[0])

    joules, p = 0.0, left(r)
    if p:
        n = math.ceil(p / room)
        joules += n * extra(iteration(p / n, p * (p + 1) / 2 / n, d, k))
    joules += max(r.expected - 1, 0) * extra(iteration(0, 0, d + 1, k + p + r.expected / 2))
    state = rests_at(server, now_s)
    first_s += max(server.now_s - now_s, 0)
    if state:
        first_s += state.exit_s
        joules += state.exit_j
    memory = server.capacity * server.s.kv_block_tokens
    if d + prompts > server.pool.max_num_seqs or k + tokens + r.expected > memory:
        first_s = math.inf
    return gap_s, first_s, joules, state is None


def resident(server: Scheduler, r: Ask) -> int:
    """Return the tokens of a prompt in the prefix cache of a replica."""
    if not server.s.prefix_cache or r.handoff:
        return 0
    found = 0
    for name in r.names[: (r.input_tokens - 1) // server.s.prefix_block_tokens]:
        if name not in server.resident:
            break
        found += server.s.prefix_block_tokens
    return found


def choose(fleet: Fleet, options: list[Scheduler], r: Ask, now_s: float, position: int) -> Scheduler:
    """Return the replica that serves a request."""
    kind = fleet.routing
    if kind is Routing.ROUND_ROBIN:
        return options[position % len(options)]
    emptiest = min(options, key=requests_on)
    if kind is Routing.LEAST_LOADED:
        return emptiest
    if kind is Routing.PREFIX_AWARE:
        loads = [requests_on(s) for s in options]
        if max(loads) - min(loads) > fleet.routing_balance:
            return emptiest
        return max(options, key=lambda s: (resident(s, r), -requests_on(s)))
    assert fleet.slo is not None
    margin = fleet.routing_margin if kind is Routing.WATTLANE else 1.0
    told = {s.number: foreseen(s, r, now_s) for s in options}

    def fits(s: Scheduler) -> bool:
        gap_s, first_s, _, _ = told[s.number]
        ttft_s = now_s - r.arrival_s + first_s
        return gap_s <= margin * fleet.slo.tbt_s and ttft_s <= margin * fleet.slo.ttft_s

    good = [s for s in options if fits(s)]
    if kind is Routing.WATTLANE:
        if not good:
            return min(options, key=lambda s: told[s.number][1])
        ranks = {s.number: 0 if requests_on(s) else 1 if told[s.number][3] else 2 for s in good}
        good = [s for s in good if ranks[s.number] == min(ranks.values())]
        least_j = min(told[s.number][2] for s in good)
        return max((s for s in good if told[s.number][2] <= least_j + 0.25 * abs(least_j)), key=requests_on)
    if not good:
        return emptiest
    if kind is Routing.MOST_LOADED:
        return max(good, key=requests_on)
    best = good[0]
    for s in good[1:]:
        if told[s.number][2] < told[best.number][2] * (1 - 1e-6):
            best = s
    return best


class Controller:
    """Decides now and then how many replicas of each pool take requests."""

    def __init__(self, fleet: Fleet, start_s: float) -> None:
        assert fleet.scaling is not None
        assert fleet.slo is not None
        self.scaling, self.slo, self.fleet = fleet.scaling, fleet.slo, fleet
        self.next_s = start_s + self.scaling.period_s
        self.loads: dict[int, float] = {}  # of the last period, by the first replica of a pool
        self.calm: dict[int, int] = {}
        self.wanted: list[tuple[float, int, int]] = []
        self.counted: dict[int, tuple[int, int]] = {}  # first tokens and gaps of a replica at the last tick
        self.sent: list[tuple[Scheduler, float, float]] = []  # replica, prompt and expected tokens since the last tick

    def tick(self, servers: list[Scheduler], now_s: float, more: bool) -> None:
        for pool in self.fleet.pools:
            own = [s for s in servers if s.pool is pool]
            if own:
                self.scale(own, now_s)
        self.sent = []
        self.counted = {s.number: (len(s.first_waits_s), len(s.gaps_s)) for s in servers}
        more = more or any(s.waiting or s.running or s.late or s.batch for s in servers)
        self.next_s = now_s + self.scaling.period_s if more else math.inf

    def decisions(self) -> list[list[float]]:
        """Return [when, replicas of each pool] wherever they differ from those before."""
        out: list[list[float]] = []
        for now_s in dict.fromkeys(at for at, _, _ in self.wanted):
            row = [now_s, *(count for at, _, count in self.wanted if at == now_s)]
            if not out or out[-1][1:] != row[1:]:
                out.append(row)
        return out

    def came_late(self, own: list[Scheduler]) -> bool:
        """Whether more first tokens or gaps of the last period came late than the SLO lets."""
        share, firsts, gaps = 1 - self.slo.attainment, [], []
        for server in own:
            seen = self.counted.get(server.number, (0, 0))
            firsts += [wait_s > self.slo.ttft_s for wait_s in server.first_waits_s[seen[0] :]]
            gaps += [gap_s > self.slo.tbt_s for gap_s in server.gaps_s[seen[1] :]]
        return sum(firsts) > share * len(firsts) or sum(gaps) > share * len(gaps)

    def scale(self, own: list[Scheduler], now_s: float) -> None:
        s, here = self.scaling, [(prompt, output) for server, prompt, output in self.sent if server in own]
        load = 0.0
        if here:
            prompt, output = (sum(column) / len(here) for column in zip(*here, strict=True))
            load = len(here) / s.period_s * replica_seconds(own[-1], prompt, output, self.slo.tbt_s)
        active, waiting = sum(x.active for x in own), sum(len(x.waiting) for x in own)
        pressed = waiting > s.pressure * active
        if s.kind is ScalingKind.PARKING:
            count = math.ceil(load / s.target - 1e-9)
        else:
            foreseen = max(load, 2 * load - self.loads.get(own[0].number, 0.0))
            low, high = (math.ceil(foreseen / t - 1e-9) for t in (s.target, s.target * (1 - s.hysteresis)))
            pressed = pressed or self.came_late(own)
            quiet = self.calm.get(own[0].number, 0) + 1 if high < active and not pressed else 0
            self.calm[own[0].number] = quiet
            count = max(low, high if quiet >= s.patience else active)
        self.loads[own[0].number] = load
        if pressed:
            count = max(count, active + 1)
        self.wanted.append((now_s, own[0].number, max(s.least, min(count, len(own)))))
        set_active(own, max(s.least, min(count, len(own))), now_s)


def set_active(own: list[Scheduler], count: int, now_s: float) -> None:
    for place, server in enumerate(own):
        active = place < count
        if active and not server.active:
            server.wake_s = now_s
        server.active = active
