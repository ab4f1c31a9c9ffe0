"""ServeGen client pools: a pair of Parquet tables of rates and lengths, from which a seeded workload is drawn.

`*_arrivals_*` holds for a client and a 10-minute window `rate_rps`, the family of its gaps and its shape `p1`;
`*_lengths_*` holds for a client and a 6-hour window the distribution of input and of output tokens. Drawing:

    gaps    Gamma or Weibull of shape p1, with mean 1 / rate (the tabled scale is not used: Weibull's overshoots);
            shapes are clipped so that the gap CV of a window stays at or below 5 (single windows reach 166);
            the first gap is the rest of a length-biased one, so that the expected count is rate × window
    lengths the client's distribution in the window nearest in time; input and output independent, as the source is

A client without lengths cannot be drawn; its share of the requests is stated in the workload's notes.
Source: https://github.com/alibaba/ServeGen f891d118, Apache-2.0; tables re-encoded.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.workload import Workload
from wattlane.workload.formats import Format, Head
from wattlane.workload.rows import Chunk, Labels, Rows

Floats = NDArray[np.float64]
ARRIVALS = ("client", "t_s", "rate_rps", "iat_dist", "p1")
LENGTHS = ("client", "window_s", "field", "tokens", "prob")
WINDOW_S = 600
CV_MOST = 5.0
DEFAULT_SPAN_S = 3600
FAMILIES = ("Gamma", "Weibull")


def servegen(
    path: Path, *, start_s: float = 0.0, span_s: float = DEFAULT_SPAN_S, rate_scale: float = 1.0, seed: int = 0
) -> Workload:
    """Draw `span_s` seconds of the week from `start_s` on, every client's rate times `rate_scale`.

    Args:
        path: either file of the pair, named alike but for `arrivals` and `lengths`.

    Raises:
        InputError: the other file is missing, a value is out of range, or the window holds no requests.
    """
    problems = [
        f"{name} is {value}; expected {what}"
        for name, value, good, what in (
            ("start_s", start_s, start_s >= 0, "seconds of at least 0"),
            ("span_s", span_s, span_s > 0, "seconds above 0"),
            ("rate_scale", rate_scale, rate_scale > 0, "a factor above 0"),
        )
        if not good
    ]
    if problems:
        raise InputError.gathered("servegen", problems)
    rates, lengths = _pair(Path(path))
    return _drawn(Path(path), rates, lengths, start_s, span_s, rate_scale, seed)


def _pair(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    found = []
    for part, wanted in (("arrivals", ARRIVALS), ("lengths", LENGTHS)):
        other = path.with_name(path.name.replace("_lengths_", "_arrivals_").replace("_arrivals_", f"_{part}_"))
        if not other.is_file():
            raise InputError(f"{path}: found no {other.name} beside it; expected the pair of arrivals and lengths")
        table = pl.read_parquet(other)
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise FileFormatError(f"{other}: missing columns {', '.join(missing)}; found {', '.join(table.columns)}")
        found.append(table.select(wanted))
    return found[0], found[1]


def _drawn(
    path: Path, rates: pl.DataFrame, lengths: pl.DataFrame, start_s: float, span_s: float, scale: float, seed: int
) -> Workload:
    column = pl.col("t_s")
    window = rates.filter((column + WINDOW_S > start_s) & (column < start_s + span_s)).sort("client", "t_s")
    tables = {key[0]: part for key, part in lengths.partition_by("client", as_dict=True).items()}
    known = window.filter(pl.col("client").is_in(list(tables)))
    offered, kept = float(window["rate_rps"].sum()), float(known["rate_rps"].sum())
    random = np.random.default_rng(seed)
    times: list[Floats] = []
    lengths_of: dict[str, list[NDArray[np.int64]]] = {"input_tokens": [], "output_tokens": []}
    for client, t_s, rate_rps, family, shape in known.iter_rows():
        arrival_s = t_s + _renewals(random, rate_rps * scale, family, shape)
        arrival_s = arrival_s[(arrival_s >= start_s) & (arrival_s < start_s + span_s)]
        times.append(arrival_s)
        for field, found in lengths_of.items():
            found.append(_tokens(random, tables[client], t_s, field, len(arrival_s)))
    arrival_s = np.concatenate([np.empty(0), *times])
    if len(arrival_s) == 0:
        raise InputError(f"{path}: found no requests from {start_s} s over {span_s} s; choose another window")
    order = np.argsort(arrival_s, kind="stable")
    arrival_s = arrival_s[order]
    input_tokens, output_tokens = (np.concatenate(found)[order] for found in lengths_of.values())
    notes = (
        f"drawn from the ServeGen pool {path.stem} at {start_s:g} s over {span_s:g} s, rates × {scale:g}, seed {seed}",
        f"gap CV clipped at {CV_MOST:g}; clients without lengths, {1 - kept / offered:.1%} of the requests, left out",
    )
    return Workload(arrival_s - arrival_s[0], input_tokens, output_tokens, name=path.stem, notes=notes)


def _renewals(random: np.random.Generator, rate_rps: float, family: str, shape: float) -> Floats:
    """Return the arrivals of an equilibrium renewal process in one window, from 0 s on."""
    if family not in FAMILIES:
        raise FileFormatError(f"found gap family {family!r}; expected {' or '.join(FAMILIES)}")
    if not (rate_rps > 0 and shape > 0):
        return np.empty(0)
    shape = max(shape, _least_shape(family))
    mean_s = 1.0 / rate_rps
    if family == "Gamma":
        first = random.gamma(shape + 1.0) * mean_s / shape
    else:
        scale_s = mean_s / math.gamma(1.0 + 1.0 / shape)
        first = scale_s * random.gamma(1.0 + 1.0 / shape) ** (1.0 / shape)
    times = [np.array([first * random.random()])]
    batch = int(rate_rps * WINDOW_S * 1.2) + 16
    while times[-1][-1] < WINDOW_S:
        if family == "Gamma":
            gaps = random.gamma(shape, mean_s / shape, batch)
        else:
            gaps = scale_s * random.weibull(shape, batch)
        times.append(times[-1][-1] + np.cumsum(gaps))
    arrivals = np.concatenate(times)
    return arrivals[arrivals < WINDOW_S]


def _least_shape(family: str) -> float:
    """Return the shape at which the family's CV is `CV_MOST`: 1/√k for Gamma, by bisection for Weibull."""
    if family == "Gamma":
        return 1.0 / CV_MOST**2
    low, high = 0.05, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        cv2 = math.gamma(1.0 + 2.0 / middle) / math.gamma(1.0 + 1.0 / middle) ** 2 - 1.0
        low, high = (middle, high) if cv2 > CV_MOST**2 else (low, middle)
    return high


