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

from wattlane.model.iteration import decode_constants, shares
from wattlane.model.jit import kernel

REFUSED = -1
INPUT, CACHED, OUTPUT = 0, 1, 2  # columns of the requests
MAX_SEQS, TOKEN_BUDGET, CAPACITY_BLOCKS, BLOCK_TOKENS = 0, 1, 2, 3  # the limits
START_S, END_S, POWER_W, SHARED_J = 0, 1, 2, 3  # columns of the record of iterations
PREFILL_J, DECODE_J = 0, 1  # columns of the requests' energy
# Running state: next request to admit, partly prefilled request and its progress, decoding sequences, blocks held.
WAITING, PARTIAL, PROGRESS, DECODING, BLOCKS = 0, 1, 2, 3, 4
FIXED, SLOPE, MOMENT = 0, 1, 2  # running totals of a decoding request's share


@kernel
def _blocks(request: np.ndarray, limits: np.ndarray) -> int:
    return (request[INPUT] + request[OUTPUT] + limits[BLOCK_TOKENS] - 1) // limits[BLOCK_TOKENS]


@kernel
def _grown(table: np.ndarray) -> np.ndarray:
    larger = np.empty((table.shape[0] * 2, table.shape[1]), table.dtype)
    larger[: table.shape[0]] = table
    return larger


