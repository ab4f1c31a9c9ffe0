"""Runs as the cells of the measured lookup table, so that a regression and a table rest on the same records."""

from __future__ import annotations

import polars as pl

from wattlane.core.errors import InputError
from wattlane.model.laws.table import Cell, LookupTable
from wattlane.model.records.schema import Records


def table_of(records: Records, model: str) -> LookupTable:
    """Return the table law whose cells are the runs, repeats averaged; a batch costs batch times a request's energy.

    Raises:
        InputError: values that cannot be used, or a batch that is not known.
    """
    records.observations()
    if records.table["batch"].null_count():
        raise InputError("batch is absent in some runs; expected the true number of requests that ran together")
    means = records.table.group_by(
        pl.col("input_tokens").round().cast(pl.Int64), pl.col("output_tokens").round().cast(pl.Int64)
    ).agg(pl.mean("batch", "energy_j", "runtime_s"))
    cells = {
        (tin, tout): Cell(batch, batch * energy_j, runtime_s) for tin, tout, batch, energy_j, runtime_s in means.rows()
    }
    return LookupTable(model, cells, missing="interpolate")
