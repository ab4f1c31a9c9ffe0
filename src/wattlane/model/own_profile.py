"""A profile of one's own in place of the shipped one."""

from __future__ import annotations

from pathlib import Path

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import Gpu
from wattlane.model.profile import Profile, profile_for, read_profile


def chosen_profile(board: Gpu, file: str | Path | None) -> Profile:
    """Return the profile in `file`, or the shipped one of `board` where there is none.

    Raises:
        InputError: the file cannot be read, or is of another GPU.
    """
    if file is None:
        return profile_for(board)
    found = read_profile(Path(file))
    if found.gpu != board.name:
        raise InputError(f"{file}: a profile of {found.gpu}; expected one of {board.name}")
    return found
