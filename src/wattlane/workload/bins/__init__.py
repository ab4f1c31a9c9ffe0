"""One scheme of length bins a file. Bins are ceilings: a length belongs to the least edge that is not below it."""

from __future__ import annotations

from wattlane.workload.bins import adaptive, fernandez_full, fernandez_printed, log_spaced
from wattlane.workload.bins.scheme import Scheme

SCHEMES: tuple[Scheme, ...] = (
    fernandez_printed.SCHEME,
    fernandez_full.SCHEME,
    log_spaced.SCHEME,
    adaptive.SCHEME,
)
