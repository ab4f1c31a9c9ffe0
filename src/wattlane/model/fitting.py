"""Fit a law of whole requests to measured runs, by the name of the law."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.provenance import Provenance
from wattlane.model.laws import bilinear, cache_aware
from wattlane.model.observations import Observations
from wattlane.model.records import Records
from wattlane.model.registry import read_law
from wattlane.model.request_law import RequestFit

SPREAD_BATCH = 1.5  # ratio of largest to smallest mean batch from which the fit says that it pools them


@dataclass(frozen=True, slots=True)
class Entry:
    """How a law is fitted and written, and its method when none is asked for."""

    fit: Callable[..., RequestFit]
    write: Callable[[Any, Path], None]
    method: str


LAWS = {
    "bilinear": Entry(bilinear.fit_bilinear, bilinear.write_bilinear, "ols"),
    "cache_aware": Entry(cache_aware.fit_cache_aware, cache_aware.write_cache_aware, "relative"),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """Which law, how fitted. `method` of None is the law's own; `kv_cache` of None is read from the runs.

    With an `earlier` law of another system, few runs are enough: the fit is pooled with it.
    """

    law: str = "bilinear"
    method: str | None = None
    intercept: bool = False
    kv_cache: bool | None = None
    order: int = 3
    earlier: RequestFit | None = None

    def entry(self) -> Entry:
        """Return the law's functions; raise `UnknownNameError` if there is no such law."""
        if self.law not in LAWS:
            raise UnknownNameError("law", self.law, LAWS, "The phase law is fitted by tools/fit_profiles.py.")
        return LAWS[self.law]

    @property
    def chosen_method(self) -> str:
        """The method asked for, or the law's own; `pooled` where there is an earlier law."""
        return self.method or ("pooled" if self.earlier is not None else self.entry().method)

    def fit(self, table: Observations, model: str, provenance: Mapping[str, Any] | None = None) -> RequestFit:
        """Fit the law to `table`.

        Raises:
            UnknownNameError: no such law or method.
            InputError: rows or options that do not suit the law.
        """
        options: dict[str, Any] = {"method": self.chosen_method, "earlier": self.earlier, "provenance": provenance}
        if self.law == "cache_aware":
            if self.intercept:
                raise InputError("found --intercept with law cache_aware; expected none: it is never negative")
            options |= {"kv_cache": self.kv_cache is not False, "order": self.order}
        else:
            options |= {"intercept": self.intercept, "kv_cache": self.kv_cache}
        return self.entry().fit(table, model, **options)


def fit_records(
    records: Records, ask: Ask, *, model: str | None = None, pool: bool = False, inputs: Mapping[str, str] | None = None
) -> RequestFit:
    """Fit a law to runs of one model on one system.

    Args:
        records: the runs.
        ask: the law and how to fit it; its `kv_cache`, where stated, goes before what the runs say.
        model: name for the law; None takes the runs' own.
        pool: fit runs of several systems, engines or boundaries together instead of refusing them.
        inputs: hashes of the files, by name, for the provenance.

    Raises:
        UnknownNameError: no such law or method.
        InputError: runs of several kinds, runs that cannot be used, or no name of a model.
    """
    name = named(single(records, pool), model)
    said = records.only("kv_cache")
    cached = ask.kv_cache if ask.kv_cache is not None else said if isinstance(said, bool) else None
    asked = replace(ask, kv_cache=cached)
    return asked.fit(records.observations(), name, provenance_of(records, ask.law, inputs))


def single(records: Records, pool: bool = False) -> Records:
    """Return the runs as they are if one law can be meant by them, or if they are to be pooled.

    Raises:
        InputError: runs of several models, systems, engines, boundaries or origins, all differences together.
    """
    problems = [] if pool else records.mixed()
    if problems:
        raise InputError.gathered("one law describes one model on one system (--pool fits them together)", problems)
    return records


def named(records: Records, model: str | None) -> str:
    """Return the name of the law: the one given, or the runs' own.

    Raises:
        InputError: neither is there.
    """
    name = model or records.only("model")
    if name is None:
        raise InputError("found no name of a model in the runs; expected --model NAME")
    return str(name)


def provenance_of(records: Records, law: str, inputs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what a law file keeps of where it comes from."""
    return Provenance(inputs=inputs or {}, laws={law: "1"}).as_dict() | {"runs": describe(records)}


def describe(records: Records) -> dict[str, Any]:
    """Return what the runs were: their number, layout, what they share, and what was left out."""
    shared = {name: records.only(name) for name in ("system", "backend", "boundary", "energy_status", "method")}
    return {"rows": len(records), "layout": records.layout, **shared, "notes": [*records.notes, *_batches(records)]}


def _batches(records: Records) -> list[str]:
    batch = records.table["batch"].drop_nulls()
    lowest, highest = batch.min(), batch.max()
    if not (isinstance(lowest, float) and isinstance(highest, float)) or highest <= SPREAD_BATCH * lowest:
        return []
    return [f"mean batches from {lowest:.3g} to {highest:.3g} pooled: energy per request falls with the batch"]


def write_law(fit: RequestFit, path: Path) -> None:
    """Write the file of a fitted law."""
    LAWS[fit.law].write(fit, path)


def read_earlier(path: Path) -> RequestFit:
    """Read the law that a pooled fit starts from.

    Raises:
        InputError: not a law of whole requests with intervals of its own.
    """
    law = read_law(path)
    if not (isinstance(law, RequestFit) and all(side.covariance is not None for side in law.sides.values())):
        raise InputError(f"{path}: expected a law that wattlane fit wrote, bilinear or cache_aware, with its errors")
    return law
