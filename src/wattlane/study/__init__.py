"""Floor 8, the main job: the only package that chains the others."""

from __future__ import annotations

from wattlane.study.config import read_study
from wattlane.study.run import run

__all__ = ["read_study", "run"]
