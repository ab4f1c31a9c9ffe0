"""One record a run: the schema that laws, tables and diagnosis share.

A row is one run or the mean of `repeats` equal ones. Token counts and batch are true ones, not nominal labels. What is
not known is null; absent energy is null and never 0. Columns beyond the schema are kept: they may be factors or groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.model.observations import Observations

# name -> (type, what it is); `fit` needs the first four
SCHEMA: dict[str, tuple[pl.DataType, str]] = {
    "input_tokens": (pl.Float64(), "true prompt tokens of a request"),
    "output_tokens": (pl.Float64(), "true generated tokens of a request"),
    "energy_j": (pl.Float64(), "energy of a request within the boundary"),
    "runtime_s": (pl.Float64(), "time of a request from arrival to end"),
    "energy_gpu_j": (pl.Float64(), "the GPUs' part of it"),
    "energy_cpu_j": (pl.Float64(), "the CPUs' part of it"),
    "energy_dram_j": (pl.Float64(), "the memory's part of it"),
    "boundary": (pl.String(), "what the energy includes: gpu, cpu, gpu+cpu, ..."),
    "energy_status": (pl.String(), "measured, modelled or absent"),
    "method": (pl.String(), "how energy was metered"),
    "system": (pl.String(), "hardware: GPU and host"),
    "gpus": (pl.Float64(), "GPUs that served"),
    "model": (pl.String(), "name of the model"),
    "backend": (pl.String(), "engine"),
    "kv_cache": (pl.Boolean(), "whether the engine kept its KV cache"),
    "batch": (pl.Float64(), "true mean number of sequences that ran together"),
    "repeats": (pl.Float64(), "runs the row is the mean of (n)"),
    "energy_sd_j": (pl.Float64(), "standard deviation over the repeats"),
    "runtime_sd_s": (pl.Float64(), "standard deviation over the repeats, or over requests within a run"),
    "software": (pl.String(), "versions, as JSON or words"),
    "source": (pl.String(), "file or data set the row comes from"),
}
# a law holds for one of each
IDENTITY = ("model", "system", "gpus", "backend", "kv_cache", "boundary", "energy_status")
REQUIRED = ("input_tokens", "output_tokens", "energy_j", "runtime_s")


@dataclass(frozen=True, eq=False, slots=True)
class Records:
    """Runs, one a row: `table` has every column of `SCHEMA`, then others; `notes` say in words what was left out."""

    table: pl.DataFrame
    layout: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: pl.DataFrame, layout: str, notes: Sequence[str] = ()) -> Records:
        """Return records from a table that has some columns of the schema; the rest are null."""
        known = [
            (pl.col(name).cast(kind, strict=False) if name in table.columns else pl.lit(None, dtype=kind)).alias(name)
            for name, (kind, _) in SCHEMA.items()
        ]
        others = [name for name in table.columns if name not in SCHEMA]
        return cls(table.select(*known, *others), layout, tuple(notes))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def factors(self) -> list[str]:
        """Columns that take between 2 and as many values as rows, by which runs may be grouped."""
        skipped = {*REQUIRED, "energy_gpu_j", "energy_cpu_j", "energy_dram_j", "energy_sd_j", "runtime_sd_s"}
        return [name for name in self.table.columns if name not in skipped and self.table[name].n_unique() > 1]

    def where(self, chosen: Mapping[str, str]) -> Records:
        """Return the rows whose columns read as `chosen` says.

        Raises:
            InputError: no such column, or no row left; names what is there.
        """
        table = self.table
        for name, value in chosen.items():
            if name not in table.columns:
                raise InputError(f"found no column {name!r}; expected one of {', '.join(table.columns)}")
            text = _text(table[name])
            kept = table.filter(text == value)
            if len(kept) == 0:
                there = ", ".join(repr(v) for v in text.unique(maintain_order=True).to_list()[:12])
                raise InputError(f"found no row with {name} = {value!r}; expected one of {there}")
            table = kept
        return replace(self, table=table)

    def mixed(self) -> list[str]:
        """Return in words which parts of the rows' identity differ, so that one law could not be meant."""
        problems = []
        for name in IDENTITY:
            values = self.table[name].drop_nulls().unique(maintain_order=True).to_list()
            if len(values) > 1:
                shown = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
                problems.append(
                    f"rows of {len(values)} values of {name} ({shown}); expected one; "
                    f"choose with --where {name}={values[0]}"
                )
        return problems

    def only(self, name: str) -> object:
        """Return the value that all rows share in a column, None where they share none."""
        values = self.table[name].drop_nulls().unique().to_list()
        return values[0] if len(values) == 1 else None

    def labels(self, name: str) -> NDArray[np.str_]:
        """Return a column as text, "absent" where null, shape (n,)."""
        return np.asarray(_text(self.table[name]).fill_null("absent").to_list(), dtype=np.str_)

    def observations(self) -> Observations:
        """Return tokens, energy and runtime as arrays.

        Raises:
            InputError: a value is absent, not finite or not above 0; counts them by column.
        """
        columns = {name: self.table[name].cast(pl.Float64).to_numpy() for name in REQUIRED}
        bad = {name: int(np.sum(~(np.isfinite(values) & (values > 0)))) for name, values in columns.items()}
        problems = [
            f"{name} is absent or not above 0 in {count} of {len(self)} rows" for name, count in bad.items() if count
        ]
        if problems:
            raise InputError.gathered("the runs cannot be fitted", problems)
        return Observations(**columns)


def _text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        return pl.Series(column.name, [None if v is None else f"{v:g}" for v in column.to_list()], dtype=pl.String)
    return column.cast(pl.String)
