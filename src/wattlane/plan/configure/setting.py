"""From CONFIGURE.toml to a problem: load the traffic, look up the facts, enumerate, build the map, price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.factors import factor
from wattlane.core.facts.gpus import Gpu, gpu
from wattlane.core.facts.models import Model
from wattlane.core.files import sha256
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.configure import classes, demand
from wattlane.plan.configure.config import Configure, FleetSection, ModelSection
from wattlane.plan.configure.options import Knob, Option, enumerate_options, excluded
from wattlane.plan.configure.performance import Pool, Row, modes
from wattlane.plan.configure.problem import Floats, Ints, Problem
from wattlane.plan.configure.replaying import Instance
from wattlane.plan.configure.slo import ClassSlo, isolated, times
from wattlane.plan.space import clock_grid
from wattlane.workload import load, shape

T = TypeVar("T")
J_PER_KWH = 3.6e6


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything a plan is made from, before the map is built."""

    asked: Configure
    workload: Workload
    source: str
    inputs: dict[str, str]
    bounds: classes.Bounds
    of_class: NDArray[np.int64]
    slos: tuple[ClassSlo, ...]
    options: tuple[Option, ...]
    instances: tuple[Instance | None, ...]
    boards: tuple[Gpu, ...]
    left_alone: tuple[str, ...]

    def pools(self, pooling: str) -> list[Pool]:
        """Return the pools of a pooling that have requests, in its order."""
        of_pool = np.array(classes.POOLINGS[pooling])[self.of_class]
        found = []
        for k, name in enumerate(classes.pool_names(pooling)):
            rows = np.flatnonzero(of_pool == k)
            if len(rows):
                lengths = self.workload.take(rows, self.workload.arrival_s[rows], name)
                found.append(Pool(name, lengths, self.of_class[rows], self.slos))
        return found

    def pool_of_request(self, pooling: str) -> NDArray[np.int64]:
        """Return the pool of every request, numbered as `pools` lists them."""
        of_pool = np.array(classes.POOLINGS[pooling])[self.of_class]
        return np.unique(of_pool, return_inverse=True)[1].astype(np.int64)


def prepare(asked: Configure, folder: Path) -> Setting:
    """Return the setting of a question whose files are relative to `folder`.

    Raises:
        InputError: a file, a name or a value is wrong, or no model fits any GPU; all problems together.
    """
    problems: list[str] = []

    def tried(look_up: Callable[[], T]) -> T | None:
        try:
            return look_up()
        except InputError as error:
            problems.append(str(error))
            return None

    read = tried(lambda: _workload(asked, folder))
    boards = [tried(lambda f=f: gpu(f.gpu)) for f in asked.fleet]  # type: ignore[misc]
    models = [tried(lambda m=m: resolve_model(m.name)) for m in asked.models]  # type: ignore[misc]
    if problems or read is None:
        raise InputError.gathered(asked.name, problems)
    workload, source, inputs = read
    workload = demand.sped_up(workload, asked.demand.rate_factor)
    bounds = _bounds(asked, workload)
    of_class = classes.classify(workload, bounds)
    known = tuple(b for b in boards if b is not None)
    options, instances, alone = _options(asked, known, [m for m in models if m is not None])
    if all(i is None for i in instances):
        raise InputError(f"{asked.name}: none of the models fits any GPU of the fleet; raise tensor_parallel")
    slos = _slos(asked, workload, of_class, options, instances)
    return Setting(
        asked, workload, source, inputs, bounds, of_class, slos, tuple(options), tuple(instances), known, alone
    )


def _workload(asked: Configure, folder: Path) -> tuple[Workload, str, dict[str, str]]:
    if asked.workload.shape is not None:
        return shape(asked.workload.shape).sample(asked.seed), f"shape {asked.workload.shape}, seed {asked.seed}", {}
    path = folder / str(asked.workload.file)
    loaded = load(path)
    return loaded.workload, f"{path.name} ({loaded.format})", {"workload": sha256(path)}


def _bounds(asked: Configure, workload: Workload) -> classes.Bounds:
    given = asked.classes
    if given.bounds == "percentiles":
        return classes.percentile_bounds(workload)
    if given.bounds == "dynamollm":
        return classes.DYNAMOLLM_UNVERIFIED
    assert given.input_tokens is not None
    assert given.output_tokens is not None
    (a, b), (c, d) = given.input_tokens, given.output_tokens
    return classes.Bounds((a, b), (c, d))


