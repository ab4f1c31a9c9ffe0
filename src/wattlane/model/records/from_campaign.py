"""The trials of a campaign as records: means per completed request, one row a trial.

Energy is gross over the whole trial, divided by its completed requests; runtime is the mean time from arrival to end.
Trials that were not measured are left out and counted by status.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.files import read_parquet
from wattlane.core.types import Outcome
from wattlane.model.records.schema import Records

LAYOUT = "campaign"
TABLE = "campaign.parquet"
KIND = "campaign"
MEASURED = "measured"
NEEDED = ("requests", "failed", "input_tokens", "output_tokens", "energy_j", "e2e_mean_s", "engine")
VARIES = 0.05  # sd of lengths within a trial over their mean from which the means no longer stand for its requests


def read_campaign(path: Path) -> Records:
    """Read the folder of a campaign, or its `campaign.parquet`.

    Raises:
        FileFormatError: the table is another or cannot be trusted.
        InputError: no trial was measured.
    """
    folder = path if path.is_dir() else path.parent
    table = read_parquet(folder / TABLE, KIND, ("status",))
    statuses = Counter(table["status"].to_list())
    measured = table.filter(pl.col("status") == MEASURED)
    if len(measured) == 0:
        words = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        raise InputError(f"{folder}: found no measured trial ({words}); the reasons stand in {TABLE}")
    read_parquet(folder / TABLE, KIND, NEEDED)
    left_out = [
        f"{count} trials left out: {status}" for status, count in sorted(statuses.items()) if status != MEASURED
    ]
    rows = [_record(row, folder) for row in measured.iter_rows(named=True)]
    known = [row for row in rows if row["energy_j"] is not None]
    usable = [row for row in known if row["energy_j"] > 0]
    if not usable:
        raise InputError(
            f"{folder}: energy is absent or 0 in all {len(rows)} measured trials; expected a meter that sees the "
            "engine, or cpu_watts in the grid for a modelled energy"
        )
    if len(known) < len(rows):
        left_out.append(f"{len(rows) - len(known)} trials left out: energy absent")
    if len(usable) < len(known):
        left_out.append(f"{len(known) - len(usable)} trials left out: energy below what their meter can tell from 0")
    mixed = _mixed_lengths(measured, folder)
    if mixed:
        left_out.append(
            f"in {mixed} trials request lengths vary by over {VARIES:.0%}: their mean stands for them, and the mean of "
            "in·out is not the product of the means"
        )
    return Records.of(pl.DataFrame(usable, infer_schema_length=None), LAYOUT, left_out)


def _record(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    done = row["requests"] - row["failed"]
    engine = json.loads(row["engine"])
    energy_j = None if row["energy_j"] is None else row["energy_j"] / done
    boundary = row.get("boundary")
    factors = {name: value for name, value in row.items() if name.startswith("factor_")}
    return {
        "input_tokens": row["input_tokens"] / done,
        "output_tokens": row["output_tokens"] / done,
        "energy_j": energy_j,
        "runtime_s": row["e2e_mean_s"],
        "energy_gpu_j": energy_j if boundary == "gpu" else None,
        "boundary": boundary,
        "energy_status": row.get("energy_status"),
        "method": row.get("energy_source"),
        "system": engine.get("gpu") or engine.get("device"),
        "model": engine.get("model") or factors.get("factor_model"),
        "backend": row.get("engine_name"),
        "kv_cache": row.get("kv_cache"),
        "batch": row.get("batch_mean"),
        "repeats": 1.0,
        "runtime_sd_s": row.get("e2e_sd_over_requests_s"),
        "software": json.dumps({"engine": row.get("engine_version"), "wattlane": row.get("wattlane_version")}),
        "source": folder.name,
        "cell": row.get("cell"),
        "trial": row.get("trial"),
        **factors,
    }


def _mixed_lengths(measured: pl.DataFrame, folder: Path) -> int:
    """Return how many trials have requests of unlike lengths, as far as their served tables are still there."""
    mixed = 0
    for row in measured.iter_rows(named=True):
        path = folder / "cells" / str(row.get("cell")) / f"{row.get('trial') or 0:03d}" / "served.parquet"
        if path.is_file():
            served = pl.read_parquet(path, columns=["input_tokens", "output_tokens", "outcome"])
            done = served.filter(pl.col("outcome") == Outcome.COMPLETED.value)
            lengths = [done[name].cast(pl.Float64).to_numpy() for name in ("input_tokens", "output_tokens")]
            mixed += any(values.std() > VARIES * values.mean() for values in lengths)
    return mixed
