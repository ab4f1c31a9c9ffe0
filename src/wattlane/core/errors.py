"""Every error wattlane raises on purpose.

    WattlaneError                      anything below; carries the exit code of the command line
    ├── InputError            exit 1   a file, a value or a name is wrong: found, expected, what to do
    │   ├── FileFormatError   exit 1   a file is truncated, of another kind, or of an unknown schema version
    │   ├── UnknownNameError  exit 1   a name is not in a catalogue; lists what is
    │   └── MissingExtraError exit 1   an optional dependency is not installed; names the command
    ├── InfeasibleError       exit 3   no configuration satisfies the demand and the SLOs; names the nearest miss
    ├── MeasurementError      exit 4   a measurement was made but is not valid, or cannot be made here
    │   └── AbsentBackendError exit 4  an engine or a library of it is not installed where it would run
    └── OutOfRangeError       exit 5   a prediction was asked too far outside the law's calibrated range

Messages read: what was found, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WattlaneError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(WattlaneError):
    """Raised when input is wrong; several problems are gathered and reported together."""

    exit_code = 1

    @classmethod
    def gathered(cls, what: str, problems: Iterable[str]) -> InputError:
        """Return one error that lists every problem found in `what`."""
        found = list(problems)
        if len(found) == 1:
            return cls(f"{what}: {found[0]}")
        lines = "\n".join(f"  - {problem}" for problem in found)
        return cls(f"{what}: {len(found)} problems\n{lines}")


class FileFormatError(InputError):
    """Raised when a file cannot be trusted: truncated, another kind, or an unknown schema version."""


class UnknownNameError(InputError):
    """Raised when a name is not in a catalogue; the message lists the supported names, of many the nearest."""

    SHOWN = 16

    def __init__(self, kind: str, name: str, supported: Iterable[str], hint: str = "") -> None:
        names = sorted(supported)
        near = difflib.get_close_matches(name, names, n=self.SHOWN // 2, cutoff=0.4)
        guess = f"; did you mean {near[0]!r}?" if near else "."
        shown = names if len(names) <= self.SHOWN else near or names[: self.SHOWN // 2]
        more = f", ... ({len(names)} in all)" if len(shown) < len(names) else ""
        tail = f" {hint}" if hint else ""
        super().__init__(f"unknown {kind} {name!r}{guess} Supported: {', '.join(shown)}{more}.{tail}")


class MissingExtraError(InputError):
    """Raised when an optional dependency is needed; the message is the command that installs it."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"{module} is not installed; install it with: pip install 'wattlane[{extra}]'")


class InfeasibleError(WattlaneError):
    """Raised when nothing in the search space keeps the SLOs; names the nearest miss."""

    exit_code = 3


class MeasurementError(WattlaneError):
    """Raised when a measurement is not valid or cannot be made on this machine."""

    exit_code = 4


class AbsentBackendError(MeasurementError):
    """Raised when an engine, or a library it needs, is not installed where it would run; a campaign skips the cell."""


class OutOfRangeError(WattlaneError):
    """Raised when a prediction is asked past the stated limit of a law's calibrated range."""

    exit_code = 5
