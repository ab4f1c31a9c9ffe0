"""Replay a stream of requests too long to hold, window by window: memory is bounded by a window and what is in flight.

Between two windows the engine stands still at the first arrival of the next one. Requests that are done leave their
sums behind, the others are carried over with the iterations that still matter to them, so the result is that of one
replay of the whole, to rounding. Under round robin replicas never look at each other: each has a `Line` of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.pool import workers
from wattlane.core.types import Ledger, Origin, Slo
from wattlane.core.workload import Workload
from wattlane.sim import dispatch, scoring
from wattlane.sim.clocking import ClockKind
from wattlane.sim.engine import layout as lay
from wattlane.sim.engine.arrays import Stage, build
from wattlane.sim.engine.drive import drive, rest_until
from wattlane.sim.engine.layout import Engine, Ints
from wattlane.sim.fleet_types import Fleet, Order, Pool, Role, Scheduling, Tags
from wattlane.sim.paged import grown
from wattlane.sim.stream_scoring import score

# Columns that hold rows of requests, or iterations.
ROW_FIELDS = [lay.NEXT, lay.PREV, lay.AFTER]
ROWS_OF_AT = [lay.RUN_HEAD, lay.RUN_TAIL, lay.PART, lay.LATE]
ITERATIONS = [lay.SEG_FIRST, lay.BEGUN, lay.GRANTED]
ITERATIONS_OF_AT = [lay.ITERATION, lay.BASE, lay.ALL_GRANTED, lay.LAST_PREEMPTION]


def _bins() -> Ints:
    return np.zeros(scoring.BINS, np.int64)


@dataclass
class Totals:
    """Sums over a stream; latencies as histograms of `wattlane.sim.scoring`, over completed requests."""

    requests: int = 0
    served: int = 0
    refused: int = 0
    attained: int = 0
    preemptions: int = 0
    iterations: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    busy_s: float = 0.0
    busy_j: float = 0.0
    idle_j: float = 0.0
    prefill_j: float = 0.0
    decode_j: float = 0.0
    gaps: Ints = field(default_factory=_bins)
    first_tokens: Ints = field(default_factory=_bins)
    whole: Ints = field(default_factory=_bins)

    def __add__(self, other: Totals) -> Totals:
        """Return the sums of both."""
        mine, theirs = vars(self), vars(other)
        return Totals(**{name: value + theirs[name] for name, value in mine.items()})

    @property
    def ledger(self) -> Ledger:
        """The energy account from the first arrival to the last token."""
        return Ledger(self.busy_j + self.idle_j, self.prefill_j, self.decode_j, self.idle_j, origin=Origin.MODELLED)

    @property
    def attainment(self) -> float:
        """Share of the offered requests that met both targets; refused ones are misses."""
        return self.attained / self.requests if self.requests else 0.0

    def ttft_quantile_s(self, q: float) -> float:
        """Return a quantile of the times from arrival to first token, to 0.6 %."""
        return scoring.histogram_quantile_s(self.first_tokens, q)

    def tbt_quantile_s(self, q: float) -> float:
        """Return a quantile of all token gaps of all requests, to 0.6 %."""
        return scoring.histogram_quantile_s(self.gaps, q)

    def e2e_quantile_s(self, q: float) -> float:
        """Return a quantile of the times from arrival to last token, to 0.6 %."""
        return scoring.histogram_quantile_s(self.whole, q)


@dataclass
class Line:
    """One replica between two windows: its engine, holding who is in flight, and its sums. Its `place` of `replicas`
    is which requests are its own: those whose position leaves `place` modulo `replicas`. It rests from `start_s` on."""

    place: int
    replicas: int
    start_s: float | None = None
    engine: Engine | None = None
    totals: Totals = field(default_factory=Totals)


def check(pool: Pool) -> None:
    """Raise an InputError if a stream cannot carry the state of `pool` from window to window."""
    s = pool.settings
    found = {
        "a prefix cache": s.prefix_cache,
        "drafts": s.draft_tokens > 0,
        "static batches": s.scheduling is Scheduling.STATIC,
        f"{s.order.value} order": s.order is not Order.FCFS,
        f"{pool.clocking.kind.value} clocks": pool.clocking.kind is not ClockKind.FIXED,
        f"the role {pool.role.value}": pool.role is not Role.SERVE,
    }
    if any(found.values()):
        words = ", ".join(name for name, there in found.items() if there)
        raise InputError(f"{pool.name}: found {words}; a stream takes none of them")


def replay(
    windows: Iterable[Workload],
    pool: Pool,
    slo: Slo | None = None,
    lines: list[Line] | None = None,
    position: int = 0,
    after: Callable[[list[Line], int, Workload], None] | None = None,
) -> list[Line]:
    """Serve a stream on the replicas of `pool` under round robin, in threads, and return their sums.

    Args:
        windows: the stream, in order of arrival.
        pool: what serves it.
        slo: what `attained` is judged by.
        lines: the replicas as an earlier call left them, whose stream goes on with `windows`.
        position: requests before `windows`.
        after: is called after each window with the replicas, the requests so far and the window.

    Raises:
        InputError: a stream cannot carry the state of the pool from window to window.
    """
    check(pool)
    fleet, slo = Fleet((dataclasses.replace(pool, replicas=1),)), slo or Slo()
    lines = [Line(i, pool.replicas) for i in range(pool.replicas)] if lines is None else lines
    with workers() as threads:
        for window, next_s in _ahead(windows):

            def serve(line: Line, part: Workload = window, at: int = position, until_s: float = next_s) -> None:
                _serve(line, part, at, fleet, slo, until_s)

            list(threads.map(serve, lines))
            position += len(window)
            if after is not None:
                after(lines, position, window)
    return lines


def rested(lines: list[Line]) -> Totals:
    """Return the sums of all replicas, each resting until the last of them is done."""
    engines = [line.engine for line in lines if line.engine is not None]
    horizon_s = max(float(e.run[0, lay.NOW]) for e in engines)
    total = Totals()
    for line in lines:
        total = total + line.totals
        if line.engine is not None:
            rest_until(line.engine, horizon_s)
            total.idle_j += float(line.engine.rests[0, : line.engine.at[0, lay.RESTS], lay.REST_J].sum())
            line.engine.at[0, lay.RESTS] = 0
    return total


def _ahead(windows: Iterable[Workload]) -> Iterator[tuple[Workload, float]]:
    """Yield each window with the first arrival of the next one, infinite for the last."""
    held: Workload | None = None
    for window in windows:
        if held is not None:
            yield held, float(window.arrival_s[0])
        held = window
    if held is not None:
        yield held, np.inf


def _serve(line: Line, window: Workload, position: int, fleet: Fleet, slo: Slo, next_s: float) -> None:
    """Serve the part of a window that is a replica's own, up to the first arrival of the next window."""
    rows = np.arange((line.place - position) % line.replicas, len(window), line.replicas)
    line.start_s = float(window.arrival_s[0]) if line.start_s is None else line.start_s
    if len(rows) == 0 and line.engine is None:
        return
    # a replica without requests here still goes on with those in flight
    part = window.take(rows, window.arrival_s[rows]) if len(rows) else None
    e, n = _joined(line.engine, part, fleet, line.start_s)
    order = np.arange(len(e.ask) - n, len(e.ask))
    begun = int(e.at[0, lay.ITERATION])
    cursor = np.array([0, 0, 0, lay.NONE, lay.NONE, int(e.ask[:, lay.ORDER].max(initial=-1)) + 1])
    members, none = np.ones((1, 1), np.int64), (np.zeros((0, 3)), np.zeros(0), np.zeros((0, 1), np.int64))
    while (full := drive(e, cursor, order, members, dispatch.ROUND_ROBIN, *none, 0.0, next_s)) != lay.READY:
        e = grown(e, full)
    line.totals.requests += n
    _collect(e, line.totals, slo, begun)
    line.engine = _trimmed(e)


