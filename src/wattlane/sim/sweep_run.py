"""A sweep from files to files: a workload, POINTS.toml or POINTS.csv, one row a point, resumable.

Rows are kept in `points.jsonl` as they end, under a digest of everything they depend on. The same command goes on where
an earlier one stopped, and a file with more points works out only those.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.files import sha256, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.types import Boundary, Origin, Slo
from wattlane.core.workload import Workload
from wattlane.model.jit import source_hash
from wattlane.sim.simulation import requests_of
from wattlane.sim.sweep import OnRay, Point, Step, Sweep, in_threads, run_sweep
from wattlane.sim.sweep.points_file import read_points
from wattlane.sim.sweep.run import Report, Row
from wattlane.sim.sweep.spread import Spread

KIND = "sweep"
LOG = "points.jsonl"


@dataclass(frozen=True, eq=False)
class PointsRun:
    """A sweep with the settings of each point; every energy is modelled. `resumed` points were worked out before."""

    sweep: Sweep
    table: pl.DataFrame
    source: str
    slo: Slo
    resumed: int
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Return the content of summary.json."""
        least = self.table.sort("metered_j").head(1).to_dicts()[0]
        return {
            "workload": self.source,
            "slo": asdict(self.slo),
            "origin": Origin.MODELLED.value,
            "boundary": Boundary.GPU.value,
            "points": len(self.table),
            "repriced": self.sweep.repriced,
            "replayed": len(self.table) - self.sweep.repriced,
            "least_energy": {name: least[name] for name in ("name", "metered_j", "slo_attainment")},
            "provenance": self.provenance.as_dict(),
        }


def run_points(
    workload: str | Path,
    points: str | Path,
    out: str | Path,
    *,
    given: Mapping[str, Any] | None = None,
    slo: Slo | None = None,
    profile: str | Path | None = None,
    seed: int = 0,
    ray: str | None = None,
    report: Report | None = None,
) -> PointsRun:
    """Replay or re-price every point of a file and write `sweep.parquet`, `summary.json` and provenance into `out`.

    Args:
        workload: a trace file, or the name of a shipped shape (sampled with `seed`).
        points: a TOML file whose lists multiply, or a CSV file with one row a point.
        given: settings of all points, above the file's.
        profile: a profile file, asked instead of the shipped one of each GPU.
        ray: address of a Ray cluster to work on, instead of threads of this machine.
        report: is told ("points", done, of, "") as points end.

    Raises:
        InputError: a name, a file or a setting is wrong; everything wrong with the points is said at once.
        MissingExtraError: `ray` is given and Ray is not installed.
        MeasurementError: the cluster cannot be reached, or lost a task; what ended is kept.
    """
    began, slo, folder = time.monotonic(), slo or Slo(), Path(out)
    requests, source, inputs, _ = requests_of(workload, seed)
    chosen, settings = read_points(Path(points), given, None if profile is None else Path(profile))
    spread: Spread = in_threads if ray is None else OnRay(ray)
    folder.mkdir(parents=True, exist_ok=True)
    keys = dict(zip((p.name for p in chosen), _keys(requests, chosen, slo), strict=True))
    kept = _read_log(folder / LOG)
    known = {name: {**kept[key], "name": name} for name, key in keys.items() if key in kept}
    with (folder / LOG).open("a", encoding="utf-8") as log:

        def keep(rows: list[Row]) -> None:
            # one line for all rows of one piece of work: it is there whole, or not at all
            log.write(json.dumps({keys[str(row["name"])]: row for row in rows}) + "\n")
            log.flush()

        found = run_sweep(requests, chosen, slo, spread=spread, known=known, keep=keep, report=report)
    inputs = {**inputs, "points": sha256(Path(points))}
    if profile is not None:
        inputs["profile"] = sha256(Path(profile))
    provenance = Provenance(seed, inputs, {"kernel_sources": source_hash()})
    asked = pl.DataFrame(settings, infer_schema_length=None, strict=False)
    table = pl.concat([found.table, asked.select(pl.all().name.prefix("set."))], how="horizontal")
    run = PointsRun(found, table, source, slo, len(known), provenance)
    write_parquet(folder / "sweep.parquet", KIND, table)
    write_json(folder / "summary.json", KIND, run.as_dict())
    write_beside(folder, provenance, {"sweep": time.monotonic() - began})
    return run


def _keys(workload: Workload, points: Sequence[Point], slo: Slo) -> list[str]:
    """Return a digest of all that the row of each point depends on."""
    common = hashlib.sha256(source_hash().encode())
    for column in (workload.release_s, workload.arrival_s, workload.input_tokens, workload.output_tokens):
        common.update(column.tobytes())
    common.update(repr((workload.cached_tokens.tobytes() if workload.cached_tokens is not None else b"", slo)).encode())
    return [_key(common.copy(), point) for point in points]


def _key(digest: Any, point: Point) -> str:
    digest.update(repr((point.deployment, point.kv_capacity_tokens, point.kv_block_tokens)).encode())
    digest.update(repr((point.park_after_s, point.park_w)).encode())
    digest.update(point.law.tobytes())
    for series in (point.price, point.carbon):
        digest.update(b"none" if series is None else _bytes(series))
    return str(digest.hexdigest())


def _bytes(series: Step) -> bytes:
    return series.t_s.tobytes() + b"|" + series.per_j.tobytes()


def _read_log(path: Path) -> dict[str, Row]:
    """Return the rows an earlier run kept; a last line that was cut off is left out."""
    rows: dict[str, Row] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.update(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows
