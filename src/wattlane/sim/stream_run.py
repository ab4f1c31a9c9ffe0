"""A stream from files to files: STREAM.toml, FLEET.toml, sums in summary.json; goes on at the window it was stopped in.

After each window the replicas, holding only who is in flight, are kept in `state.npz`. The same command takes them up.
"""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import atomic, sha256, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.sections import Section, read_toml
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model.jit import source_hash
from wattlane.sim.engine.layout import NOW, Engine
from wattlane.sim.fleet_file import read_fleet
from wattlane.sim.fleet_types import Pool, ReleaseKind, Routing
from wattlane.sim.stream import Line, Totals, check, replay, rested
from wattlane.workload.streaming import Stream, made_stream, read_stream

KIND = "stream simulation"
STATE = "state.npz"
Report = Callable[[str, int, int, str], None]
SUMS = tuple(f.name for f in fields(Totals))
# Sums of each window, from the end of the one before to its own: who is done then, and what was drawn until then.
WINDOW = ("requests", "served", "attained", "output_tokens", "iterations", "busy_j", "idle_j")


class StreamSection(Section):
    """STREAM.toml: arrivals and lengths as `wattlane workload` takes them, or a Parquet file beside it."""

    requests: int | None = Field(default=None, ge=1)
    arrival: str = ""
    lengths: str = ""
    file: str = ""
    window_requests: int = Field(default=200_000, ge=1)


