"""Every law by name, and one reader for every law file. A law's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from wattlane.core.errors import UnknownNameError
from wattlane.core.files import read_json


@dataclass(frozen=True, slots=True)
class Entry:
    """One law: what it is in a line, where it was published, and "module:function" that reads its file."""

    name: str
    about: str
    source: str
    reader: str

    def read(self, path: Path) -> Any:
        """Return the law of a file; raises what its reader does."""
        module, _, function = self.reader.partition(":")
        read: Callable[[Path], Any] = getattr(import_module(module), function)
        return read(path)


LAWS = {
    entry.name: entry
    for entry in (
        Entry(
            "bilinear",
            "joules and seconds of a request, linear in input, output and their product",
            "Wilkins et al. 2024, arXiv 2407.04014",
            "wattlane.model.laws.bilinear:read_bilinear",
        ),
        Entry(
            "cache_aware",
            "the same with terms that follow what an engine with or without a KV cache computes, never negative",
            "derived from the data of Wilkins et al. 2024, arXiv 2407.04014",
            "wattlane.model.laws.cache_aware:read_cache_aware",
        ),
        Entry(
            "constant",
            "every busy GPU draws one share of its TDP",
            "estimators that take TDP, or 86 % of it",
            "wattlane.model.laws.constant:read_constant",
        ),
        Entry(
            "ideal",
            "FLOPs at the full peak rate and full TDP: a bound",
            "Fernandez et al. 2025, arXiv 2504.17674, section 4.2",
            "wattlane.model.laws.ideal:read_ideal",
        ),
        Entry(
            "logistic_batch",
            "power as a logistic curve in log2 of the batch",
            "fleet-sim of vLLM Semantic Router; ML.ENERGY data toolkit",
            "wattlane.model.laws.logistic_batch:read_logistic_batch",
        ),
        Entry(
            "phase",
            "seconds and joules of an engine iteration, from geometry and facts of the board",
            "docs/concepts/phase-law.md",
            "wattlane.model.profile:read_profile",
        ),
        Entry(
            "roofline",
            "peak rates of the spec sheet, power as TDP by how busy they say the board is",
            "Williams et al. 2009, doi 10.1145/1498765.1498785",
            "wattlane.model.laws.roofline:read_roofline",
        ),
        Entry(
            "table",
            "measured batches, looked up in ceiling bins",
            "Fernandez et al. 2025, arXiv 2504.17674, section 4.1",
            "wattlane.model.laws.table:read_table",
        ),
        Entry(
            "vidur_mfu",
            "power from the share of the peak FLOP rate",
            "Vidur-energy, arXiv 2507.11417",
            "wattlane.model.laws.vidur_mfu:read_vidur_mfu",
        ),
    )
}


def entry(name: str) -> Entry:
    """Return the law of that name.

    Raises:
        UnknownNameError: no such law.
    """
    if name not in LAWS:
        raise UnknownNameError("law", name, LAWS)
    return LAWS[name]


def read_law(path: Path) -> Any:
    """Return the law of a file, whichever it is; a profile is the phase law.

    Raises:
        FileFormatError: not a law file.
        UnknownNameError: a law this version does not know.
    """
    body = read_json(path)
    return entry("phase" if body.get("kind") == "profile" else str(body.get("law"))).read(path)
