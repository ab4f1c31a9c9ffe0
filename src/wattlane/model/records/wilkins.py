"""The released tables of Wilkins, Keshav, Mortier 2024: CSV with a header, prompts that hold line breaks.

    Timestamp, Phase, Runtime (s), GPU Energy (mJ), Number of Output Tokens, Number of Input Tokens, Iteration, Model,
    Number of GPUs, Prompt, ..., Batch Size, System, ...

Energy is that of the GPUs alone, in mJ (some tables: J), as in the published fits. Token counts are nominal labels;
true outputs lie in [0.9 N, N]. The KV cache was off. `Batch Size` says 32, yet every call held one prompt: the
batch is 1. The tables carry no licence: they are read where their user has them and shipped nowhere.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from wattlane.core.errors import FileFormatError
from wattlane.model.records.schema import Records

LAYOUT = "wilkins"
PHASE, RUNTIME = "Phase", "Runtime (s)"
TOKENS = {"input_tokens": "Number of Input Tokens", "output_tokens": "Number of Output Tokens"}
GPU_ENERGY = {"GPU Energy (mJ)": 1e-3, "GPU Energy (J)": 1.0}
INFERENCE = "inference"
NOTES = (
    "token counts are nominal labels; true outputs lie in [0.9 N, N]",
    "batch taken as 1: each call held one prompt, whatever Batch Size says",
    "energy of the GPUs alone, as in the published fits",
)


def is_wilkins(columns: list[str]) -> bool:
    """Return whether a CSV header is of this layout."""
    return {PHASE, RUNTIME} <= set(columns)


def read_wilkins(path: Path) -> Records:
    """Read one released table; rows of other phases than inference, and rows without GPU energy, are counted in notes.

    Raises:
        FileFormatError: no GPU energy column, or no inference row.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise FileFormatError(f"{path}: not a readable CSV ({error}); a header that lacks a comma does this") from error
    table = table.rename({name: name.strip() for name in table.columns if name != name.strip()})
    unit = next((name for name in GPU_ENERGY if name in table.columns), None)
    missing = [name for name in TOKENS.values() if name not in table.columns]
    missing += [" or ".join(GPU_ENERGY)] if unit is None else []
    if unit is None or missing:
        raise FileFormatError(
            f"{path}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}; a header that "
            "lacks a comma shifts the columns"
        )
    runs = table.filter(pl.col(PHASE).str.contains(INFERENCE))
    number = {name: pl.col(column).cast(pl.Float64, strict=False) for name, column in TOKENS.items()}
    energy_j = pl.col(unit).cast(pl.Float64, strict=False) * GPU_ENERGY[unit]
    read = runs.select(
        **number,
        energy_j=energy_j,
        runtime_s=pl.col(RUNTIME).cast(pl.Float64, strict=False),
        energy_gpu_j=energy_j,
        boundary=pl.lit("gpu"),
        energy_status=pl.lit("measured"),
        method=pl.lit("NVML energy counters at start and end of the call"),
        backend=pl.lit("transformers"),
        kv_cache=pl.lit(value=False),
        batch=pl.lit(1.0),
        repeats=pl.lit(1.0),
        source=pl.lit(path.name),
        **{name: pl.col(column) for name, column in _optional(runs.columns).items()},
    )
    kept = read.filter((pl.col("energy_j") > 0) & (pl.col("runtime_s") > 0))
    if len(kept) == 0:
        raise FileFormatError(
            f"{path}: found {len(table)} rows; expected some with {INFERENCE!r} in {PHASE} and energy"
        )
    counted = [f"{len(kept)} of {len(table)} rows are inference with GPU energy"]
    return Records.of(kept, LAYOUT, [*counted, *NOTES])


def _optional(columns: list[str]) -> dict[str, str]:
    names = {"model": "Model", "system": "System", "gpus": "Number of GPUs", "iteration": "Iteration", "phase": PHASE}
    return {name: column for name, column in names.items() if column in columns}
