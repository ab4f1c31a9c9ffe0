"""A seeded workload from an arrival process and a length distribution.

Arrivals and lengths have random streams of their own, both from the one seed: changing one leaves the other as it was.
"""

from __future__ import annotations

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.workload.arrivals import draw_n, draw_until, process
from wattlane.workload.lengths import LENGTHS, draw
from wattlane.workload.spec import Spec, canonical, resolve


def generate(
    *,
    arrival: Spec,
    lengths: Spec,
    n: int | None = None,
    duration_s: float | None = None,
    seed: int = 0,
    name: str = "generated",
) -> Workload:
    """Return n requests, or those that arrive within `duration_s`. Same arguments, same bytes.

    Args:
        arrival: as `kind=gamma,rate_rps=5,cv=2`; the kinds are `wattlane.workload.ARRIVALS`.
        lengths: as `kind=fixed,input_tokens=512,output_tokens=128`; the kinds are `wattlane.workload.LENGTHS`.
        n: how many requests; give this or `duration_s`.
        duration_s: how long requests arrive, seconds.
        seed: of at least 0.
        name: of the workload.

    Raises:
        InputError: a spec is wrong, both or neither of n and duration_s are given, or nothing arrives.
    """
    if (n is None) == (duration_s is None):
        raise InputError(f"n is {n} and duration_s is {duration_s}; expected exactly one of them")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected a whole number of at least 0")
    for_arrivals, for_lengths = np.random.SeedSequence(seed).spawn(2)
    if n is not None:
        arrival_s = draw_n(arrival, n, for_arrivals)
    else:
        assert duration_s is not None
        arrival_s = draw_until(arrival, duration_s, for_arrivals)
    asked = process(arrival)
    drawn = draw(lengths, len(arrival_s), for_lengths)
    notes = [
        f"arrival {asked}",
        f"lengths {canonical(*resolve('lengths', lengths, LENGTHS))}",
        f"seed {seed}",
    ]
    if drawn.clipped:
        notes.append(f"{drawn.clipped} lengths were cut at the stated maximum")
    columns = (arrival_s, drawn.input_tokens, drawn.output_tokens, drawn.cached_tokens)
    return Workload(*columns, name, tuple(notes), asked.window_s)
