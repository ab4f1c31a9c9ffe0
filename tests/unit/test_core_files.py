"""Versioned files: written whole or not at all, refused when they cannot be trusted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import (
    SCHEMA,
    atomic,
    existing,
    read_json,
    read_parquet,
    sha256,
    writable,
    write_json,
    write_parquet,
)
from wattlane.core.provenance import Provenance, write_beside

TABLE = pl.DataFrame({"a": [1, 2], "b": [0.5, None]})


def test_json_round_trips_with_schema_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "law.json"
    write_json(path, "law", {"energy_j": 3.5, "absent": None})
    assert read_json(path, "law") == {"schema": SCHEMA, "kind": "law", "energy_j": 3.5, "absent": None}
    assert path.stat().st_mode & 0o777 == 0o644


def write_half_a_file(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("half a file")
        raise ZeroDivisionError


def test_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    write_json(path, "law", {"value": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, "law", {"value": float("nan")})
    with pytest.raises(ZeroDivisionError):
        write_half_a_file(path)
    assert read_json(path)["value"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["law.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema": 1, "kind": "la', "not valid JSON"),
        ("[1, 2]", "found a JSON list"),
        ('{"kind": "law"}', "found no schema version"),
        ('{"schema": "1", "kind": "law"}', "found no schema version"),
        (f'{{"schema": {SCHEMA + 1}, "kind": "law"}}', "upgrade wattlane"),
        ('{"schema": 0, "kind": "law"}', "found schema version 0"),
        ('{"schema": 1, "kind": "plan"}', "found a file of kind 'plan'; expected 'law'"),
    ],
)
def test_json_that_cannot_be_trusted_is_refused_saying_why(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "law.json"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=said) as raised:
        read_json(path, "law")
    assert str(path) in str(raised.value)


def test_json_of_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "law.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(FileFormatError, match="not valid JSON"):
        read_json(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        existing(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found a folder"):
        existing(tmp_path)


def test_parquet_round_trips_and_keeps_nulls(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_parquet(path, "table", TABLE)
    assert read_parquet(path, "table", ["a", "b"]).equals(TABLE)
    assert pl.read_parquet_metadata(path)["wattlane.schema"] == str(SCHEMA)


def test_parquet_of_another_kind_or_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_parquet(path, "table", TABLE)
    with pytest.raises(FileFormatError, match="expected 'served'"):
        read_parquet(path, "served")
    TABLE.write_parquet(path, metadata={"wattlane.schema": "99", "wattlane.kind": "table"})
    with pytest.raises(FileFormatError, match="found schema version 99"):
        read_parquet(path, "table")


def test_missing_columns_are_refused_by_name_and_extra_ones_allowed(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    TABLE.write_parquet(path)
    assert read_parquet(path, "served", ["a"]).columns == ["a", "b"]
    with pytest.raises(FileFormatError, match="missing columns c, d; found a, b"):
        read_parquet(path, "served", ["a", "c", "d"])


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_parquet(path, "table", TABLE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="not a readable Parquet file"):
        read_parquet(path)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"joules")
    assert sha256(path) == hashlib.sha256(b"joules").hexdigest()


def test_provenance_beside_a_result_holds_the_deterministic_part_and_the_rest(tmp_path: Path) -> None:
    known = Provenance(seed=7, inputs={"b": "2", "a": "1"}, laws={"phase": "1"})
    assert list(known.as_dict()["inputs"]) == ["a", "b"]
    body = read_json(write_beside(tmp_path, known, {"simulate": 1.5}), "provenance")
    assert body["seed"] == 7
    assert body["durations_s"] == {"simulate": 1.5}
    assert {"command", "written_at", "python", "platform"} <= set(body)
    assert json.dumps(known.as_dict()) == json.dumps(Provenance(7, {"a": "1", "b": "2"}, {"phase": "1"}).as_dict())


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file", "a file/below"])
def test_a_folder_that_cannot_hold_the_result_is_refused_before_anything_is_done(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("x")
    with pytest.raises(InputError, match=r"(found a file|cannot be written to).*another.* with -o"):
        writable(tmp_path / place)


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    made = writable(tmp_path / "a" / "b")
    assert made.is_dir()
    assert list(made.iterdir()) == []
