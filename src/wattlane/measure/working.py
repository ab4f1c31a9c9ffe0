"""Which metered cards does an engine compute on: those on which NVML sees one of its processes."""

from __future__ import annotations

from wattlane.measure.meters.cpu import process_tree
from wattlane.measure.meters.nvml import NvmlMeter, cards
from wattlane.measure.readings import Meter


def working_cards(meter: Meter | None, pid: int | None) -> tuple[str, ...] | None:
    """Return the UUIDs; None where it cannot be known: no GPU meter, no process of ours, or processes hidden."""
    if pid is None or not isinstance(meter, NvmlMeter):
        return None
    mine = process_tree(pid)
    found = tuple(card.uuid for card in cards(meter.library) if mine & set(card.busy_pids))
    return found or None
