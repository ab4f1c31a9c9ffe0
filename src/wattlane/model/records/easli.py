"""The released vLLM measurements of EASLI (Wilkins 2024): CSV without a header, one request at a time.

    timestamp, phase, runtime s, energy of each device, tin, iteration, model, GPUs, prompt[:10], out − in, generated
    tokens, batch, core, "vLLM", memory total and used of each GPU

Devices are the GPUs in mJ, on some hosts after the CPU packages. Two columns are wrong and not used: the model (always
the 7B; the file's name has it) and the output tokens, from which the prompt's were subtracted, so that they go below
zero; the column after it holds the generated tokens. Left out, and counted: start-up rows, outputs of one token,
energies that are not above 0. A file appends three data sets; a new one starts where the iteration goes back to 0.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.model.records.schema import Records

LAYOUT = "easli"
ENGINES = ("vLLM", "DeepSpeed-MII", "MII", "HF", "HFKV")
FIRST_ENERGY = 3
DATA_SETS = ("alpaca", "self-oss", "orca")
NAME = re.compile(r"^[A-Za-z]+-(?P<model>.+)-(?P<gpus>\d+)$")


def is_easli(row: list[str]) -> bool:
    """Return whether the first row of a CSV is of this layout."""
    at = _engine_at(row)
    return at is not None and at >= FIRST_ENERGY + 10 and _number(row[2]) is not None


def read_easli(path: Path) -> Records:
    """Read one file.

    Raises:
        FileFormatError: no row of this layout that can be used.
    """
    named = NAME.match(path.stem)
    left_out: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    segment, last = 0, -1
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            found = _read(row)
            if isinstance(found, str):
                left_out[found] += 1
                continue
            segment += found["iteration"] < last
            last = found["iteration"]
            rows.append({**found, "segment": segment})
    if not rows:
        words = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "it is empty"
        raise FileFormatError(f"{path}: found no request that can be used: {words}")
    names = DATA_SETS if segment + 1 == len(DATA_SETS) else [f"segment {i + 1}" for i in range(segment + 1)]
    table = pl.DataFrame(rows).with_columns(
        source=pl.col("segment").replace_strict(range(segment + 1), names, return_dtype=pl.String),
        model=pl.lit(named["model"] if named else None, dtype=pl.String),
        boundary=pl.lit("gpu"),
        energy_status=pl.lit("measured"),
        method=pl.lit("NVML energy counters at start and end of the call"),
        kv_cache=pl.lit(value=True),
        batch=pl.lit(1.0),
        repeats=pl.lit(1.0),
    )
    notes = [f"{count} rows left out: {why}" for why, count in left_out.items()]
    notes.append("output tokens from the column of generated tokens; the one before it is out − in")
    return Records.of(table.drop("segment"), LAYOUT, notes)


def _engine_at(row: list[str]) -> int | None:
    return next((i for i, cell in enumerate(row) if cell in ENGINES), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read(row: list[str]) -> dict[str, Any] | str:
    """Return the fields of a request, or in words why the row is none."""
    at = _engine_at(row)
    if at is None or at < FIRST_ENERGY + 10:
        return "not of this layout"
    if "inference" not in row[1]:
        return "start-up, no request"
    tin, iteration, gpus, generated = (_number(row[at - i]) for i in (9, 8, 6, 3))
    runtime_s = _number(row[2])
    energies = [_number(cell) for cell in row[FIRST_ENERGY : at - 9]]
    if None in (tin, iteration, gpus, generated, runtime_s) or not energies or None in energies:
        return "a count, the runtime or an energy is not a number"
    assert tin is not None
    assert iteration is not None
    assert gpus is not None
    assert generated is not None
    energy_j = sum(value for value in energies[-int(gpus) :] if value is not None) * 1e-3
    if generated <= 1:
        return "one output token or none"
    if not (energy_j > 0 and runtime_s and runtime_s > 0):
        return "energy or runtime not above 0"
    return {
        "input_tokens": tin,
        "output_tokens": generated,
        "energy_j": energy_j,
        "runtime_s": runtime_s,
        "energy_gpu_j": energy_j,
        "gpus": gpus,
        "backend": row[at],
        "iteration": int(iteration),
    }
