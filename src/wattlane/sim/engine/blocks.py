"""KV blocks of a replica: free ones, private ones, and cached prefix blocks kept until memory is needed.

A hash block is `BLOCKS_PER_HASH` KV blocks whose tokens are known to the workload by a name. It is resident from when
its last token is scheduled; while requests use it, it cannot be evicted; without users it waits in order of last use,
the end of a prefix before its beginning, and leaves only when a block is needed and none is free. (vLLM V1, where every
full block is kept so; here only those the workload names.)
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import inner
from wattlane.sim.engine.layout import (
    BLOCK_TOKENS,
    BLOCKS_PER_HASH,
    EVICTABLE,
    FREE,
    LRU_HEAD,
    LRU_TAIL,
    NEWER,
    NONE,
    OLDER,
    PREFIX_AT,
    PUBLISH,
    REFS,
    RESIDENT,
    SHARED,
)


@inner
def blocks(tokens: int, limits: np.ndarray) -> int:
    """Return how many KV blocks hold `tokens`."""
    return (tokens + limits[BLOCK_TOKENS] - 1) // limits[BLOCK_TOKENS]


@inner
def available(at: np.ndarray, limits: np.ndarray) -> int:
    """Return how many KV blocks can be had, evicting whatever nobody uses."""
    return at[FREE] + at[EVICTABLE] * limits[BLOCKS_PER_HASH]


@inner
def _unlink(at: np.ndarray, cache: np.ndarray, u: int) -> None:
    older, newer = cache[u, OLDER], cache[u, NEWER]
    if older == NONE:
        at[LRU_HEAD] = newer
    else:
        cache[older, NEWER] = newer
    if newer == NONE:
        at[LRU_TAIL] = older
    else:
        cache[newer, OLDER] = older
    at[EVICTABLE] -= 1


@inner
def take(at: np.ndarray, limits: np.ndarray, cache: np.ndarray, count: int) -> None:
    """Take `count` available blocks, evicting the least recently used prefixes where none are free."""
    while at[FREE] < count:
        u = at[LRU_HEAD]
        _unlink(at, cache, u)
        cache[u, RESIDENT] = 0
        at[FREE] += limits[BLOCKS_PER_HASH]
    at[FREE] -= count


@inner
def hits(request: np.ndarray, ids: np.ndarray, cache: np.ndarray, most: int) -> tuple[int, int]:
    """Return (leading hash blocks that are resident, at most `most`; how many of them nobody uses)."""
    found = unused = 0
    while found < most:
        u = ids[request[PREFIX_AT] + found]
        if cache[u, RESIDENT] == 0:
            break
        if cache[u, REFS] == 0:
            unused += 1
        found += 1
    return found, unused


@inner
def share(request: np.ndarray, at: np.ndarray, ids: np.ndarray, cache: np.ndarray, found: int) -> None:
    """Let a request use its first `found` hash blocks."""
    for j in range(found):
        u = ids[request[PREFIX_AT] + j]
        if cache[u, REFS] == 0:
            _unlink(at, cache, u)
        cache[u, REFS] += 1
    request[SHARED] = found


@inner
def publish(request: np.ndarray, limits: np.ndarray, ids: np.ndarray, cache: np.ndarray, tokens: int) -> None:
    """Make resident what the first `tokens` tokens of a request complete; after a copy it publishes no further."""
    size = limits[BLOCKS_PER_HASH] * limits[BLOCK_TOKENS]
    while request[SHARED] < request[PUBLISH] and (request[SHARED] + 1) * size <= tokens:
        u = ids[request[PREFIX_AT] + request[SHARED]]
        if cache[u, RESIDENT] == 1:
            request[PUBLISH] = request[SHARED]
            break
        cache[u, RESIDENT] = 1
        cache[u, REFS] = 1
        request[SHARED] += 1


@inner
def give_back(
    request: np.ndarray, at: np.ndarray, limits: np.ndarray, ids: np.ndarray, cache: np.ndarray, held: int
) -> None:
    """Return the `held` blocks of a request: private ones are free, shared ones wait in order of last use."""
    at[FREE] += held - request[SHARED] * limits[BLOCKS_PER_HASH]
    for j in range(request[SHARED] - 1, -1, -1):
        u = ids[request[PREFIX_AT] + j]
        cache[u, REFS] -= 1
        if cache[u, REFS] == 0:
            cache[u, OLDER], cache[u, NEWER] = at[LRU_TAIL], NONE
            if at[LRU_TAIL] == NONE:
                at[LRU_HEAD] = u
            else:
                cache[at[LRU_TAIL], NEWER] = u
            at[LRU_TAIL] = u
            at[EVICTABLE] += 1
    request[SHARED] = 0
