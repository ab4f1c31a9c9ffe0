"""Reach an existing Ray cluster, or say at once why not."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from wattlane.core.errors import MeasurementError, MissingExtraError

CONNECT_LIMIT_S = 5.0


def connected(address: str, ray: Any = None) -> Any:
    """Return Ray, connected to the cluster at `address`.

    Args:
        address: HOST:PORT, ray://HOST:PORT, or `auto`.
        ray: stands in for the module.

    Raises:
        MissingExtraError: Ray is not installed.
        MeasurementError: the cluster cannot be reached.
    """
    ray = _ray() if ray is None else ray
    try:
        _knock(address)
        ray.init(address=address, ignore_reinit_error=True)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise MeasurementError(
            f"no Ray cluster answers at {address!r} ({error}); start one, or leave --ray out"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "ray") from error
