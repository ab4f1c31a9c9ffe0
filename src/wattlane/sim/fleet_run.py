"""One simulation of a fleet from files to files: a workload, FLEET.toml, and what serving it that way would be like."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.files import sha256, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.served import Latency, latency, write_served
from wattlane.core.types import Ledger, Outcome, Slo
from wattlane.model.jit import source_hash
from wattlane.sim import account, paged
from wattlane.sim.fleet_file import read_fleet
from wattlane.sim.fleet_types import Tags
from wattlane.sim.paged import FleetRun
from wattlane.sim.simulation import requests_of

KIND = "fleet simulation"
COLUMNS = {
    "priority": pl.Int64,
    "adapter": pl.Int64,
    "predicted_tokens": pl.Int64,
    "deadline_s": pl.Float64,
    "deferrable": pl.Boolean,
}
NAMES = "prefix_blocks"


@dataclass(frozen=True, eq=False)
class FleetSimulation:
    """A fleet's run with its account and latencies; every energy is modelled, at the boundary of the GPU boards."""

    run: FleetRun
    ledger: Ledger
    served: pl.DataFrame
    latency: Latency
    slo: Slo
    source: str
    notes: tuple[str, ...]
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Return the content of summary.json; ratios are over completed requests, None if there are none."""
        done = self.served.filter(pl.col("outcome") == Outcome.COMPLETED.value)
        output, book = int(done["output_tokens"].sum()), self.ledger
        cap = self.run.fleet.capping
        pools = [{"name": p.name, "role": p.role.value, "replicas": p.replicas} for p in self.run.fleet.pools]
        return {
            "workload": self.source,
            "pools": pools,
            "slo": asdict(self.slo),
            "origin": book.origin.value,
            "boundary": book.boundary.value,
            **self.latency._asdict(),
            **account.counts(self.run),
            "capping": None if cap is None else {"kind": cap.kind.value, **account.over_budget(self.run, cap.budget_w)},
            "input_tokens": int(done["input_tokens"].sum()),
            "output_tokens": output,
            "horizon_s": self.run.horizon_s - float(self.run.workload.arrival_s[0]),
            "energy_j": book.metered_j,
            "energy_j_per_request": book.metered_j / len(done) if len(done) else None,
            "energy_j_per_output_token": book.metered_j / output if output else None,
            "ledger": {**asdict(book), "residual_j": book.residual_j},
            "ledger_residual_j": book.residual_j,
            "notes": list(self.notes),
            "provenance": self.provenance.as_dict(),
        }


def run_fleet(
    workload: str | Path, fleet: str | Path, out: str | Path | None = None, slo: Slo | None = None, seed: int = 0
) -> FleetSimulation:
    """Replay a workload on the fleet of a file; with `out`, write rows, power, summary and provenance there.

    Args:
        workload: a trace file, whose columns `priority`, `adapter`, `prefix_blocks`, `predicted_tokens`, `deadline_s`
            and `deferrable` are read where present, or the name of a shipped shape (sampled with `seed`).
        slo: the targets where the fleet file has no [slo].

    Raises:
        InputError: a name, a file or a setting is wrong; everything wrong with the fleet file is said at once.
    """
    began = time.monotonic()
    requests, source, inputs, notes = requests_of(workload, seed)
    chosen = read_fleet(Path(fleet), seed)
    tags = read_tags(Path(workload), len(requests)) if inputs else Tags()
    run = paged.replay(requests, chosen, tags)
    book, slo = account.ledger(run), chosen.slo or slo or Slo()
    table = account.served_table(run, book.idle_j)
    provenance = Provenance(seed, {**inputs, "fleet": sha256(Path(fleet))}, {"kernel_sources": source_hash()})
    found = FleetSimulation(run, book, table, latency(table, slo), slo, source, notes, provenance)
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_served(folder / "served.parquet", table)
        write_parquet(folder / "power.parquet", "power", account.power_series(run))
        write_json(folder / "summary.json", KIND, found.as_dict())
        write_beside(folder, provenance, {"simulate": time.monotonic() - began})
    return found


def read_tags(path: Path, requests: int) -> Tags:
    """Return what the rows of a plain workload file carry; `prefix_blocks` holds names apart by spaces, or a list.

    Raises:
        InputError: a value is no whole number, or the file holds other rows than the workload.
    """
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
    elif path.suffix in {".jsonl", ".ndjson"}:
        frame = pl.read_ndjson(path)
    else:
        frame = pl.read_csv(path, infer_schema_length=None)
    wanted = [name for name in (*COLUMNS, NAMES) if name in frame.columns]
    if not wanted:
        return Tags()
    if len(frame) != requests or "arrival_s" not in frame.columns:
        raise InputError(f"{path}: {', '.join(wanted)} in {len(frame)} rows; expected the {requests} of the workload")
    frame = frame[np.argsort(frame["arrival_s"].to_numpy(), kind="stable")]
    columns: dict[str, Any] = {}
    try:
        for name in wanted:
            if name != NAMES:
                columns[name] = frame[name].cast(COLUMNS[name]).to_numpy()
                continue
            lists = frame[name] if frame[name].dtype == pl.List else frame[name].cast(pl.String).str.split(" ")
            rows = [[int(v) for v in (row or []) if str(v)] for row in lists.to_list()]
            columns["prefix_at"] = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
            columns["prefix_ids"] = np.array([v for row in rows for v in row], np.int64)
    except (ValueError, pl.exceptions.PolarsError) as problem:
        kind = {"deadline_s": "number", "deferrable": "truth value"}.get(name, "whole number")
        raise InputError(f"{path}: {name} holds what is no {kind}: {problem}") from None
    return Tags(**columns)