def _joined(before: Engine | None, part: Workload | None, fleet: Fleet, start_s: float) -> tuple[Engine, int]:
    """Return an engine with the requests in flight and those of `part` behind them, and how many the latter are."""
    if part is None:
        assert before is not None
        room = _room(before, 1 << 12)
        return room._replace(ring=_ring(room.ask)), 0
    n = len(part)
    none = (np.zeros(n + 1, np.int64), np.zeros(0, np.int64), 0)
    new = build(Stage(part, fleet, Tags(), none, [0], part.arrival_s, np.zeros(n, bool), start_s, np.arange(n)))
    if before is None:
        return new, n
    ask = np.concatenate([before.ask, new.ask])
    return (
        new._replace(
            ask=ask,
            real=np.concatenate([before.real, new.real]),
            at=before.at,
            run=before.run,
            ring=_ring(ask),
            cross=before.cross,
            queues=before.queues,
            adapters=before.adapters,
            record=np.concatenate([before.record, new.record], axis=1),
            log=np.concatenate([before.log, new.log], axis=1),
        ),
        n,
    )


def _room(e: Engine, rows: int) -> Engine:
    """Return an engine with so many free rows in every table that grows."""

    def longer(table: np.ndarray) -> np.ndarray:
        return np.concatenate([table, np.empty((1, rows, table.shape[2]), table.dtype)], axis=1)

    return e._replace(record=longer(e.record), log=longer(e.log), rests=longer(e.rests))


