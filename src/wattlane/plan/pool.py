"""Threads for replays, under the name planning has for them."""

from wattlane.core.pool import MOST_WORKERS, workers

__all__ = ["MOST_WORKERS", "workers"]
