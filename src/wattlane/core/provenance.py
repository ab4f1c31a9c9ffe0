"""Where a result comes from.

Result files hold only what is deterministic (`Provenance`): same seed, same bytes. Time, host and durations go into
`provenance.json` beside them, written by `write_beside`.
"""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wattlane.core.files import write_json
from wattlane.core.version import VERSION


@dataclass(frozen=True, slots=True)
class Provenance:
    """The deterministic part: version, seed, hashes of the inputs by name, versions of laws and profiles by name."""

    seed: int | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    laws: Mapping[str, str] = field(default_factory=dict)
    version: str = VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file, keys sorted."""
        body = asdict(self)
        return {**body, "inputs": dict(sorted(self.inputs.items())), "laws": dict(sorted(self.laws.items()))}


def write_beside(folder: Path, provenance: Provenance, durations_s: Mapping[str, float]) -> Path:
    """Write `provenance.json` with the deterministic part, the command, the host and the durations; return its path."""
    path = folder / "provenance.json"
    now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
    write_json(
        path,
        "provenance",
        {
            **provenance.as_dict(),
            "command": sys.argv,
            "written_at": now,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "host": platform.node(),
            "durations_s": dict(durations_s),
        },
    )
    return path