def _collect(e: Engine, totals: Totals, slo: Slo, begun: int) -> None:
    """Add iterations from `begun` on, rests, and the requests that are done."""
    record = e.record[0, begun : e.at[0, lay.ITERATION]]
    seconds = record[:, lay.END_S] - record[:, lay.START_S]
    totals.iterations += len(record)
    totals.busy_s += float(seconds.sum())
    totals.busy_j += float(np.dot(record[:, lay.POWER_W], seconds))
    totals.idle_j += float(e.rests[0, : e.at[0, lay.RESTS], lay.REST_J].sum())
    done = np.ones(len(e.ask), bool)
    done[_live(e)] = False
    totals.prefill_j += float(e.real[done, lay.PREFILL_J].sum())
    totals.decode_j += float(e.real[done, lay.DECODE_J].sum())
    totals.preemptions += int(e.ask[done, lay.PREEMPTED].sum())
    totals.refused += int((e.ask[done, lay.STATUS] == lay.REFUSED).sum())
    served = done & (e.ask[:, lay.STATUS] == lay.DONE)
    totals.served += int(served.sum())
    totals.input_tokens += int(e.ask[served, lay.INPUT].sum())
    totals.output_tokens += int(e.ask[served, lay.OUTPUT].sum())
    log = e.log[0, : e.at[0, lay.SEGMENTS]]
    totals.attained += score(
        log[np.argsort(log[:, lay.WHO], kind="stable")],
        np.ascontiguousarray(e.record[0, : e.at[0, lay.ITERATION], lay.END_S]),
        served,
        np.ascontiguousarray(e.real[:, lay.RELEASE_S]),
        slo.ttft_s,
        slo.tbt_s,
        totals.gaps,
        totals.first_tokens,
        totals.whole,
    )


def _live(e: Engine) -> Ints:
    """Return the rows of requests that wait, run, or still hold a seat."""
    live = np.isin(e.ask[:, lay.STATUS], (lay.WAITING, lay.RUNNING, lay.PARTIAL))
    r = int(e.at[0, lay.LATE])
    while r != lay.NONE:
        live[r] = True
        r = int(e.ask[r, lay.NEXT])
    return np.flatnonzero(live)


def _trimmed(old: Engine) -> Engine:
    """Return an engine that holds no more than what goes on: its live requests, renumbered, and what they refer to."""
    live = _live(old)
    number = np.full(len(old.ask) + 1, lay.NONE)  # the last one stands for NONE itself
    number[live] = np.arange(len(live))
    ask = old.ask[live]
    ask[:, ROW_FIELDS] = number[ask[:, ROW_FIELDS]]
    at = old.at.copy()
    at[0, ROWS_OF_AT] = number[at[0, ROWS_OF_AT]]
    begun = ask[:, lay.BEGUN]
    first = min(begun[begun != lay.NONE].min(initial=at[0, lay.ITERATION]), at[0, lay.ITERATION] - 1)
    shift = max(int(first), 0) // old.limits[0, lay.BLOCK_TOKENS] * old.limits[0, lay.BLOCK_TOKENS]
    ask[:, ITERATIONS] = np.where(ask[:, ITERATIONS] == lay.NONE, lay.NONE, ask[:, ITERATIONS] - shift)
    kept = old.record[:, shift : at[0, lay.ITERATION]].copy()
    at[0, ITERATIONS_OF_AT] -= shift
    log = old.log[0, : at[0, lay.SEGMENTS]]
    log = log[np.isin(log[:, lay.WHO], live)]
    log[:, lay.WHO], log[:, lay.FIRST] = number[log[:, lay.WHO]], log[:, lay.FIRST] - shift
    at[0, lay.SEGMENTS], at[0, lay.RESTS] = len(log), 0
    return old._replace(
        ask=ask,
        real=old.real[live],
        at=at,
        ring=np.zeros((1, 0), np.int64),
        queues=number[old.queues],
        record=kept,
        log=log[None],
        rests=old.rests[:, :256].copy(),
    )


def _ring(ask: Ints) -> Ints:
    """Return the lists of requests that end in an iteration, each in order of admission, linked in `ask`."""
    ring = np.full((1, int(ask[:, lay.OUTPUT].max(initial=0)) + 2), lay.NONE, np.int64)
    running = np.flatnonzero(ask[:, lay.STATUS] == lay.RUNNING)
    for r in running[np.argsort(-ask[running, lay.ADMITTED])].tolist():
        slot = (ask[r, lay.SEG_FIRST] + ask[r, lay.OUTPUT] - ask[r, lay.PRODUCED] - 1) % ring.shape[1]
        ask[r, lay.AFTER], ring[0, slot] = ring[0, slot], r
    return ring
