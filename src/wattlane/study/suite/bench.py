"""Everything a suite needs to replay a cell: the site, the traffic, full load, each controller's tuned limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.workload import Workload
from wattlane.model.clock import draw_clock_prior
from wattlane.plan.uncertainty import resample_blocks
from wattlane.study.config import Study
from wattlane.study.setting import Setting, prepare
from wattlane.study.suite.cells import Worth, numbers, worth
from wattlane.study.suite.config import COMPANIONS, MEDIUM, Extent
from wattlane.study.suite.controllers import Controller
from wattlane.study.suite.loads import TUNING, FullLoad, Traffic, at_rate, full_load, thinned
from wattlane.study.suite.site import REPLICAS, Knobs, Site
from wattlane.study.suite.tune import Tuned, allowed, tune
from wattlane.workload import shape

BUDGET = "max_num_batched_tokens"
STEP = 0.1  # of full load
STREAM = 0x5E  # sets the draws of a suite apart from those of a study of the same seed


@dataclass(eq=False)
class Bench:
    """A suite ready to run; `full` and `tuned` are filled as they are found."""

    setting: Setting
    site: Site
    traffic: tuple[Traffic, ...]
    extent: Extent
    full: dict[str, FullLoad] = field(default_factory=dict)
    tuned: dict[tuple[str, float, str], Tuned] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, float]:
        """The engine's own batch limits."""
        template = self.setting.template
        return {
            "max_num_batched_tokens": float(template.max_num_batched_tokens),
            "max_num_seqs": float(template.max_num_seqs),
        }

    @property
    def limits(self) -> dict[str, tuple[float, ...]]:
        """The values of the batch limits that are tried, ascending; all of the scenario's where none is named."""
        space, extent = self.setting.space, self.extent
        found = {
            "max_num_batched_tokens": (space.max_num_batched_tokens, extent.budgets),
            "max_num_seqs": (space.max_num_seqs, extent.seqs),
        }
        return {
            name: tuple(float(v) for v in sorted(values) if v in named or not set(values) & set(named))
            for name, (values, named) in found.items()
        }

    def of(self, name: str) -> Traffic:
        """Return the traffic of a name."""
        return next(one for one in self.traffic if one.name == name)

    def loads(self, traffic: Traffic) -> tuple[float, ...]:
        """Return the loads of a traffic: all of them for the scenario's own, medium for a companion."""
        return self.extent.loads if traffic is self.traffic[0] else (MEDIUM,)

    def workload(self, name: str, load: float, seed: int) -> Workload:
        """Return the requests of a seed at a share of full load."""
        return at_rate(self.of(name).of(seed), load * self.full[name].rate_rps)

    def site_at(self, work: Workload, traffic: str) -> Site:
        """Return the site at the pace of a workload."""
        return self.site.at_pace(work.rate_rps / self.of(traffic).of(TUNING).rate_rps)

    def find_full_load(self, traffic: Traffic, default: Controller) -> FullLoad:
        """Return full load of a traffic: the default with whichever limits carry most."""
        work, target = traffic.of(TUNING), self.site.slo.attainment
        budgets, seqs = self.limits["max_num_batched_tokens"], self.limits["max_num_seqs"]
        every = [{"max_num_batched_tokens": b, "max_num_seqs": s} for b in budgets for s in seqs]
        options: list[Mapping[str, float]] = [at for at in every if allowed(at)]

        def attained(rate_rps: float, knobs: Mapping[str, float]) -> float:
            return worth(at_rate(work, rate_rps), default.fleet(self.site, knobs), self.site.slo).attainment

        return full_load(options, attained, target, work.rate_rps * self.site.replicas)

    def tune(self, traffic: str, load: float, controller: Controller, default: Tuned | None = None) -> Tuned:
        """Return the limits of a controller at a load, near those of `default`; the engine's if it is not tuned."""
        work = self.workload(traffic, load, TUNING)

        site = self.site_at(work, traffic)
        least = site.slo.attainment + controller.margin
        others = self.checks(traffic, load) if controller.wary else []

        def value(at: Knobs) -> Worth:
            found = worth(work, controller.fleet(site, at), site.slo)
            for other in others:
                if found.attainment >= least:
                    again = worth(other, controller.fleet(self.site_at(other, traffic), at), site.slo)
                    found = found._replace(attainment=min(found.attainment, again.attainment))
            return found

        if not controller.tuned:
            return Tuned(self.defaults, value(self.defaults), 1)
        own = {name: values[0] for name, values in controller.knobs.items()}
        start = {**self.full[traffic].knobs, **own}
        limits = self.limits if default is None else {**self.limits, BUDGET: self.budgets_below(default)}
        return tune(start, {**limits, **controller.knobs}, value, site.slo.attainment, controller.margin)

    def checks(self, traffic: str, load: float) -> list[Workload]:
        """Return what else a wary controller must keep the SLO on: the load by thinning, and one a step below."""
        rate_rps = self.full[traffic].rate_rps
        full = at_rate(self.of(traffic).of(TUNING), max(load, 1.0) * rate_rps)
        thin = thinned(full, load * rate_rps, TUNING)
        return [thin, self.workload(traffic, max(load - STEP, STEP), TUNING)]

    def budgets_below(self, default: Tuned) -> tuple[float, ...]:
        """Return the budgets the others are tuned over: the default's best, and the two below it.

        Larger ones cost the default energy or the SLO, and cost whoever is slower than the maximum clock more.
        """
        budgets = self.limits[BUDGET]
        at = budgets.index(default.knobs[BUDGET]) if default.knobs[BUDGET] in budgets else len(budgets) - 1
        return budgets[max(at - 2, 0) : at + 1]

    def cell(self, traffic: str, load: float, seed: int, controller: Controller) -> dict[str, Any]:
        """Return the row of a cell."""
        work = self.workload(traffic, load, seed)
        fleet = controller.fleet(self.site_at(work, traffic), self.tuned[traffic, load, controller.name].knobs)
        head = {"traffic": traffic, "load": load, "controller": controller.name, "seed": seed}
        return {**head, "rate_rps": work.rate_rps, **numbers(work, fleet, self.site.slo)}

    def thinned(self, traffic: str, load: float, controller: Controller) -> dict[str, Any]:
        """Return what a controller does on the first scored seed where a load is set by thinning full load instead."""
        full = at_rate(self.of(traffic).of(1), self.full[traffic].rate_rps)
        work = thinned(full, load * self.full[traffic].rate_rps, self.setting.study.seed)
        fleet = controller.fleet(self.site_at(work, traffic), self.tuned[traffic, load, controller.name].knobs)
        return numbers(work, fleet, self.site.slo)

    def under_prior(self, traffic: str, number: int, controllers: tuple[Controller, ...]) -> list[Worth]:
        """Return what controllers are worth at medium load under draw `number` of the clock prior."""
        prior = draw_clock_prior(np.random.default_rng([STREAM, self.setting.study.seed, number]))
        work = self.workload(traffic, MEDIUM, 1)
        site = self.site_at(work, traffic).under(prior)
        chosen = [self.tuned[traffic, MEDIUM, one.name].knobs for one in controllers]
        pairs = zip(controllers, chosen, strict=True)
        return [worth(work, one.fleet(site, knobs), site.slo) for one, knobs in pairs]