def _tokens(random: np.random.Generator, table: pl.DataFrame, t_s: float, field: str, n: int) -> NDArray[np.int64]:
    side = table.filter(pl.col("field").cast(pl.String) == field)
    windows = side["window_s"].unique(maintain_order=True).sort().to_numpy()
    nearest = windows[np.abs(windows + 3 * 3600.0 - t_s).argmin()]
    chosen = side.filter(pl.col("window_s") == int(nearest))
    weights = chosen["prob"].to_numpy().astype(np.float64)
    drawn = random.choice(chosen["tokens"].to_numpy(), size=n, p=weights / weights.sum())
    tokens: NDArray[np.int64] = np.maximum(drawn, 1).astype(np.int64)
    return tokens


def read(head: Head, rows: Rows) -> None:
    """Draw the first hour of the week with seed 0; `servegen` draws any other part of it."""
    drawn = servegen(head.path)
    rows.notes.extend(drawn.notes)
    rows.reserve(len(drawn))
    columns = (drawn.arrival_s, drawn.input_tokens.astype(np.float64), drawn.output_tokens.astype(np.float64))
    rows.add(Chunk(*columns, range(len(drawn)), str))


FORMAT = Format(
    "servegen",
    "ServeGen pool, a pair of Parquet files *_arrivals_* and *_lengths_* (draws the first hour, seed 0)",
    lambda head: head.is_parquet and (head.has(*ARRIVALS) or head.has(*LENGTHS)),
    read,
    Labels(row="draw"),
)