@dataclass(frozen=True, eq=False)
class StreamRun:
    """What serving a stream came to; every energy is modelled, at the boundary of the GPU boards."""

    totals: Totals
    pool: Pool
    slo: Slo
    source: str
    horizon_s: float
    windows: int
    resumed: int
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Return the content of summary.json; ratios are over completed requests, None if there are none."""
        t, book = self.totals, self.totals.ledger
        quantiles = {
            f"{name}_p{q}_s": quantile(q / 100) if t.served else None
            for name, quantile in (("ttft", t.ttft_quantile_s), ("tbt", t.tbt_quantile_s), ("e2e", t.e2e_quantile_s))
            for q in (50, 99)
        }
        return {
            "workload": self.source,
            "pools": [{"name": self.pool.name, "role": self.pool.role.value, "replicas": self.pool.replicas}],
            "slo": asdict(self.slo),
            "origin": book.origin.value,
            "boundary": book.boundary.value,
            "windows": self.windows,
            **{name: getattr(t, name) for name in SUMS if isinstance(getattr(t, name), int)},
            **quantiles,
            "slo_attainment": t.attainment,
            "horizon_s": self.horizon_s,
            "busy_share": t.busy_s / (self.horizon_s * self.pool.replicas) if self.horizon_s > 0 else None,
            "energy_j": book.metered_j,
            "energy_j_per_request": book.metered_j / t.served if t.served else None,
            "energy_j_per_output_token": book.metered_j / t.output_tokens if t.output_tokens else None,
            "ledger": {**asdict(book), "residual_j": book.residual_j},
            "ledger_residual_j": book.residual_j,
            "provenance": self.provenance.as_dict(),
        }


def run_stream(
    stream: str | Path,
    fleet: str | Path,
    out: str | Path,
    slo: Slo | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> StreamRun:
    """Replay the stream of a file on the fleet of a file; write sums, one row a window, and provenance into `out`.

    Args:
        stream: STREAM.toml, see `StreamSection`.
        fleet: FLEET.toml with one pool under round robin, without failures, scaling, held releases, clock policies,
            orders other than first come, first served, prefix cache, drafts or static batches.
        out: a folder; a stream that was stopped in it goes on.
        report: is told ("requests", done, of, words) after each window.

    Raises:
        InputError: a file or a setting is wrong, or the fleet has what a stream cannot carry from window to window.
    """
    began, folder, slo = time.monotonic(), Path(out), slo or Slo()
    asked, pool = read_spec(Path(stream), seed), _pool(Path(fleet), seed)
    inputs = {"stream": sha256(Path(stream)), "fleet": sha256(Path(fleet))}
    if asked.file is not None:
        inputs["workload"] = sha256(asked.file)
    provenance = Provenance(seed, inputs, {"kernel_sources": source_hash()})
    digest = hashlib.sha256(json.dumps([provenance.as_dict(), asdict(slo)]).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    lines, rows, now_s = _read_state(folder / STATE, digest, pool)
    resumed, position = len(rows), len(rows) * asked.window_requests

    def after(lines: list[Line], done: int, window: Workload) -> None:
        rows.append([float(window.arrival_s[-1]), *(sum(getattr(x.totals, name) for x in lines) for name in WINDOW)])
        _write_state(folder / STATE, digest, lines, rows)
        if report is not None:
            met = sum(x.totals.attained for x in lines) / done
            report("requests", done, asked.requests, f"{done:,} of {asked.requests:,}, {met:.2%} attained")

    lines = replay(asked.windows(resumed, now_s), pool, slo, lines, min(position, asked.requests), after)
    totals = rested(lines)
    start_s = min(line.start_s for line in lines if line.start_s is not None)
    end_s = max(float(line.engine.run[0, NOW]) for line in lines if line.engine is not None)
    found = StreamRun(totals, pool, slo, str(asked), end_s - start_s, len(rows), resumed, provenance)
    write_parquet(folder / "windows.parquet", "windows", _table(rows))
    write_json(folder / "summary.json", KIND, found.as_dict())
    write_beside(folder, provenance, {"simulate": time.monotonic() - began})
    return found


def read_spec(path: Path, seed: int) -> Stream:
    """Return the stream of a file.

    Raises:
        InputError: no TOML, unknown keys, values out of place, or neither or both of a file and a process.
    """
    asked = read_toml(path, StreamSection, "docs/concepts/engine-model.md")
    if asked.file and not (asked.arrival or asked.lengths or asked.requests):
        return read_stream(path.parent / asked.file, asked.window_requests)
    if asked.file or not (asked.arrival and asked.lengths and asked.requests):
        raise InputError(f"{path}: expected file alone, or requests, arrival and lengths")
    return made_stream(asked.arrival, asked.lengths, asked.requests, asked.window_requests, seed)


def _pool(path: Path, seed: int) -> Pool:
    fleet = read_fleet(path, seed)
    found = {
        f"{len(fleet.pools)} pools": len(fleet.pools) > 1,
        f"{fleet.routing.value} routing": fleet.routing is not Routing.ROUND_ROBIN,
        "failures": bool(fleet.failures),
        "scaling": bool(fleet.scales) or fleet.scaling is not None,
        f"{fleet.release.kind.value} release": fleet.release.kind is not ReleaseKind.IMMEDIATE,
    }
    if any(found.values()):
        words = ", ".join(name for name, there in found.items() if there)
        raise InputError(
            f"{path}: found {words}; a stream is served by one pool under round robin, without any of these"
        )
    check(fleet.pools[0])
    return fleet.pools[0]


def _write_state(path: Path, digest: str, lines: list[Line], rows: list[list[float]]) -> None:
    """Write what goes on, whole or not at all."""
    arrays: dict[str, Any] = {"digest": np.array(digest), "rows": np.array(rows)}
    for i, line in enumerate(lines):
        arrays[f"{i}.start_s"] = np.array(np.nan if line.start_s is None else line.start_s)
        arrays |= {f"{i}.sum.{name}": np.asarray(getattr(line.totals, name)) for name in SUMS}
        if line.engine is not None:
            arrays |= {f"{i}.engine.{name}": table for name, table in line.engine._asdict().items()}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _read_state(path: Path, digest: str, pool: Pool) -> tuple[list[Line], list[list[float]], float]:
    """Return the replicas, the rows of the windows that are done, and the last arrival of these.

    Raises:
        InputError: the state is that of another stream, fleet, seed, target or version.
        FileFormatError: the file cannot be trusted.
    """
    lines = [Line(i, pool.replicas) for i in range(pool.replicas)]
    if not path.exists():
        return lines, [], 0.0
    try:
        with np.load(path, allow_pickle=False) as held:
            if str(held["digest"]) != digest:
                raise InputError(
                    f"{path}: found the state of another stream, fleet, seed, target or version; "
                    "take another folder, or remove the file to begin anew"
                )
            rows = held["rows"].tolist()
            for i, line in enumerate(lines):
                start_s = float(held[f"{i}.start_s"])
                line.start_s = None if np.isnan(start_s) else start_s
                sums = {name: held[f"{i}.sum.{name}"] for name in SUMS}
                line.totals = Totals(**{name: value if value.ndim else value.item() for name, value in sums.items()})
                if f"{i}.engine.ask" in held:
                    line.engine = Engine(**{name: held[f"{i}.engine.{name}"] for name in Engine._fields})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path}: not a state that can be taken up ({error}); remove it to begin anew") from error
    return lines, rows, float(rows[-1][0])


def _table(rows: list[list[float]]) -> pl.DataFrame:
    """Return one row a window: the end of its arrivals, and what was added from the end of the one before."""
    sums = np.array(rows)
    own = np.diff(sums[:, 1:], axis=0, prepend=0.0)
    columns: dict[str, Any] = {"until_s": sums[:, 0]}
    for j, name in enumerate(WINDOW):
        columns[name] = own[:, j] if name.endswith("_j") else own[:, j].astype(np.int64)
    return pl.DataFrame(columns)
