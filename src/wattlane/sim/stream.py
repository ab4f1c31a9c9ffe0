"""Replay a stream of requests too long to hold, window by window: memory is bounded by a window and what is in flight.

Between two windows the engine stands still at the first arrival of the next one. Requests that are done leave their
sums behind, the others are carried over with the iterations that still matter to them, so the result is that of one
replay of the whole, to rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.types import Ledger, Origin
from wattlane.core.workload import Workload
from wattlane.sim import dispatch, scoring
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import Stage, build
from wattlane.sim.engine.drive import drive
from wattlane.sim.engine.layout import Engine, Ints
from wattlane.sim.fleet_types import Fleet, Pool, Role, Scheduling, Tags
from wattlane.sim.paged import grown

# Columns that hold rows of requests, or iterations.
ROW_FIELDS = [lay.NEXT, lay.PREV, lay.AFTER]
ROWS_OF_AT = [lay.RUN_HEAD, lay.RUN_TAIL, lay.PART, lay.LATE]
ITERATIONS = [lay.SEG_FIRST, lay.BEGUN, lay.GRANTED]
ITERATIONS_OF_AT = [lay.ITERATION, lay.BASE, lay.ALL_GRANTED, lay.LAST_PREEMPTION]


@dataclass
class Totals:
    """Sums over a stream on one replica; gaps and times to first token as histograms of `wattlane.sim.scoring`."""

    requests: int = 0
    served: int = 0
    refused: int = 0
    preemptions: int = 0
    iterations: int = 0
    output_tokens: int = 0
    busy_j: float = 0.0
    idle_j: float = 0.0
    prefill_j: float = 0.0
    decode_j: float = 0.0
    gaps: Ints = field(default_factory=lambda: np.zeros(scoring.BINS, np.int64))
    first_tokens: Ints = field(default_factory=lambda: np.zeros(scoring.BINS, np.int64))

    @property
    def ledger(self) -> Ledger:
        """The energy account from the first arrival to the last token."""
        return Ledger(self.busy_j + self.idle_j, self.prefill_j, self.decode_j, self.idle_j, origin=Origin.MODELLED)

    def ttft_quantile_s(self, q: float) -> float:
        """Return a quantile of the times from release to first token, to 0.6 %."""
        return scoring.histogram_quantile_s(self.first_tokens, q)

    def tbt_quantile_s(self, q: float) -> float:
        """Return a quantile of the gaps between iterations that gave tokens, to 0.6 %; pauses are not in it."""
        return scoring.histogram_quantile_s(self.gaps, q)


def replay(windows: Iterable[Workload], pool: Pool, place: int = 0, replicas: int = 1) -> Totals:
    """Serve the requests of a stream whose position leaves `place` modulo `replicas`: one replica's under round robin.

    Raises:
        InputError: the pool drafts, keeps a prefix cache, batches statically or serves only prompts or answers.
    """
    s = pool.settings
    if s.prefix_cache or s.draft_tokens or pool.role is not Role.SERVE or s.scheduling is Scheduling.STATIC:
        raise InputError(
            f"{pool.name}: found prefix cache, drafts, static batches or a split role; a stream takes none of them"
        )
    fleet = Fleet((dataclasses.replace(pool, replicas=1),))
    totals, e, position = Totals(), None, 0
    for window, next_s in _ahead(windows):
        rows = np.arange((place - position) % replicas, len(window), replicas)
        position += len(window)
        if len(rows):
            e = _step(window.take(rows, window.arrival_s[rows]), fleet, e, totals, next_s)
    return totals


def _ahead(windows: Iterable[Workload]) -> Iterator[tuple[Workload, float]]:
    """Yield each window with the first arrival of the next one, infinite for the last."""
    held: Workload | None = None
    for window in windows:
        if held is not None:
            yield held, float(window.arrival_s[0])
        held = window
    if held is not None:
        yield held, np.inf


def _step(part: Workload, fleet: Fleet, before: Engine | None, totals: Totals, next_s: float) -> Engine:
    """Serve a window up to the first arrival of the next one, with who is carried over from the one before."""
    n = len(part)
    none = (np.zeros(n + 1, np.int64), np.zeros(0, np.int64), 0)
    start_s = float(part.arrival_s[0])
    stage = Stage(part, fleet, Tags(), none, [0], part.arrival_s, np.zeros(n, bool), start_s, np.arange(n))
    e = build(stage) if before is None else _carried(before, build(stage))
    order = np.arange(len(e.ask) - n, len(e.ask))
    begun = int(e.at[0, lay.ITERATION])
    cursor = np.array([0, 0, 0, lay.NONE, lay.NONE, int(e.ask[:, lay.ORDER].max()) + 1])
    members, events = stage.members(), stage.events()
    while (full := drive(e, cursor, order, members, dispatch.ROUND_ROBIN, *events, 0.0, next_s)) != lay.READY:
        e = grown(e, full)
    totals.requests += n
    _collect(e, totals, begun)
    return e


def _collect(e: Engine, totals: Totals, begun: int) -> None:
    """Add iterations from `begun` on, rests, and the requests that are done."""
    ends = int(e.at[0, lay.ITERATION])
    record = e.record[0, begun:ends]
    totals.iterations += len(record)
    totals.busy_j += float(np.dot(record[:, lay.POWER_W], record[:, lay.END_S] - record[:, lay.START_S]))
    totals.idle_j += float(e.rests[0, : e.at[0, lay.RESTS], lay.REST_J].sum())
    before = np.ascontiguousarray(e.record[0, max(begun - 1, 0) : ends])
    scoring.gap_histogram(before, before[:, lay.TOKENS].astype(np.int64), totals.gaps)
    done = np.ones(len(e.ask), bool)
    done[_live(e)] = False
    totals.prefill_j += float(e.real[done, lay.PREFILL_J].sum())
    totals.decode_j += float(e.real[done, lay.DECODE_J].sum())
    totals.preemptions += int(e.ask[done, lay.PREEMPTED].sum())
    totals.refused += int((e.ask[done, lay.STATUS] == lay.REFUSED).sum())
    served = done & (e.ask[:, lay.STATUS] == lay.DONE)
    totals.served += int(served.sum())
    totals.output_tokens += int(e.ask[served, lay.OUTPUT].sum())
    log = e.log[0, : e.at[0, lay.SEGMENTS]]
    who, row = np.unique(log[:, lay.WHO], return_index=True)
    kept = served[who]
    waits_s = e.record[0, log[row[kept], lay.FIRST], lay.END_S] - e.real[who[kept], lay.RELEASE_S]
    scale = np.log10(np.maximum(waits_s, scoring.LOWEST_S) / scoring.LOWEST_S) * scoring.BINS_PER_DECADE
    np.add.at(totals.first_tokens, np.minimum(scale.astype(np.int64), scoring.BINS - 1), 1)


def _live(e: Engine) -> Ints:
    """Return the rows of requests that wait, run, or still hold a seat."""
    live = np.isin(e.ask[:, lay.STATUS], (lay.WAITING, lay.RUNNING, lay.PARTIAL))
    r = int(e.at[0, lay.LATE])
    while r != lay.NONE:
        live[r] = True
        r = int(e.ask[r, lay.NEXT])
    return np.flatnonzero(live)


def _carried(old: Engine, new: Engine) -> Engine:
    """Return the arrays of a window with the state of the one before: its live requests come first, renumbered."""
    live = _live(old)
    number = np.full(len(old.ask) + 1, lay.NONE)  # the last one stands for NONE itself
    number[live] = np.arange(len(live))
    ask = np.concatenate([old.ask[live], new.ask])
    ask[: len(live), ROW_FIELDS] = number[ask[: len(live), ROW_FIELDS]]
    at = old.at.copy()
    at[0, ROWS_OF_AT] = number[at[0, ROWS_OF_AT]]
    begun = ask[: len(live), lay.BEGUN]
    first = min(begun[begun != lay.NONE].min(initial=at[0, lay.ITERATION]), at[0, lay.ITERATION] - 1)
    shift = max(int(first), 0) // old.limits[0, lay.BLOCK_TOKENS] * old.limits[0, lay.BLOCK_TOKENS]
    held = ask[: len(live)]
    held[:, ITERATIONS] = np.where(held[:, ITERATIONS] == lay.NONE, lay.NONE, held[:, ITERATIONS] - shift)
    kept = old.record[:, shift : at[0, lay.ITERATION]]
    at[0, ITERATIONS_OF_AT] -= shift
    log = old.log[0, : at[0, lay.SEGMENTS]]
    log = log[np.isin(log[:, lay.WHO], live)]
    log[:, lay.WHO], log[:, lay.FIRST] = number[log[:, lay.WHO]], log[:, lay.FIRST] - shift
    at[0, lay.SEGMENTS], at[0, lay.RESTS] = len(log), 0
    return new._replace(
        ask=ask,
        real=np.concatenate([old.real[live], new.real]),
        at=at,
        run=old.run,
        ring=_ring(ask),
        cross=old.cross,
        queues=number[old.queues],
        adapters=old.adapters,
        record=np.concatenate([kept, new.record], axis=1),
        log=np.concatenate([log[None], new.log], axis=1),
    )


def _ring(ask: Ints) -> Ints:
    """Return the lists of requests that end in an iteration, each in order of admission, linked in `ask`."""
    ring = np.full((1, int(ask[:, lay.OUTPUT].max()) + 2), lay.NONE, np.int64)
    running = np.flatnonzero(ask[:, lay.STATUS] == lay.RUNNING)
    for r in running[np.argsort(-ask[running, lay.ADMITTED])].tolist():
        slot = (ask[r, lay.SEG_FIRST] + ask[r, lay.OUTPUT] - ask[r, lay.PRODUCED] - 1) % ring.shape[1]
        ask[r, lay.AFTER], ring[0, slot] = ring[0, slot], r
    return ring