def bench(study: Study, path: Path, extent: Extent) -> Bench:
    """Return the bench of a scenario.

    Raises:
        InputError: a name or a file of the scenario is wrong, or the model does not fit.
    """
    setting = prepare(study, path)
    scenario = setting.scenario
    site = Site(
        case=scenario.case,
        profile=scenario.profile,
        slo=scenario.slo,
        kv_capacity_tokens=scenario.case.kv_capacity_tokens(setting.template.gpu_memory_utilization),
        kv_block_tokens=scenario.kv_block_tokens,
        clock_steps=study.search.clock_steps,
        replicas=study.baseline.replicas or REPLICAS,
    )
    names = [study.workload.shape] if study.workload.shape else []
    if names and extent.companions and (beside := COMPANIONS.get(names[0] or "")):
        names.append(beside)
    traffic = [_of_shape(str(name), study.seed, extent.part) for name in names] or [_of_trace(setting, extent.part)]
    return Bench(setting, site, tuple(traffic), extent)


def _first(workload: Workload, part: float) -> Workload:
    n = max(int(np.ceil(part * len(workload))), 2)
    return workload.take(np.arange(n), workload.arrival_s[:n]) if n < len(workload) else workload


def _of_shape(name: str, seed: int, part: float) -> Traffic:
    drawn = shape(name)
    source = f"shape {name}; each seed draws other requests"
    return Traffic(name, source, lambda k: _first(drawn.sample(1000 * seed + k), part))


def _of_trace(setting: Setting, part: float) -> Traffic:
    whole = setting.scenario.workload
    source = f"{setting.source}; each seed joins other blocks of it"

    def made(k: int) -> Workload:
        rng = np.random.default_rng([STREAM, setting.study.seed, k])
        return _first(resample_blocks(whole, rng), part)

    return Traffic(whole.name, source, made)
