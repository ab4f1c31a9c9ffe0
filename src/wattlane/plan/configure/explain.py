"""What binds in a configuration plan, what each knob brings, and what is a tie within the laws' uncertainty.

A knob's part: the map without the knob's other values (every mode at its default) as a linear relaxation, against the
relaxation of the whole map. Both are bounds, so the difference is what the knob brings before rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.plan.configure import relaxation
from wattlane.plan.configure.evaluate import cost
from wattlane.plan.configure.files import Kept, read
from wattlane.plan.configure.highs import Status

# knob → what of the map is left when it stays at its default
DEFAULTS = {
    "clock_hz": pl.col("clock_hz").is_null(),
    "power_cap_w": pl.col("power_cap_w").is_null(),
    "release_window_s": pl.col("release_window_s") == 0.0,
    "tensor_parallel": pl.col("tensor_parallel") == pl.col("tensor_parallel").max().over("fleet"),
    "pipeline_parallel": pl.col("pipeline_parallel") == pl.col("pipeline_parallel").min().over("fleet"),
    "expert_parallel": pl.col("expert_parallel") == pl.col("tensor_parallel"),
    "max_num_seqs": pl.col("max_num_seqs") == pl.col("max_num_seqs").max(),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One knob: how much dearer the optimum is without it; None where nothing serves the demand without it."""

    knob: str
    dearer: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Binding limits with their prices, parts by knob, and the verdict on poolings and baseline."""

    binding: tuple[str, ...]
    parts: tuple[Part, ...]
    ties: tuple[str, ...]
    under: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "binding": list(self.binding),
            "knobs": [asdict(part) for part in self.parts],
            "ties": list(self.ties),
            "under": list(self.under),
        }

    def lines(self) -> list[str]:
        """Return the explanation in words."""
        said = [*self.binding, *map(_part_words, self.parts), *self.ties, *self.under]
        return said or ["nothing binds but the demand"]


def _part_words(part: Part) -> str:
    if part.dearer is None:
        return f"without {part.knob} the demand is not served"
    if part.dearer < 1e-6:
        return f"without {part.knob} the plan costs the same"
    return f"without {part.knob} the plan costs {part.dearer:.1%} more (relaxation, above the parked fleet)"


def explain(path: Path) -> Explanation:
    """Return the explanation of the plan at `path`."""
    kept = read(path)
    return Explanation(tuple(_binding(kept)), tuple(_parts(kept)), tuple(_ties(kept)), tuple(_under(kept)))


def _binding(kept: Kept) -> Iterator[str]:
    used, names = kept.problem.gpus_used(kept.counts), kept.body["problem"]["gpu"]
    for g, name in enumerate(names):
        full = int((used[:, g] == kept.problem.gpu_count[g]).sum())
        worth = float(kept.prices.gpu[:, g].sum())
        if full or worth > 0:
            yield f"all {kept.problem.gpu_count[g]} {name} are in use in {full} bins; one more would save {worth:.4g}"
    worth = float(kept.prices.watt.sum())
    if worth > 0:
        yield f"the cap on watts binds; one more kilowatt all the time would save {1000 * worth:.4g}"
    spent = cost(kept.problem, kept.counts)
    yield f"of the objective, {spent.parked / spent.total:.1%} is parked GPUs, {spent.start / spent.total:.1%} starts"


def _parts(kept: Kept) -> Iterator[Part]:
    whole, _ = relaxation.relaxed(kept.problem)
    table = _with_parallelism(kept.table)
    for knob, left in DEFAULTS.items():
        rows = np.flatnonzero(table.select(left.alias("left"))["left"].to_numpy())
        if len(rows) == len(kept.problem.modes):
            continue
        fewer = replace(kept.problem, modes=kept.problem.modes.take(rows)) if len(rows) else None
        solved = None if fewer is None else relaxation.relaxed(fewer)[0]
        if solved is None or solved.status != Status.OPTIMAL:
            yield Part(knob, None)
        else:
            yield Part(knob, solved.objective / whole.objective - 1.0)


def _with_parallelism(table: pl.DataFrame) -> pl.DataFrame:
    """Return the map with its parallelism spelled out; one written without it knew tensor parallelism alone."""
    if "tensor_parallel" in table.columns:
        return table
    gpus = pl.col("gpus")
    return table.with_columns(
        gpus.alias("tensor_parallel"), pl.lit(1).alias("pipeline_parallel"), gpus.alias("expert_parallel")
    )


def _ties(kept: Kept) -> Iterator[str]:
    """Say which other poolings, and whether the baseline, lie within what one standard deviation of the law moves."""
    body = kept.body
    mine = float(body["verified"]["energy_j"])
    runs = [v["energy_j"] for name, v in body["under"].items() if name.startswith("law")]
    spread = max((abs(joules - mine) / mine for joules in runs), default=0.0)
    for name, joules in body["other_poolings"].items():
        if name != body["pooling"] and joules is not None:
            off = joules / mine - 1.0
            verdict = "a tie within the law's uncertainty" if abs(off) <= spread else "not a tie"
            yield f"pooling {name} takes {off:+.1%} energy on the trace: {verdict} (one sd moves {spread:.1%})"
    saving = body.get("saving_fraction")
    if saving is not None:
        sure = "within" if abs(saving) <= spread else "beyond"
        yield f"the saving of {saving:.1%} against the single pool is {sure} what one sd of the law moves alone"


def _under(kept: Kept) -> Iterator[str]:
    for name, found in kept.body["under"].items():
        share = found["met"] / found["offered"]
        yield f"under {name}: {found['energy_j'] / 3.6e6:.4g} kWh, {share:.2%} of requests in time"
