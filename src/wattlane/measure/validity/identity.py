"""Which board does the engine compute on: from CUDA's numbering and `CUDA_VISIBLE_DEVICES` to NVML's UUIDs.

    NVML index   order on the PCI bus, always
    CUDA index   order of CUDA_DEVICE_ORDER (FASTEST_FIRST unless set to PCI_BUS_ID) among the visible devices

The visible list holds indices, UUIDs (a unique beginning suffices) or MIG ids; it ends at the first entry that names
nothing, and a repeated entry hides everything. FASTEST_FIRST is known here only where all boards are of one kind.
Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wattlane.core.errors import MeasurementError

PCI_ORDER = "PCI_BUS_ID"


@dataclass(frozen=True, slots=True)
class Board:
    """One board as NVML lists it; `mig_uuids` are its instances when it is split."""

    index: int
    uuid: str
    name: str = ""
    mig_uuids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """One CUDA device: its board, and its instance when the board is split."""

    cuda_index: int
    board: Board
    mig_uuid: str | None = None


def cuda_devices(boards: Sequence[Board], visible: str | None = None, order: str = "") -> tuple[Device, ...]:
    """Return the devices a CUDA process sees, in its numbering.

    Args:
        boards: NVML's table.
        visible: CUDA_VISIBLE_DEVICES of that process; None is not set, an empty text hides all.
        order: its CUDA_DEVICE_ORDER; empty is not set.

    Raises:
        MeasurementError: indices are used and their order cannot be known.
    """
    if visible is None:
        listed = _in_cuda_order(boards, order)
        split = [board for board in listed if board.mig_uuids]
        if split:  # without a list, a process sees one MIG instance and nothing else
            return (Device(0, split[0], split[0].mig_uuids[0]),)
        return tuple(Device(i, board) for i, board in enumerate(listed))
    found: list[tuple[Board, str | None]] = []
    for entry in (part.strip() for part in visible.split(",")):
        one = _named(boards, entry, order)
        if one is None:
            break
        if one in found:
            return ()
        found.append(one)
    return tuple(Device(i, board, mig) for i, (board, mig) in enumerate(found))


def working_uuids(devices: Sequence[Device], indices: Sequence[int] | None = None) -> tuple[str, ...]:
    """Return the UUIDs of the boards behind CUDA indices (all of them by default), each board once.

    Raises:
        MeasurementError: an index is not visible.
    """
    wanted = range(len(devices)) if indices is None else indices
    missing = [i for i in wanted if not 0 <= i < len(devices)]
    if missing or not devices:
        raise MeasurementError(
            f"CUDA device {', '.join(map(str, missing)) or '(any)'} is not visible; {len(devices)} are; "
            "check CUDA_VISIBLE_DEVICES of the engine"
        )
    return tuple(dict.fromkeys(devices[i].board.uuid for i in wanted))


def same_uuid(one: str, other: str) -> bool:
    """Return whether two spellings are one device; torch leaves out the prefix."""
    return _bare(one) == _bare(other)


def sum_boards(per_device_j: Mapping[str, float | None], wanted: Sequence[str]) -> float:
    """Return the joules of exactly the wanted boards, each once.

    Raises:
        MeasurementError: one of them has no value, or is not there.
    """
    lacking = [uuid for uuid in dict.fromkeys(wanted) if per_device_j.get(uuid) is None]
    if lacking or not wanted:
        known = ", ".join(sorted(per_device_j)) or "none"
        raise MeasurementError(
            f"no energy of {', '.join(lacking) or '(no device)'}; expected a value per working board; found {known}"
        )
    return sum(per_device_j[uuid] or 0.0 for uuid in dict.fromkeys(wanted))


def _named(boards: Sequence[Board], entry: str, order: str) -> tuple[Board, str | None] | None:
    if entry.isdigit():
        listed = _in_cuda_order(boards, order)
        if int(entry) >= len(listed):
            return None
        board = listed[int(entry)]
        return (board, board.mig_uuids[0]) if board.mig_uuids else (board, None)
    if entry.startswith("MIG-GPU-"):  # the old spelling: MIG-<UUID of the board>/<instance>/<compute instance>
        parent = entry.removeprefix("MIG-").split("/")[0]
        return next(((board, entry) for board in boards if board.uuid == parent and board.mig_uuids), None)
    if entry.startswith("MIG-"):
        hits = [(board, mig) for board in boards for mig in board.mig_uuids if mig.startswith(entry)]
        return hits[0] if len(hits) == 1 else None
    if entry.startswith("GPU-"):
        whole = [board for board in boards if board.uuid.startswith(entry)]
        return (whole[0], None) if len(whole) == 1 else None
    return None


def _in_cuda_order(boards: Sequence[Board], order: str) -> list[Board]:
    listed = sorted(boards, key=lambda board: board.index)
    if order != PCI_ORDER and len({board.name for board in listed}) > 1:
        kinds = ", ".join(sorted({board.name for board in listed}))
        raise MeasurementError(
            f"CUDA numbers the fastest board first and the boards differ ({kinds}), so an index does not say which; "
            f"start the engine with CUDA_DEVICE_ORDER={PCI_ORDER} or with UUIDs in CUDA_VISIBLE_DEVICES"
        )
    return listed


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").lower()
