"""When each token of a fleet's requests was produced, rebuilt from runs of iterations, and who met the targets."""

from __future__ import annotations

import numpy as np

from wattlane.core.served import MANY_GAPS
from wattlane.model.jit import kernel
from wattlane.sim.engine.drafting import emitted
from wattlane.sim.engine.layout import END_S, FIRST, STEPS, TRY, WHO, Floats, Ints
from wattlane.sim.fleet_types import Role
from wattlane.sim.paged import FleetRun
from wattlane.sim.scoring import p99_meets


@kernel
def _fill(
    runs: Ints,
    ends_s: Floats,
    at: Ints,
    filled: Ints,
    output: Ints,
    seed: int,
    drafting: Ints,
    acceptance: Floats,
    out: Floats,
) -> None:
    """Write the stamps of runs (request, row of its first iteration, steps, replica), in order of time, to `out`."""
    for j in range(runs.shape[0]):
        r, row, steps, rep = runs[j]
        for s in range(max(steps, 1)):
            got = 1
            if drafting[rep] > 0 and steps > 0:
                left = output[r] - filled[r]
                got = emitted(seed, r, filled[r], left, drafting[rep], acceptance[rep])
            for _ in range(got):
                out[at[r] + filled[r]] = ends_s[row + s]
                filled[r] += 1


def final_runs(run: FleetRun) -> Ints:
    """Return the runs of every request's last attempt, (m, 4): request, row, steps, replica; row counts through the
    records of all replicas. Ordered by time for each request."""
    parts, row = [], 0
    for number, replica in enumerate(run.replicas):
        log, stage = replica.log, int(replica.pool.role is Role.DECODE)
        who = log[:, WHO]
        kept = log[(log[:, TRY] == run.stage_attempts[stage][who]) & ~run.refused[who]]
        parts.append(np.stack([kept[:, WHO], kept[:, FIRST] + row, kept[:, STEPS], np.full(len(kept), number)], axis=1))
        row += len(replica.record)
    runs = np.concatenate(parts)
    late = np.array([replica.pool.role is Role.DECODE for replica in run.replicas])
    return np.ascontiguousarray(runs[np.lexsort((runs[:, 1], late[runs[:, 3]], runs[:, 0]))])


def token_times(run: FleetRun) -> tuple[Ints, Floats]:
    """Return (where each request's stamps begin (n + 1,), the seconds of all tokens); refused requests have none."""
    counts = np.where(run.refused, 0, run.workload.output_tokens)
    at = np.concatenate([[0], np.cumsum(counts)])
    ends_s = np.concatenate([replica.record[:, END_S] for replica in run.replicas])
    settings = [replica.pool.settings for replica in run.replicas]
    drafting = np.array([s.draft_tokens for s in settings], np.int64)
    acceptance = np.array([s.acceptance for s in settings])
    out = np.empty(int(at[-1]))
    filled = np.zeros(len(counts), np.int64)
    _fill(final_runs(run), ends_s, at, filled, run.workload.output_tokens, run.fleet.seed, drafting, acceptance, out)
    return at, out


@kernel
def _met(at: Ints, stamps_s: Floats, arrival_s: Floats, ttft_s: float, tbt_s: float) -> Ints:
    out = np.zeros(arrival_s.size, np.int64)
    for r in range(arrival_s.size):
        a, b = at[r], at[r + 1]
        if a == b or stamps_s[a] - arrival_s[r] > ttft_s:
            continue
        bad = 0
        for j in range(a + 1, b):
            bad += 1 if stamps_s[j] - stamps_s[j - 1] > tbt_s else 0
        gaps = b - a - 1
        if bad == 0 or (gaps >= MANY_GAPS and p99_meets(stamps_s, a, gaps, bad, tbt_s)):
            out[r] = 1
    return out


def attains(run: FleetRun, ttft_s: float, tbt_s: float) -> Ints:
    """Return for each request whether it met both targets (1 or 0), refused ones 0; shape (n,)."""
    at, stamps_s = token_times(run)
    return _met(at, stamps_s, run.workload.arrival_s, ttft_s, tbt_s)
