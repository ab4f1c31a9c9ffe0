"""One replica of a continuously batching engine, iteration by iteration, exact.

The scheduler is the first-come-first-served one of vLLM's V1 engine with chunked prefill: each iteration first gives
one token to every decoding sequence, then spends what is left of the token budget on the partly prefilled request and
on waiting ones, while sequences and KV blocks last. KV blocks are reserved for the whole request at admission, so
nothing is ever preempted; requests that can never fit are refused.

A decoding request gets exactly one token in every iteration until it ends, so its token gaps are the differences of
consecutive iteration ends: the kernel keeps one end per iteration and one iteration index per request, and the work of
an iteration does not grow with the batch. The same holds for its joules: its share in an iteration is
C0/active + price_d + price_k·(context), a linear function of the iteration index, summed by running totals.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.iteration import EMPTY_J, LIMIT_W, PER_KV_J, PER_KV_S, decode_constants, decode_line, priced
from wattlane.model.jit import kernel

REFUSED = -1
INPUT, CACHED, OUTPUT = 0, 1, 2  # columns of the requests
MAX_SEQS, TOKEN_BUDGET, CAPACITY_BLOCKS, BLOCK_TOKENS = 0, 1, 2, 3  # the limits
START_S, END_S, POWER_W, SHARED_J = 0, 1, 2, 3  # columns of the record of iterations
PREFILL_J, DECODE_J = 0, 1  # columns of the requests' energy
# Running state, whole numbers: the next request to admit, the partly prefilled one and its progress, sequences
# decoding, blocks held, the iteration, and the iteration from which the running totals count.
WAITING, PARTIAL, PROGRESS, DECODING, BLOCKS, ITERATION, BASE = 0, 1, 2, 3, 4, 5, 6
# Running state, real numbers: running totals of a decoding request's share, the time, KV tokens of decoding sequences.
FIXED, SLOPE, MOMENT, NOW, KV_TOKENS = 0, 1, 2, 3, 4
SETTLE_EVERY = 1 << 15  # iterations after which the running totals start anew, so that differences of them stay exact
FIRST_ROWS = 1 << 18  # rows the record starts with at most: 8 MiB, which the allocator keeps for the next replay


@kernel
def _blocks(request: np.ndarray, limits: np.ndarray) -> int:
    return (request[INPUT] + request[OUTPUT] + limits[BLOCK_TOKENS] - 1) // limits[BLOCK_TOKENS]


@kernel
def _grown(table: np.ndarray) -> np.ndarray:
    larger = np.empty((table.shape[0] * 2, table.shape[1]), table.dtype)
    larger[: table.shape[0]] = table
    return larger


@kernel
def _admit(requests: np.ndarray, release_s: np.ndarray, limits: np.ndarray, at: np.ndarray, now: float) -> bool:
    """Make the next waiting request the partly prefilled one, refusing those that can never fit; False if none can."""
    while at[WAITING] < release_s.size and release_s[at[WAITING]] <= now:
        need = _blocks(requests[at[WAITING]], limits)
        if need > limits[CAPACITY_BLOCKS]:
            at[WAITING] += 1
            continue
        if at[BLOCKS] + need > limits[CAPACITY_BLOCKS]:
            return False
        at[BLOCKS] += need
        at[PARTIAL] = at[WAITING]
        request = requests[at[WAITING]]
        at[PROGRESS] = min(request[CACHED], request[INPUT] - 1)  # a fully cached prompt still computes its last token
        at[WAITING] += 1
        return True
    return False


@kernel
def _fill(
    requests: np.ndarray,
    release_s: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    now: float,
    owner: np.ndarray,
    chunk: np.ndarray,
) -> int:
    """Spend the token budget the decoding sequences leave on prefill; return the number of chunks."""
    budget = limits[TOKEN_BUDGET] - at[DECODING]
    chunks = 0
    while budget > 0:
        if at[PARTIAL] < 0 and (
            at[DECODING] + chunks >= limits[MAX_SEQS] or not _admit(requests, release_s, limits, at, now)
        ):
            break
        partial = at[PARTIAL]
        take = min(budget, requests[partial, INPUT] - at[PROGRESS])
        owner[chunks] = partial
        chunk[chunks, 0] = take
        chunk[chunks, 1] = take * float(at[PROGRESS]) + 0.5 * take * (take + 1.0)
        chunks += 1
        budget -= take
        at[PROGRESS] += take
        if at[PROGRESS] < requests[partial, INPUT]:
            break
        at[PARTIAL] = -1
    return chunks


@kernel
def _decode(
    law: np.ndarray,
    constants: np.ndarray,
    until_s: float,
    ending: np.ndarray,
    at: np.ndarray,
    now_at: np.ndarray,
    record: np.ndarray,
    decoding: np.ndarray,
) -> None:
    """Run iterations that only decode, until one ends a request, or the next would begin at `until_s` or later."""
    d = at[DECODING]
    seconds, joules, price_d, holds = decode_line(law, constants, float(d))
    kv_s, kv_j, limit_w, c0 = constants[PER_KV_S], constants[PER_KV_J], law[LIMIT_W], constants[EMPTY_J]
    line_each = c0 / d + price_d
    fixed, slope, moment, now, kv_tokens = now_at[FIXED], now_at[SLOPE], now_at[MOMENT], now_at[NOW], now_at[KV_TOKENS]
    i, base = at[ITERATION], at[BASE]
    slot = i % ending.size
    ended = False
    while not ended and now < until_s and i < record.shape[0]:
        t, e = seconds + kv_tokens * kv_s, joules + kv_tokens * kv_j
        each, price_k = line_each, kv_j
        if not holds or e >= limit_w * t:
            t, e, c0, _, _, price_d, price_k = priced(law, c0, 0.0, 0.0, float(d), kv_tokens)
            each = c0 / d + price_d
        end = now + t
        record[i, START_S] = now
        record[i, END_S] = end
        record[i, POWER_W] = e / (end - now)
        record[i, SHARED_J] = d * each + kv_tokens * price_k
        decoding[i, 0] = d
        now = end
        fixed += each
        slope += price_k
        moment += price_k * (i - base)
        kv_tokens += d
        ended = ending[slot] >= 0
        slot = slot + 1 if slot + 1 < ending.size else 0
        i += 1
    now_at[FIXED], now_at[SLOPE], now_at[MOMENT], now_at[NOW], now_at[KV_TOKENS] = fixed, slope, moment, now, kv_tokens
    at[ITERATION] = i


@kernel
def _prefill(
    law: np.ndarray,
    constants: np.ndarray,
    chunks: int,
    owner: np.ndarray,
    chunk: np.ndarray,
    at: np.ndarray,
    now_at: np.ndarray,
    record: np.ndarray,
    decoding: np.ndarray,
    begun: np.ndarray,
    energy_j: np.ndarray,
) -> None:
    """Run one iteration with prompt chunks."""
    i, d, kv_tokens, now = at[ITERATION], float(at[DECODING]), now_at[KV_TOKENS], now_at[NOW]
    p = pc = 0.0
    for j in range(chunks):
        p += chunk[j, 0]
        pc += chunk[j, 1]
    t, e, c0, price_p, price_pc, price_d, price_k = priced(law, constants[EMPTY_J], p, pc, d, kv_tokens)
    end = now + t
    record[i, START_S] = now
    record[i, END_S] = end
    record[i, POWER_W] = e / (end - now)
    decoding[i, 0] = at[DECODING]
    even = c0 / (at[DECODING] + chunks)
    given = d * (even + price_d) + kv_tokens * price_k
    for j in range(chunks):
        joules = even + chunk[j, 0] * price_p + chunk[j, 1] * price_pc
        energy_j[owner[j], PREFILL_J] += joules
        if begun[owner[j]] == REFUSED:
            begun[owner[j]] = i
        given += joules
    record[i, SHARED_J] = given
    now_at[FIXED] += even + price_d
    now_at[SLOPE] += price_k
    now_at[MOMENT] += price_k * (i - at[BASE])
    now_at[NOW] = end
    now_at[KV_TOKENS] += d
    at[ITERATION] = i + 1


@kernel
def _share_j(request: np.ndarray, first: int, mark: np.ndarray, at: np.ndarray, now_at: np.ndarray) -> float:
    """Return what a decoding request has cost since its mark."""
    offset = request[INPUT] - float(first - at[BASE])
    joules = now_at[FIXED] - mark[FIXED] + offset * (now_at[SLOPE] - mark[SLOPE])
    return joules + now_at[MOMENT] - mark[MOMENT]


@kernel
def _finish(
    requests: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    now_at: np.ndarray,
    done: int,
    first: np.ndarray,
    mark: np.ndarray,
    after: np.ndarray,
    energy_j: np.ndarray,
) -> None:
    """Close the requests of the list `done`, whose last token came in the iteration just run."""
    while done >= 0:
        energy_j[done, DECODE_J] += _share_j(requests[done], first[done], mark[done], at, now_at)
        at[DECODING] -= 1
        at[BLOCKS] -= _blocks(requests[done], limits)
        now_at[KV_TOKENS] -= requests[done, INPUT] + requests[done, OUTPUT]
        done = after[done]


@kernel
def _settle(
    requests: np.ndarray,
    at: np.ndarray,
    now_at: np.ndarray,
    ending: np.ndarray,
    first: np.ndarray,
    mark: np.ndarray,
    after: np.ndarray,
    energy_j: np.ndarray,
) -> None:
    """Charge every decoding request what it has cost so far, and count the running totals from here."""
    if at[DECODING] > 0:
        for slot in range(ending.size):
            r = ending[slot]
            while r >= 0:
                energy_j[r, DECODE_J] += _share_j(requests[r], first[r], mark[r], at, now_at)
                mark[r] = 0.0
                r = after[r]
    now_at[:3] = 0.0
    at[BASE] = at[ITERATION]


@kernel
def _start_decoding(
    requests: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    now_at: np.ndarray,
    owner: int,
    first: np.ndarray,
    mark: np.ndarray,
    after: np.ndarray,
    ending: np.ndarray,
) -> None:
    """Let a request whose first token came in the iteration just run decode the rest."""
    iteration = at[ITERATION] - 1
    first[owner] = iteration
    if requests[owner, OUTPUT] == 1:
        at[BLOCKS] -= _blocks(requests[owner], limits)
        return
    mark[owner] = now_at[:3]
    at[DECODING] += 1
    now_at[KV_TOKENS] += requests[owner, INPUT] + 1
    last = (iteration + requests[owner, OUTPUT] - 1) % ending.size
    after[owner] = ending[last]
    ending[last] = owner


@kernel
def replay(
    law: np.ndarray, release_s: np.ndarray, requests: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Serve requests and return what happened.

    Args:
        law: (N,) coefficients of `wattlane.model.iteration`.
        release_s: (n,) ascending.
        requests: (n, 3) int64, input, cached and output tokens.
        limits: (4,) int64, max_num_seqs, max_num_batched_tokens, KV capacity in blocks, tokens a block.

    Returns:
        begun: (n,) iteration that processed each request's first prompt tokens, `REFUSED` if it can never fit.
        first: (n,) iteration that produced its first token, or `REFUSED`.
        energy_j: (n, 2) joules of each request, prefill and decode.
        record: (iterations, 4) start, end (seconds), power (watts), joules given to requests.
        decoding: (iterations,) sequences that decoded.
    """
    n = release_s.size
    begun, first, after = np.full(n, REFUSED), np.full(n, REFUSED), np.full(n, -1)
    energy_j, mark = np.zeros((n, 2)), np.zeros((n, 3))
    rows = min(FIRST_ROWS, requests[:, OUTPUT].sum() + 4096)
    record, decoding = np.empty((rows, 4)), np.empty((rows, 1), np.int64)
    # Heads of the lists of requests whose last token falls in an iteration, by iteration modulo the longest output.
    ending = np.full((requests[:, OUTPUT].max() if n > 0 else 0) + 1, -1, np.int64)
    owner, chunk = np.empty(limits[MAX_SEQS], np.int64), np.empty((limits[MAX_SEQS], 2))
    at, now_at = np.array([0, -1, 0, 0, 0, 0, 0], np.int64), np.array([0.0, 0.0, 0.0, -np.inf, 0.0])
    constants = decode_constants(law)
    while at[WAITING] < n or at[PARTIAL] >= 0 or at[DECODING] > 0:
        if at[PARTIAL] < 0 and at[DECODING] == 0:
            now_at[NOW] = max(now_at[NOW], release_s[at[WAITING]])
        if at[DECODING] == 0 or at[ITERATION] - at[BASE] >= SETTLE_EVERY:
            _settle(requests, at, now_at, ending, first, mark, after, energy_j)
        if at[ITERATION] == record.shape[0]:
            record, decoding = _grown(record), _grown(decoding)
        chunks = 0
        if at[PARTIAL] >= 0 or (at[WAITING] < n and release_s[at[WAITING]] <= now_at[NOW]):
            chunks = _fill(requests, release_s, limits, at, now_at[NOW], owner, chunk)
        if chunks > 0:
            _prefill(law, constants, chunks, owner, chunk, at, now_at, record, decoding, begun, energy_j)
        elif at[DECODING] > 0:
            # who waits now is kept out by sequences, tokens or blocks: nobody comes in before a request ends
            until_s = np.inf
            if at[PARTIAL] < 0 and at[WAITING] < n and release_s[at[WAITING]] > now_at[NOW]:
                until_s = release_s[at[WAITING]]
            _decode(law, constants, until_s, ending, at, now_at, record, decoding)
        else:
            continue  # only refused requests were waiting
        slot = (at[ITERATION] - 1) % ending.size
        if ending[slot] >= 0:
            _finish(requests, limits, at, now_at, ending[slot], first, mark, after, energy_j)
            ending[slot] = -1
        for j in range(chunks):
            if owner[j] != at[PARTIAL]:
                _start_decoding(requests, limits, at, now_at, owner[j], first, mark, after, ending)
    return begun, first, energy_j, record[: at[ITERATION]], decoding[: at[ITERATION], 0]


@kernel
def quiet_s(record: np.ndarray, start_s: float, end_s: float) -> float:
    """Return the seconds between `start_s` and `end_s` in which no iteration ran."""
    quiet = end_s - start_s
    for i in range(record.shape[0]):
        quiet -= record[i, END_S] - record[i, START_S]
    return max(quiet, 0.0)
