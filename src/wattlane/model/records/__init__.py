"""Measured runs in one schema, whoever wrote the file: read, chosen, and handed to the laws."""

from __future__ import annotations

from wattlane.model.records.reading import read_records
from wattlane.model.records.schema import Records

__all__ = ["Records", "read_records"]