def _options(
    asked: Configure, boards: Sequence[Gpu], models: Sequence[Model]
) -> tuple[list[Option], list[Instance | None], tuple[str, ...]]:
    options: list[Option] = []
    instances: list[Instance | None] = []
    alone: tuple[str, ...] = ()
    for number, board in enumerate(boards):
        for section, model in zip(asked.models, models, strict=True):
            knobs = _knobs(asked, board, model, section)
            alone = excluded(knobs)
            found = enumerate_options(number, board.name, knobs, 1 + max((o.shape for o in options), default=-1))
            options += found
            instances += [_instance(option, board, model) for option in found]
    return options, instances, alone


def _knobs(asked: Configure, board: Gpu, model: Model, section: ModelSection) -> list[Knob]:
    given = asked.knobs
    caps = (None, *(round(share * board.tdp_w, 1) for share in given.power_cap_share))
    values = {
        "model": (section.name,),
        "precision": (section.precision,),
        "tensor_parallel": given.tensor_parallel,
        "pipeline_parallel": given.pipeline_parallel,
        "expert_parallel": given.expert_parallel if model.is_moe and given.expert_parallel else (None,),
        "max_num_seqs": given.max_num_seqs,
        "max_num_batched_tokens": given.max_num_batched_tokens,
        "clock_hz": clock_grid(board, given.clock_steps),
        "power_cap_w": caps,
        "release_window_s": given.release_window_s,
    }
    if unknown := sorted(set(given.uncontrollable) - set(values)):
        raise InputError(f"knobs.uncontrollable names {', '.join(unknown)}; expected some of {', '.join(values)}")
    return [
        Knob(name, tuple(v), "", name not in given.uncontrollable, given.uncontrollable.get(name, ""))
        for name, v in values.items()
    ]


def _instance(option: Option, board: Gpu, model: Model) -> Instance | None:
    d = option.deployment
    case = Case(
        board, model, d.precision, d.tensor_parallel, d.clock_hz,
        pipeline_parallel=d.pipeline_parallel, expert_parallel=d.expert_parallel,
    )  # fmt: skip
    try:
        capacity = case.kv_capacity_tokens(d.gpu_memory_utilization)
    except InputError:
        return None  # does not fit so few GPUs
    law = profile_for(board).law(case)
    if d.power_cap_w is not None:
        law[it.LIMIT_W] = min(law[it.LIMIT_W], d.gpus * d.power_cap_w)
    return Instance(d, law, capacity, engine_defaults("vllm", board).kv_block_tokens)


def _slos(
    asked: Configure,
    workload: Workload,
    of_class: NDArray[np.int64],
    options: Sequence[Option],
    instances: Sequence[Instance | None],
) -> tuple[ClassSlo, ...]:
    given = asked.slo
    if given.isolated_factor is not None:
        alone_on = _reference(options, instances, given.isolated_tensor_parallel)
        alone = []
        for c in range(len(classes.NAMES)):
            rows = np.flatnonzero(of_class == c)
            mine = workload.take(rows, workload.arrival_s[rows]) if len(rows) else workload
            alone.append(times(given.isolated_factor, isolated(alone_on.law, mine, alone_on.stages), given.attainment))
        return tuple(alone)
    found = []
    for name in classes.NAMES:
        own = given.classes.get(name, given)
        targets = {k: v for k in ("ttft_s", "tbt_s", "e2e_s") if (v := getattr(own, k)) is not None}
        found.append(ClassSlo(**targets, attainment=given.attainment))
    return tuple(found)


def _reference(
    options: Sequence[Option], instances: Sequence[Instance | None], tensor_parallel: int | None
) -> Instance:
    """Return the instance whose latency alone SLOs are multiples of: first GPU and model, maximum clock.

    Raises:
        InputError: no instance has the parallelism asked for.
    """
    fits = [(o, i) for o, i in zip(options, instances, strict=True) if i is not None and o.deployment.clock_hz is None]
    first = fits[0][0]
    same = [(o, i) for o, i in fits if o.fleet == first.fleet and o.deployment.model == first.deployment.model]
    stages = min(o.deployment.pipeline_parallel for o, _ in same)
    width = {o.deployment.tensor_parallel: i for o, i in reversed(same) if o.deployment.pipeline_parallel == stages}
    wanted = min(width) if tensor_parallel is None else tensor_parallel
    if wanted in width:
        return width[wanted]
    raise InputError(
        f"slo.isolated_tensor_parallel is {wanted}; expected one of {sorted(width)}, with which "
        f"{first.deployment.model} fits on {first.deployment.gpu}"
    )


