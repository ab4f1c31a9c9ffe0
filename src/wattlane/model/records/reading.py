"""Read runs in whatever layout their file has, and put several files together."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.files import existing
from wattlane.model.records import easli, from_campaign, plain, wilkins
from wattlane.model.records.schema import Records

READERS: dict[str, Callable[[Path], Records]] = {
    plain.LAYOUT: plain.read_plain,
    from_campaign.LAYOUT: from_campaign.read_campaign,
    wilkins.LAYOUT: wilkins.read_wilkins,
    easli.LAYOUT: easli.read_easli,
}


def read_records(paths: Path | Sequence[Path], layout: str | None = None) -> Records:
    """Return the runs of one or several files, each in its own layout unless `layout` names one for all.

    Raises:
        InputError: no path, no such file, or rows that cannot be used.
        FileFormatError: a file of no known layout.
        UnknownNameError: no such layout.
    """
    every = [paths] if isinstance(paths, Path) else list(paths)
    if not every:
        raise InputError("found no table of runs; expected at least one")
    if layout is not None and layout not in READERS:
        raise UnknownNameError("layout of runs", layout, READERS)
    found = [READERS[layout or layout_of(path)](path) for path in every]
    if len(found) == 1:
        return found[0]
    table = pl.concat([one.table for one in found], how="diagonal_relaxed")
    notes = [f"{path.name}: {note}" for path, one in zip(every, found, strict=True) for note in one.notes]
    return Records(table, " and ".join(dict.fromkeys(one.layout for one in found)), tuple(notes))


def layout_of(path: Path) -> str:
    """Return the layout of a file, from its name and first line; a table of no known layout is taken as plain."""
    if path.is_dir() or path.name == from_campaign.TABLE:
        if path.is_dir() and not (path / from_campaign.TABLE).is_file():
            raise InputError(f"{path}: found a folder without {from_campaign.TABLE}; expected that of a campaign")
        return from_campaign.LAYOUT
    if existing(path).suffix == ".parquet":
        return plain.LAYOUT
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return plain.LAYOUT  # whose reader says what is wrong
    if wilkins.is_wilkins([name.strip() for name in first]):
        return wilkins.LAYOUT
    return easli.LAYOUT if easli.is_easli(first) else plain.LAYOUT
