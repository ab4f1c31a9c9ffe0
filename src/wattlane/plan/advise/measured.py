"""What one's own campaigns show: the effect of each factor against its first value, other factors equal.

Only trials that were measured and found valid count. A campaign of which every trial is quarantined is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.extras import require
from wattlane.core.files import read_parquet
from wattlane.model.records.from_campaign import TABLE, read_campaign
from wattlane.plan.advise.advice import Advice, Basis

# factor of a campaign → the knob of the advice it overrides
KNOBS = {
    "precision": "precision",
    "dtype": "precision",
    "max_num_seqs": "max_num_seqs",
    "batch": "max_num_seqs",
    "window_s": "release window",
    "tensor_parallel": "tensor parallelism",
    "speculative": "speculative decoding",
    "clock_hz": "clock",
}
LEVEL = 0.95


def advise(campaigns: Sequence[Path]) -> tuple[list[Advice], list[str]]:
    """Return measured advice, and notes on what was left out.

    Raises:
        MeasurementError: every trial of a campaign is quarantined or failed.
        InputError: a campaign cannot be read, or holds no factor with two values.
    """
    found: list[Advice] = []
    notes: list[str] = []
    for folder in campaigns:
        _refuse_quarantined(folder)
        records = read_campaign(folder)
        notes += [f"{folder.name}: {note}" for note in records.notes]
        mine = list(_effects(records.table, folder.name))
        if not mine:
            raise InputError(
                f"{folder}: no factor has two values with two measured trials each; expected a campaign that compares"
            )
        found += mine
    return found, notes


def _refuse_quarantined(folder: Path) -> None:
    table = read_parquet(folder / TABLE if folder.is_dir() else folder, "campaign", ("status",))
    statuses = table["status"].to_list()
    if statuses and not any(status == "measured" for status in statuses):
        words = ", ".join(f"{statuses.count(s)} {s}" for s in sorted(set(statuses)))
        raise MeasurementError(
            f"{folder}: none of its trials is valid ({words}); advice does not rest on quarantined data; see the "
            f"reasons in {TABLE} and measure again"
        )


def _effects(table: pl.DataFrame, name: str) -> Iterator[Advice]:
    factors = [c for c in table.columns if c.startswith("factor_") and table[c].n_unique() > 1]
    for factor in factors:
        others = [c for c in factors if c != factor]
        for key, group in table.group_by(others, maintain_order=True) if others else [((), table)]:
            cells = group.group_by(factor, maintain_order=True).agg(pl.col("energy_j").log().alias("log_j"))
            values = [row for row in cells.iter_rows() if len(row[1]) > 1]
            for value, logs in values[1:]:
                where = "".join(f", {c.removeprefix('factor_')} {v}" for c, v in zip(others, key, strict=True))
                yield _effect(factor.removeprefix("factor_"), values[0], (value, logs), name, where)


def _effect(
    factor: str, base: tuple[object, list[float]], other: tuple[object, list[float]], name: str, where: str
) -> Advice:
    """Return the effect of one value against another: difference of mean logarithms, Welch's interval."""
    stats = require("scipy.stats")
    before, after = np.array(base[1]), np.array(other[1])
    of_before, of_after = before.var(ddof=1) / len(before), after.var(ddof=1) / len(after)
    spread = float(np.sqrt(of_before + of_after))
    weights = of_before**2 / (len(before) - 1) + of_after**2 / (len(after) - 1)
    freedom = spread**4 / weights if weights > 0 else 1.0
    middle = float(after.mean() - before.mean())
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * spread
    return Advice(
        KNOBS.get(factor, factor),
        f"{base[0]} to {other[0]}{where}",
        1.0 - float(np.exp(middle)),
        1.0 - float(np.exp(middle + half)),
        1.0 - float(np.exp(middle - half)),
        Basis.MEASURED,
        f"campaign {name}, {len(before)} and {len(after)} trials, joules a completed request, Welch 95 %",
        "Your own measurement goes before any model and any study.",
    )