def allowed(setting: Setting, rows: Sequence[Row], pools: Sequence[Pool]) -> list[Row]:
    """Return the rows whose model is good enough for every class of their pool."""
    asked = setting.asked
    quality = {m.name: m.quality for m in asked.models}
    floors = [asked.quality.classes.get(name, asked.quality.floor) for name in classes.NAMES]
    needed = [max(floors[c] for c in np.unique(pool.of_class).tolist()) for pool in pools]
    kept = []
    for row in rows:
        found = quality[setting.options[row.option].deployment.model]
        if needed[row.pool] <= (0.0 if found is None else found):
            kept.append(row)
    return kept


def problem(setting: Setting, pooling: str, rows: Sequence[Row], margins: Floats | None = None) -> Problem:
    """Return the problem of a pooling over the rows of its map; `margins` (P,) multiply the demand of each pool."""
    asked, boards = setting.asked, setting.boards
    pools = setting.pools(pooling)
    d = demand.rates(
        setting.workload, setting.pool_of_request(pooling), len(pools), asked.demand.bin_s, asked.demand.bins
    )
    d = d * asked.demand.margin * (np.ones(len(pools)) if margins is None else margins)
    bins, shapes = len(d), 1 + max(o.shape for o in setting.options)
    shape_gpu, gpus = np.zeros(shapes, np.int64), np.zeros(shapes, np.int64)
    for o in setting.options:
        shape_gpu[o.shape], gpus[o.shape] = o.fleet, o.gpus
    loaded_w = np.array([b.idle_loaded_w for b in boards])
    cap = np.full(bins, np.inf if asked.limits.cluster_cap_w is None else asked.limits.cluster_cap_w)
    per_j, per_gpu_bin = _objective(asked, bins)
    return Problem(
        demand_per_s=d,
        bin_s=asked.demand.bin_s,
        modes=modes(rows, setting.options),
        gpu_count=np.array([f.count for f in asked.fleet], dtype=np.int64),
        parked_w=np.array([_parked_w(f, b) for f, b in zip(asked.fleet, boards, strict=True)]),
        wake_j=np.array([f.wake_s for f in asked.fleet]) * loaded_w,
        start_j=asked.changes.start_s * loaded_w[shape_gpu] * gpus,
        shape_gpu=shape_gpu,
        cap_w=cap,
        per_j=per_j,
        per_gpu_bin=per_gpu_bin,
        running=np.zeros(shapes, np.int64),
    )


def _parked_w(section: FleetSection, board: Gpu) -> float:
    return board.idle_w if section.parked_w is None else section.parked_w


def _objective(asked: Configure, bins: int) -> tuple[Floats, Floats]:
    """Return what a joule counts, and a GPU in use for one bin, each (T, G)."""
    given, fleet = asked.objective, asked.fleet
    shape_ = (bins, len(fleet))
    if given.least == "energy":
        return np.ones(shape_), np.zeros(shape_)
    money = given.least == "money"
    series = given.usd_per_kwh_series if money else given.gco2e_per_kwh_series
    flat = given.usd_per_kwh if money else given.gco2e_per_kwh
    name = "electricity_usd_per_kwh" if money else "carbon_gco2e_per_kwh"
    default = factor(name).value if flat is None else flat
    per_kwh = np.full(shape_, default)
    problems = [
        f"objective series name site {s!r}; the fleet has no such site" for s in set(series) - {f.site for f in fleet}
    ]
    for g, section in enumerate(fleet):
        if section.site in series:
            values = series[section.site]
            if len(values) < bins:
                problems.append(
                    f"the series of site {section.site!r} has {len(values)} values; expected {bins}, one a bin"
                )
            else:
                per_kwh[:, g] = values[:bins]
    if problems:
        raise InputError.gathered("objective", problems)
    rent = np.array([f.usd_per_gpu_hour for f in fleet]) * asked.demand.bin_s / 3600 if money else np.zeros(len(fleet))
    return per_kwh / J_PER_KWH, np.broadcast_to(rent, shape_).copy()


def restricted(base: Problem, keep: Ints) -> Problem:
    """Return the problem with the chosen modes alone."""
    return replace(base, modes=base.modes.take(keep))
