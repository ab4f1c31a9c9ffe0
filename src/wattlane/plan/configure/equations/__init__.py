"""The equations of the configuration problem, one family a file.

Each file gives the block of one bin: `matrix(problem)` over that bin's instances n (M columns) and the right-hand sides
of bin t. `relaxation` lays the blocks of all bins side by side; `bins` takes one at a time.
"""

from __future__ import annotations

from wattlane.plan.configure.equations import cover, fleet, start, wake, watts

BLOCKS = {"cover": cover, "fleet": fleet, "watts": watts}  # of one bin
LINKS = {"start": start, "wake": wake}  # between a bin and the one before

__all__ = ["BLOCKS", "LINKS"]
