"""Who comes in next of those that wait on a replica, by the rule of its pool (`wattlane.policy.order`)."""

from __future__ import annotations

from wattlane.model.jit import inner
from wattlane.sim import dispatch
from wattlane.sim.engine.foresight import batch
from wattlane.sim.engine.layout import (
    ADAPTER,
    GATE,
    INPUT,
    LATEST_S,
    LORAS,
    NEXT,
    NONE,
    ORDER_KIND,
    PATIENCE_S,
    PRODUCED,
    RELEASE_S,
    Engine,
)
from wattlane.sim.engine.queues import HEAD, pick, slot_for


@inner
def reorders(e: Engine, rep: int) -> bool:
    """Whether who comes in next may change from one iteration to the next."""
    return e.limits[rep, ORDER_KIND] != dispatch.FCFS


@inner
def next_in(e: Engine, rep: int, last: int) -> tuple[int, int, int]:
    """Return (level, the one ahead, the request) that comes in next, or NONE thrice.

    `last` is who came in before in the same iteration, NONE at first. Requests whose adapter finds no slot are passed
    over.
    """
    ask, real, queues = e.ask, e.real, e.queues[rep]
    adapters, gate = e.adapters[rep, : e.limits[rep, LORAS]], e.run[rep, GATE]
    kind = e.limits[rep, ORDER_KIND]
    if kind == dispatch.FCFS:
        return pick(ask, real, queues, adapters, gate)
    decoding, kv_tokens = batch(e, rep)
    by_age = kind != dispatch.LENGTH_BUCKETS  # there the oldest opens the bucket of every iteration
    wanted = dispatch.bucket(ask[last, INPUT]) if last != NONE else NONE
    for level in range(queues.shape[0]):
        best, best_before, least = NONE, NONE, 0.0
        before, here = NONE, queues[level, HEAD]
        while here != NONE and real[here, RELEASE_S] <= gate:
            if ask[here, ADAPTER] == 0 or adapters.shape[0] == 0 or slot_for(adapters, ask[here, ADAPTER]) != NONE:
                if by_age and dispatch.aged(gate - real[here, RELEASE_S], e.rates[rep, PATIENCE_S]):
                    return level, before, here
                held = float(ask[here, INPUT] + ask[here, PRODUCED])
                score = dispatch.score(kind, ask[here, INPUT], wanted, held, decoding, kv_tokens, real[here, LATEST_S])
                if kind == dispatch.LENGTH_BUCKETS and score == 0.0:
                    return level, before, here
                if best == NONE or score < least:
                    best, best_before, least = here, before, score
            before, here = here, ask[here, NEXT]
        if best != NONE:
            return level, best_before, best
    return NONE, NONE, NONE
