"""The arrays of a fleet of paged engines and the names of their columns: kernels know columns, not objects.

Requests are rows shared by all replicas, since a request is on one replica at a time; replicas are the first axis of
everything else. Whatever may run out of rows is grown by the caller between two iterations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NONE = -1

# ask: one row a request, whole numbers. The first nine are given, the rest is the state of its present attempt.
INPUT, CACHED, OUTPUT, LEVEL, ADAPTER, PREFIX_AT, PREFIX_N, GROUP, HANDOFF = 0, 1, 2, 3, 4, 5, 6, 7, 8
PRODUCED, GOAL, COMPUTED, SEG_FIRST, NEXT, PREV, AFTER, SHARED, PUBLISH = 9, 10, 11, 12, 13, 14, 15, 16, 17
STATUS, REPLICA, ATTEMPT, BEGUN, PREEMPTED, HIT_TOKENS, ORDER, GRANTED, HELD = 18, 19, 20, 21, 22, 23, 24, 25, 26
RECOMPUTED, FRESH, START, ADMITTED, EXPECTED = 27, 28, 29, 30, 31  # EXPECTED: output tokens as predicted
ASK_COLUMNS = 32
WAITING, RUNNING, PARTIAL, DONE, REFUSED = 0, 1, 2, 3, 4  # values of STATUS

# real: one row a request, real numbers.
RELEASE_S, PREFILL_J, DECODE_J, MARK_FIXED, MARK_SLOPE, MARK_MOMENT, ARRIVAL_S = 0, 1, 2, 3, 4, 5, 6
LATEST_S = 7  # when it must begin at the latest
REAL_COLUMNS = 8

# limits: one row a replica, whole numbers.
MAX_SEQS, MAX_TOKENS, CAPACITY, BLOCK_TOKENS, BLOCKS_PER_HASH, MODE, CHUNKED, RESERVE = 0, 1, 2, 3, 4, 5, 6, 7
AHEAD, DRAFTS, CLOCK_KIND, PREFILL_CLOCK, DECODE_CLOCK, LAW_GROUP, POOL, SEED, PREFIX, MAX_WAITED, LORAS = (
    8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
)  # fmt: skip
CLOCKS, SLOW_PERIODS = 19, 20  # of the grid of the pool, which may be shorter than that of the arrays
ORDER_KIND = 21
CEILING_LOW, CEILING_ALL = 22, 23  # the highest clock at the stages of a cap
LIMIT_COLUMNS = 24
CONTINUOUS, WAITING_RATIO, STATIC = 0, 1, 2  # values of MODE

# rates: one row a replica, real numbers.
ACCEPTANCE, SWITCH_S, CAP_W, LOAD_S, LOAD_J, WAITING_SERVED, DOWN_W = 0, 1, 2, 3, 4, 5, 6
TTFT_S, TBT_S = 7, 8  # targets, infinite without an SLO
MARGIN, BALANCE = 9, 10  # of routing
ALLOW, STEER_S, TAIL, NEAR, INCREASE, DECREASE, MEMORY_S, EMPTY_W = 11, 12, 13, 14, 15, 16, 17, 18  # of clocks
PATIENCE_S = 19
RATE_COLUMNS = 20

# at: running state of a replica, whole numbers.
ITERATION, BASE, DECODING, SEATS, FREE, EVICTABLE, LRU_HEAD, LRU_TAIL, RUN_HEAD, RUN_TAIL = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
PART, LATE, SEGMENTS, RESTS, LOADS, CLOCK, CLOCK_WANTED, QUEUED, ACTIVE, WAITED, STEP, PAD_IN, PAD_OUT = (
    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
)  # fmt: skip
ALL_GRANTED = 23  # the last iteration for which every decoding request was given its block at once
LAST_PREEMPTION = 24  # the last iteration before which somebody was preempted, which keeps those that wait out
ADMISSIONS = 25
QUEUED_TOKENS = 26  # prompt tokens of those that wait
CEILING = 27  # the highest clock allowed
AVOIDED = 28  # 1 where requests go elsewhere if they can
AT_COLUMNS = 29

# run: running state of a replica, real numbers. The first three are totals of a decoding request's share.
FIXED, SLOPE, MOMENT, NOW, GATE, KV_TOKENS, CLOCK_AT, WAKE_S, UP_S = 0, 1, 2, 3, 4, 5, 6, 7, 8
# What a clock policy remembers: its level, the floor of its band, when they are set next, and counts of a period;
# seconds for prompts that wait; how many decode, in the mean and last, the price of time, and the
# prompt tokens that may join.
DIAL, FLOOR, PERIOD_AT, SLOW_AT, GAPS, GAPS_NEAR, GAPS_LATE, FIRSTS_SEEN, FIRSTS_LATE, PROMPT_S = (
    9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
)  # fmt: skip
CROWD, CROWD_LAST, PRICE_W, GUARD = 19, 20, 21, 22
TEMPERATURE_C = 23
RUN_COLUMNS = 24

# record: one row an iteration. The first four are those of `wattlane.sim.replica`.
START_S, END_S, POWER_W, SHARED_J, TOKENS, AT_CLOCK = 0, 1, 2, 3, 4, 5
RECORD_COLUMNS = 6
# log: one row a run of consecutive iterations that each gave a request a token, or, with drafts, some; with drafts a
# run of no steps is the one token that ends a prompt.
WHO, FIRST, STEPS, TRY = 0, 1, 2, 3
# rests: one row a span without iterations.
REST_START_S, REST_END_S, REST_J, REST_STATE = 0, 1, 2, 3
# cache: one row a hash block on a replica.
REFS, OLDER, NEWER, RESIDENT = 0, 1, 2, 3
# adapters: one row a slot.
WHICH, USERS, USED = 0, 1, 2
# ladder: one row a state of rest, in the order they are entered.
AFTER_S, WATTS, ENTRY_S, ENTRY_J, EXIT_S, EXIT_J = 0, 1, 2, 3, 4, 5

# totals: one row a replica, sums from the beginning to the last tick of a controller; requests count as they are sent.
BUSY_S, BUSY_J, OUTPUT_TOKENS, LATE_TOKENS, TAKEN = 0, 1, 2, 3, 4  # of iterations; TAKEN: how many are in
ARRIVALS, PROMPT_TOKENS, EXPECTED_TOKENS, FIRSTS, LATE_FIRSTS = 5, 6, 7, 8, 9  # of requests
DRAWN_J, DRAWN_ITERATIONS, DRAWN_RESTS, SEEN_J, MEAN_W = 10, 11, 12, 13, 14  # of a cap: whole rows, all, a period's
TOTAL_COLUMNS = 15
# control: one row a controller: which, how often, when next, its settings.
CONTROL_KIND, PERIOD_S, NEXT_S, DECIDED, SETTINGS = 0, 1, 2, 3, 4  # DECIDED: how many decisions are noted
CONTROL_COLUMNS = 12
LAST_LOAD, CALM = 0, 1  # columns of past
# trial: what the next iteration would take at each clock, and if more prompts joined it; without KV tokens, and
# whether that is a line.
SECONDS, JOULES, JOINED_S, LINE_S, LINE_J, HOLDS = 0, 1, 2, 3, 4, 5

READY, RECORD_FULL, LOG_FULL, RESTS_FULL, DECISIONS_FULL = 0, 1, 2, 3, 4  # what `drive` returns


class Engine(NamedTuple):
    """Every array of a fleet: n requests, R replicas, G laws, C clocks, S states of rest."""

    ask: Ints  # (n, ASK_COLUMNS)
    real: Floats  # (n, REAL_COLUMNS)
    limits: Ints  # (R, LIMIT_COLUMNS)
    rates: Floats  # (R, RATE_COLUMNS)
    laws: Floats  # (G, C, N)
    constants: Floats  # (G, C, 7)
    drafts: Floats  # (G, N)
    ladder: Floats  # (G, S, 6)
    at: Ints  # (R, AT_COLUMNS)
    run: Floats  # (R, RUN_COLUMNS)
    ring: Ints  # (R, longest output + 2) heads of lists of requests that end in an iteration, modulo its length
    cross: Ints  # (R, largest block) sequences by the iteration, modulo the block, in which they need a block
    queues: Ints  # (R, levels, 2) head and tail of each level
    ids: Ints  # (hash blocks of all requests,)
    cache: Ints  # (R, distinct hash blocks, 4)
    adapters: Ints  # (R, slots, 3)
    owner: Ints  # (R, largest max_num_seqs)
    chunk: Floats  # (R, largest max_num_seqs, 2)
    record: Floats  # (R, rows, RECORD_COLUMNS)
    log: Ints  # (R, rows, 4)
    rests: Floats  # (R, rows, 4)
    totals: Floats  # (R, TOTAL_COLUMNS)
    seen: Floats  # (controllers, R, TOTAL_COLUMNS) the totals at the last tick of each
    control: Floats  # (controllers, CONTROL_COLUMNS)
    past: Floats  # (controllers, pools, 2) what a controller remembers of each pool: its last load, calm periods
    decisions: Floats  # (controllers, rows, 1 + pools) when the active replicas of pools changed, and to how many
    trial: Floats  # (R, 6, C)
