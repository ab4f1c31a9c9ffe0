"""suite.json: what was replayed, one table a load, the ablation, the losses, what was aimed at and what was reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wattlane.core.provenance import Provenance
from wattlane.core.types import Boundary, Origin
from wattlane.model.clock import RANGES
from wattlane.model.clock import SOURCE as CLOCK_SOURCE
from wattlane.study.suite.bench import Bench
from wattlane.study.suite.cells import Worth
from wattlane.study.suite.config import MEDIUM, NAME, NAMED
from wattlane.study.suite.controllers import ABLATION, DEFAULT, LOWEST, OURS, UNPRIVILEGED, Controller
from wattlane.study.suite.figures import losses, percentiles, rows_of, saved, spread
from wattlane.study.suite.loads import IDLE_SHARE, TOLERANCE
from wattlane.study.suite.site import SWITCH_S, WAKE_S
from wattlane.study.suite.tune import MARGIN

FILE, KIND = "suite.json", "suite"
AIM_DEFAULT, AIM_LOWEST = 0.30, 0.05  # less energy than the default, and than the lowest feasible clock


@dataclass(frozen=True, eq=False)
class Results:
    """What the steps of a suite made; `prior` has one worth for each of `compared` a draw."""

    cells: list[dict[str, Any]]
    thinned: dict[tuple[str, str], dict[str, Any]]
    prior: list[tuple[tuple[str, int], list[Worth]]]
    compared: tuple[str, ...]


def body(at: Bench, controllers: Sequence[Controller], results: Results, provenance: Provenance) -> dict[str, Any]:
    """Return the content of suite.json."""
    target = at.site.slo.attainment
    tables = []
    for one in at.traffic:
        for load in at.loads(one):
            cells = [c for c in results.cells if (c["traffic"], c["load"]) == (one.name, load)]
            rows = [_with_limits(row, at, one.name, load) for row in rows_of(cells, DEFAULT, target)]
            tables.append({"traffic": one.name, "load": load, "name": NAMED.get(load), "rows": rows})
    medium = [one.name for one in at.traffic if MEDIUM in at.loads(one)]
    return {
        "suite": NAME,
        "scenario": _scenario(at),
        "method": _method(at, controllers),
        "origin": Origin.MODELLED.value,
        "boundary": Boundary.GPU.value,
        "controllers": [one.described() for one in controllers],
        "default": DEFAULT,
        "ours": OURS,
        "traffic": [_traffic(at, one.name, results) for one in at.traffic],
        "tables": tables,
        "losses": losses(results.cells, DEFAULT, target),
        "ablation": [_ablation(tables, name) for name in medium],
        "aims": [_aims(results, tables, name) for name in medium],
        "provenance": provenance.as_dict(),
    }


def _with_limits(row: dict[str, Any], at: Bench, traffic: str, load: float) -> dict[str, Any]:
    found = at.tuned[traffic, load, row["controller"]]
    return {**row, "knobs": found.knobs, "tuning_attainment": found.worth.attainment, "settings_tried": found.tried}


def _scenario(at: Bench) -> dict[str, Any]:
    site, study = at.site, at.setting.study
    return {
        "name": study.name,
        "model": site.case.model.name,
        "gpu": site.case.gpu.name,
        "precision": site.case.precision,
        "tensor_parallel": site.case.tensor_parallel,
        "replicas": site.replicas,
        "engine": f"{at.setting.defaults.title} {at.setting.defaults.version}",
        "seed": study.seed,
        "slo": asdict(site.slo),
        "law": site.profile.name,
        "kv_capacity_tokens": site.kv_capacity_tokens,
        "clocks_mhz": [hz / 1e6 for hz in site.clocks_hz],
    }


def _method(at: Bench, controllers: Sequence[Controller]) -> dict[str, Any]:
    board, extent = at.site.case.gpu, at.extent
    return {
        "loads": list(extent.loads),
        "tuned_at": list(extent.tuned_at),
        "scored_seeds": list(range(1, extent.seeds + 1)),
        "tuning_seed": 0,
        "part_of_each_hour": extent.part,
        "idle_share_after_the_arrivals": IDLE_SHARE,
        "tuning_margin": MARGIN,
        "tuning_margin_of_ours": next(one.margin for one in controllers if one.name == OURS),
        "kept_by_tuning_on_thinned_and_lighter_traffic_too": [one.name for one in controllers if one.wary],
        "full_load_tolerance": TOLERANCE,
        "limits_tried": {name: list(values) for name, values in at.limits.items()},
        "idle_w": board.idle_loaded_w,
        "parked_w": board.idle_w,
        "wake_s": WAKE_S,
        "clock_switch_s": SWITCH_S,
        "clock_prior": {name: list(limits) for name, limits in RANGES.items()},
        "clock_prior_source": CLOCK_SOURCE,
        "clock_prior_draws": extent.prior_draws,
    }


def _traffic(at: Bench, name: str, results: Results) -> dict[str, Any]:
    one = at.of(name)
    work = one.of(1)
    check = {}
    for (traffic, controller), thin in results.thinned.items():
        if traffic == name:
            cell = next(
                c
                for c in results.cells
                if (c["traffic"], c["load"], c["seed"], c["controller"]) == (name, MEDIUM, 1, controller)
            )
            each = (thin["energy_j_per_good_token"], cell["energy_j_per_good_token"])
            change = None if None in each else each[0] / each[1] - 1.0
            check[controller] = {"energy_change": change, "attainment_change": thin["attainment"] - cell["attainment"]}
    return {
        "name": name,
        "source": one.source,
        "requests": len(work),
        "rate_rps": work.rate_rps,
        "full_load": at.full[name].as_dict(),
        "thinning": check,
    }


def _find(tables: list[dict[str, Any]], traffic: str, controller: str) -> dict[str, Any]:
    table = next(t for t in tables if (t["traffic"], t["load"]) == (traffic, MEDIUM))
    return next(row for row in table["rows"] if row["controller"] == controller)


def _ablation(tables: list[dict[str, Any]], traffic: str) -> dict[str, Any]:
    kept = ("energy_j_per_good_token", "saving", "saving_without_tail", "attainment", "ranked", "knobs")
    rows = []
    for name, title in ABLATION:
        found = _find(tables, traffic, name)
        rows.append({"controller": name, "title": title, **{key: found[key] for key in kept}})
    return {"traffic": traffic, "load": MEDIUM, "rows": rows}


def _aims(results: Results, tables: list[dict[str, Any]], traffic: str) -> dict[str, Any]:
    """Return what our controller was to save at medium load, what it saves, and how far the clock prior moves that."""
    ours, free = _find(tables, traffic, OURS), _find(tables, traffic, UNPRIVILEGED)
    each = "energy_j_per_good_token"
    by_seed: dict[str, dict[int, float | None]] = {}
    for c in results.cells:
        if (c["traffic"], c["load"]) == (traffic, MEDIUM):
            by_seed.setdefault(c["controller"], {})[c["seed"]] = c[each]
    against = spread(saved(value, by_seed[LOWEST][seed]) for seed, value in by_seed[OURS].items())
    draws = [dict(zip(results.compared, worths, strict=True)) for (t, _), worths in results.prior if t == traffic]
    return {
        "traffic": traffic,
        "load": MEDIUM,
        "attainment": ours["attainment"],
        "against_default": _aim(ours["saving"], ours["ranked"], AIM_DEFAULT, draws, OURS, DEFAULT),
        "against_lowest_clock": _aim(against, ours["ranked"], AIM_LOWEST, draws, OURS, LOWEST),
        "without_clocks": {
            "controller": UNPRIVILEGED,
            "saving": free["saving"],
            "attainment": free["attainment"],
            "ranked": free["ranked"],
        },
        "least_attainment_under_prior": min((draw[OURS].attainment for draw in draws), default=None),
    }


def _aim(
    saving: dict[str, float] | None,
    ranked: bool,
    aim: float,
    draws: list[dict[str, Worth]],
    own: str,
    other: str,
) -> dict[str, Any]:
    under = [_finite_saving(draw[own], draw[other]) for draw in draws]
    reached = ranked and saving is not None and saving["median"] >= aim
    return {"aim": aim, "saving": saving, "reached": reached, "under_clock_prior": percentiles(under)}


def _finite_saving(own: Worth, other: Worth) -> float | None:
    both = (own.j_per_good_token, other.j_per_good_token)
    return saved(*both) if all(np.isfinite(both)) else None