@kernel
def _admit(now: float, requests: np.ndarray, release_s: np.ndarray, limits: np.ndarray, at: np.ndarray) -> bool:
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
    now: float,
    requests: np.ndarray,
    release_s: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    owner: np.ndarray,
    chunk: np.ndarray,
) -> int:
    """Spend the token budget the decoding sequences leave on prefill; return the number of chunks."""
    budget = limits[TOKEN_BUDGET] - at[DECODING]
    chunks = 0
    while budget > 0:
        if at[PARTIAL] < 0 and (
            at[DECODING] + chunks >= limits[MAX_SEQS] or not _admit(now, requests, release_s, limits, at)
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
def _finish(
    done: int,
    base: int,
    requests: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    total: np.ndarray,
    first: np.ndarray,
    mark: np.ndarray,
    after: np.ndarray,
    energy_j: np.ndarray,
) -> int:
    """Close the requests of the list `done`, whose last token came now; return the KV tokens they leave."""
    freed = 0
    while done >= 0:
        offset = requests[done, INPUT] - float(first[done] - base)
        joules = total[FIXED] - mark[done, FIXED] + offset * (total[SLOPE] - mark[done, SLOPE])
        energy_j[done, DECODE_J] += joules + total[MOMENT] - mark[done, MOMENT]
        at[DECODING] -= 1
        at[BLOCKS] -= _blocks(requests[done], limits)
        freed += requests[done, INPUT] + requests[done, OUTPUT]
        done = after[done]
    return freed


@kernel
def _start_decoding(
    owner: int,
    iteration: int,
    requests: np.ndarray,
    limits: np.ndarray,
    at: np.ndarray,
    total: np.ndarray,
    mark: np.ndarray,
    ending: np.ndarray,
    after: np.ndarray,
) -> int:
    """Let a request whose first token came now decode the rest; return the KV tokens it brings."""
    if requests[owner, OUTPUT] == 1:
        at[BLOCKS] -= _blocks(requests[owner], limits)
        return 0
    mark[owner] = total
    at[DECODING] += 1
    last = (iteration + requests[owner, OUTPUT] - 1) % ending.size
    after[owner] = ending[last]
    ending[last] = owner
    return int(requests[owner, INPUT] + 1)


@kernel
def replay(
    law: np.ndarray, release_s: np.ndarray, requests: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Serve requests and return what happened.

    Args:
        law: (N,) coefficients of `wattlane.model.iteration`.
        release_s: (n,) ascending.
        requests: (n, 3) int64, input, cached and output tokens.
        limits: (4,) int64, max_num_seqs, max_num_batched_tokens, KV capacity in blocks, tokens a block.

    Returns:
        first: (n,) iteration that produced each request's first token, `REFUSED` if it can never fit.
        energy_j: (n, 2) joules of each request, prefill and decode.
        record: (iterations, 4) start, end (seconds), power (watts), joules given to requests.
        decoding: (iterations,) sequences that decoded.
    """
    n = release_s.size
    first = np.full(n, REFUSED, np.int64)
    energy_j = np.zeros((n, 2))
    record, decoding = np.empty((4096, 4)), np.empty((4096, 1), np.int64)
    # Heads of the lists of requests whose last token falls in an iteration, by iteration modulo the longest output.
    ending = np.full((requests[:, OUTPUT].max() if n > 0 else 0) + 1, -1, np.int64)
    after = np.full(n, -1, np.int64)
    mark = np.zeros((n, 3))
    owner, chunk = np.empty(limits[MAX_SEQS], np.int64), np.empty((limits[MAX_SEQS], 2))
    at = np.array([0, -1, 0, 0, 0], np.int64)
    total = np.zeros(3)
    constants = decode_constants(law)
    now, kv_tokens = 0.0, 0.0
    iteration, base, slot = 0, 0, 0

    while at[WAITING] < n or at[PARTIAL] >= 0 or at[DECODING] > 0:
        if at[PARTIAL] < 0 and at[DECODING] == 0:
            now = max(now, release_s[at[WAITING]])
            base = iteration  # counting from the last idle moment keeps the running totals small
            total[:] = 0.0
        chunks = 0
        # calls are skipped where nothing is to do: passing arrays costs more than the rest of a decode iteration
        if at[PARTIAL] >= 0 or (at[WAITING] < n and release_s[at[WAITING]] <= now):
            chunks = _fill(now, requests, release_s, limits, at, owner, chunk)
        active = at[DECODING] + chunks
        if active == 0:
            continue  # only refused requests were waiting
        p = pc = 0.0
        for j in range(chunks):
            p += chunk[j, 0]
            pc += chunk[j, 1]
        t, e, c0, price_p, price_pc, price_d, price_k = shares(law, constants, p, pc, float(at[DECODING]), kv_tokens)
        if iteration == record.shape[0]:
            record, decoding = _grown(record), _grown(decoding)
        record[iteration, START_S] = now
        now += t
        record[iteration, END_S] = now
        record[iteration, POWER_W] = e / t
        decoding[iteration, 0] = at[DECODING]
        even = c0 / active
        given = at[DECODING] * (even + price_d) + kv_tokens * price_k
        total[FIXED] += even + price_d
        total[SLOPE] += price_k
        total[MOMENT] += price_k * (iteration - base)
        kv_tokens += at[DECODING]

        done = ending[slot]
        if done >= 0:
            ending[slot] = -1
            kv_tokens -= _finish(done, base, requests, limits, at, total, first, mark, after, energy_j)
        slot = slot + 1 if slot + 1 < ending.size else 0
        for j in range(chunks):
            joules = even + chunk[j, 0] * price_p + chunk[j, 1] * price_pc
            energy_j[owner[j], PREFILL_J] += joules
            given += joules
            if owner[j] != at[PARTIAL]:
                first[owner[j]] = iteration
                kv_tokens += _start_decoding(owner[j], iteration, requests, limits, at, total, mark, ending, after)
        record[iteration, SHARED_J] = given
        iteration += 1
    return first, energy_j, record[:iteration].copy(), decoding[:iteration, 0].copy()


@kernel
def quiet_s(record: np.ndarray, start_s: float, end_s: float) -> float:
    """Return the seconds between `start_s` and `end_s` in which no iteration ran."""
    quiet = end_s - start_s
    for i in range(record.shape[0]):
        quiet -= record[i, END_S] - record[i, START_S]
    return max(quiet, 0.0)
