"""Who of those that wait comes in next: the least score of the first priority level with anybody, of equals the oldest.

First come, first served is the oldest, whatever its score. By KV length and by laxity a request that has waited for
its patience since its release goes before all younger ones of its level: nobody starves, and the rule reorders only
those that came within that time of each other. Length buckets need no patience: the oldest opens every iteration.
"""

from __future__ import annotations


def aged(waited_s: float, patience_s: float) -> bool:
    """Whether a request goes by age from now on."""
    return waited_s >= patience_s


def bucket(prompt_tokens: int) -> int:
    """Return the length bucket of a prompt, ⌊log2 tokens⌋: prompts of a bucket differ by less than a factor of two.

    BucketServe (arXiv 2507.17120) batches requests of one bucket, which it splits and merges with the load; here the
    bounds are fixed, and the bucket served first is that of the oldest request. Published: 3.58 times the throughput of
    UELLM; what it saves is padding, so that a static batch gains and a continuous one does not.
    """
    found = 0
    while prompt_tokens > 1:
        prompt_tokens >>= 1
        found += 1
    return found


def kv_distance(kv_tokens: float, decoding: float, batch_kv_tokens: float) -> float:
    """Return how far a request's KV length is from the mean of those that decode, times their number; 0 beside nobody.

    AlignedServe (arXiv 2605.23389) batches requests of similar KV length. Published: 1.98 times the decode throughput,
    of an attention kernel that waits for the longest request; the law here charges the sum of lengths, so that nothing
    is gained but a different order.
    """
    return abs(kv_tokens * decoding - batch_kv_tokens)


def latest_start_s(due_s: float, service_s: float) -> float:
    """Return when a request must begin at the latest: at any moment the least laxity is the least of these.

    laxity = due − now − service, and `now` is the same for all. FREESH (arXiv 2511.00807) preempts for it; here it
    orders those that wait. Published for the whole of FREESH: better fairness and SLO attainment.
    """
    return due_s - service_s
