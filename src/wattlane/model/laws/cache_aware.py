"""The bilinear law, aware of the KV cache: terms that follow what the engine computes, fitted on relative errors.

With a cache every prompt token is read once and every output token reads its context: the bilinear form

    y = c1·in + c2·out + c3·in·out

Without one, each output token reruns its whole prefix, in·out + out²/2 tokens (the sum of in + t over t = 1..out), and
their attention grows with the square of the prefix:

    y = c1·out + c2·(in·out + out²/2) + c3·(in²·out + in·out² + out³/3)

Coefficients are never negative, so no energy and no time is, and neither falls as tokens grow. Runs without a cache
give the published bilinear fit errors of 96-381 % on lengths it has not seen; the two-term form stays within 15 %.
(Derived from the data of Wilkins, Keshav, Mortier 2024, arXiv 2407.04014.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from wattlane.core.errors import InputError
from wattlane.model import law_files, request_files
from wattlane.model.law import REQUESTS, Traits
from wattlane.model.observations import Observations
from wattlane.model.request_fitting import fit_side, fitted_range
from wattlane.model.request_law import BILINEAR, RequestFit

LAW = "cache_aware"
CUBIC = Traits(REQUESTS.axes, REQUESTS.answers, REQUESTS.rising, growth=(1.0, 8.0))
ORDERS = {2: ("out", "context"), 3: ("out", "context", "context_square")}


@dataclass(frozen=True, eq=False, slots=True)
class CacheAwareFit(RequestFit):
    """A fitted cache-aware law; `kv_cache` chose its terms."""

    law: ClassVar[str] = LAW

    @property
    def traits(self) -> Traits:
        """Those of requests; the attention of a rerun prefix grows with the cube of the tokens."""
        return CUBIC if "context_square" in self.energy_j.terms else REQUESTS


def fit_cache_aware(
    table: Observations,
    model: str,
    *,
    kv_cache: bool = True,
    order: int = 3,
    method: str = "relative",
    earlier: RequestFit | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> CacheAwareFit:
    """Fit both sides with non-negative coefficients.

    Args:
        table: runs of one model on one system.
        model: its name.
        kv_cache: whether the engine kept its cache during these runs.
        order: without a cache, 2 leaves the attention term out, 3 takes it in.
        method: relative, robust or pooled.
        earlier: the law that `pooled` starts from.
        provenance: kept in the file.

    Raises:
        UnknownNameError: no such method.
        InputError: too few rows, token counts that do not tell the terms apart, a method that allows negative energy.
    """
    if method == "ols":
        raise InputError("found method ols; expected relative or robust: the cache-aware law is never negative")
    if order not in ORDERS:
        raise InputError(f"found order {order}; expected 2 or 3")
    terms = BILINEAR if kv_cache else ORDERS[order]
    energy, runtime = (fit_side(table, name, terms, method, False, earlier) for name in ("energy_j", "runtime_s"))
    return CacheAwareFit(model, energy, runtime, fitted_range(table), provenance or {}, method, kv_cache)


def write_cache_aware(fit: CacheAwareFit, path: Path) -> None:
    """Write a law file: c1.. for energy, d1.. for runtime, `kv_cache` and the range."""
    request_files.write_law(fit, _names(len(fit.energy_j.terms)), path)


def read_cache_aware(path: Path) -> CacheAwareFit:
    """Read a law file; one with `kv_cache`, coefficients and range alone is enough.

    Raises:
        FileFormatError: another kind of file or another law.
        InputError: no `kv_cache`, missing or non-numeric coefficients, a range that is none.
    """
    body = law_files.read_body(path, LAW)
    cached = body.get("kv_cache")
    if not isinstance(cached, bool):
        raise InputError(f"{path}: kv_cache is {cached!r}; expected true or false: it chooses the terms")
    found = body.get("energy_j")
    terms = BILINEAR if cached else ORDERS[3 if isinstance(found, dict) and "c3" in found else 2]
    return CacheAwareFit(**request_files.parts(body, _names(len(terms)), terms, path))


def _names(count: int) -> dict[str, tuple[str, ...]]:
    numbers = range(1, count + 1)
    return {"energy_j": tuple(f"c{i}" for i in numbers), "runtime_s": tuple(f"d{i}" for i in numbers)}
