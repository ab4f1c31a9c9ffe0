"""Which metered cards does an engine compute on: those on which NVML sees one of its processes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from wattlane.core.errors import MeasurementError
from wattlane.measure.meters.cpu import process_tree
from wattlane.measure.meters.dcgm import DcgmMeter
from wattlane.measure.meters.nvml import NvmlMeter, cards, connect
from wattlane.measure.readings import Meter


def working_cards(meter: Meter | None, pid: int | None) -> tuple[str, ...] | None:
    """Return the UUIDs; None where it cannot be known: no GPU meter, no process of ours, or processes hidden."""
    library = _library(meter)
    if pid is None or library is None:
        return None
    mine = process_tree(pid)
    found = tuple(card.uuid for card in cards(library) if mine & set(card.busy_pids))
    return found or None


def _library(meter: Meter | None) -> Any:
    """Return NVML; beside an exporter's figures it tells which cards work, where it is in reach."""
    if isinstance(meter, NvmlMeter):
        return meter.library
    if isinstance(meter, DcgmMeter):
        with suppress(MeasurementError):
            return connect()
    return None
