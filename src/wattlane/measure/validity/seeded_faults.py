"""The kinds of fault that are put into a run on purpose, each with the code it must be named by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wattlane.measure.validity.codes import Code
from wattlane.measure.validity.scene import Array, Scene, Series, Throttle
from wattlane.measure.validity.seeded import LIMIT_W, draw, scene_of, without_counter

RAPL_RANGE_J = 2**32 * 15.2587890625e-6


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: its right name and a maker of runs that have it."""

    code: Code
    make: Callable[[int], Scene]


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 23])


def _plain(seed: int) -> Scene:
    return scene_of(draw(seed))


def _each(scene: Scene, change: Callable[[Series], Series]) -> Scene:
    return replace(scene, series=tuple(change(series) for series in scene.series))


def _scaled(series: Series, counter: float = 1.0, power: float = 1.0) -> Series:
    return replace(
        series,
        counter_j=series.counter_j * counter,
        power_w=series.power_w * power,
        average_w=series.average_w * power,
    )


def _level(seed: int, low: float, high: float) -> Scene:
    """Return a run whose card draws a steady share of its idle power with a context."""
    setup = draw(seed, load="constant")
    quiet = replace(setup, busy_w=setup.idle_w * float(_rng(seed).uniform(low, high)))
    return scene_of(quiet)


def _above_limit(seed: int) -> Scene:
    setup = draw(seed)
    return scene_of(replace(setup, load="constant", busy_w=LIMIT_W * float(_rng(seed).uniform(1.18, 1.5))))


def _constant(seed: int) -> Scene:
    scene = without_counter(scene_of(draw(seed, length_s=float(_rng(seed).uniform(60, 120)))))
    return replace(
        _each(
            scene,
            lambda s: replace(s, power_w=np.full_like(s.power_w, 70.0), average_w=np.full_like(s.power_w, np.nan)),
        ),
        facts={},
    )


def _held(series: Series, period_s: float, phase_s: float) -> Series:
    """Return the series as a cache gives it that renews every `period_s`."""
    renewed = np.floor((series.time_s - phase_s) / period_s) * period_s + phase_s
    at = np.clip(np.searchsorted(series.time_s, renewed), 0, len(series.time_s) - 1)
    return replace(series, counter_j=series.counter_j[at], power_w=series.power_w[at], average_w=series.average_w[at])


def _stale(refresh_s: float, shortest_s: float, longest_s: float) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        rng = _rng(seed)
        scene = scene_of(draw(seed, length_s=float(rng.uniform(shortest_s, longest_s))))
        phase_s = float(rng.uniform(0, refresh_s))
        return _each(scene, lambda s: _held(s, refresh_s, phase_s))

    return make


def _freezes(seed: int) -> Scene:
    """Return a run metered through an exporter that dies on the way: its page stays, and says the same for ever."""
    rng = _rng(seed)
    scene = scene_of(draw(seed, length_s=float(rng.uniform(12.0, 40.0))))
    last_s = float(rng.uniform(0.3, 0.7)) * scene.activity.end_s

    def change(series: Series) -> Series:
        cached = _held(series, float(rng.uniform(0.1, 0.4)), 0.0)
        at = np.minimum(np.arange(len(series.time_s)), np.searchsorted(series.time_s, last_s))
        columns = [column[at] for column in (cached.counter_j, cached.power_w, cached.average_w)]
        return Series(series.device, series.time_s, *columns)

    return _each(scene, change)


def _silent(seed: int) -> Scene:
    scene, rng = _plain(seed), _rng(seed)
    length_s = float(rng.uniform(1.5, 4.0))
    start_s = float(rng.uniform(0.5, scene.activity.end_s - length_s - 0.5))
    return _each(scene, lambda s: _kept(s, (s.time_s < start_s) | (s.time_s > start_s + length_s)))


def _kept(series: Series, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Series:
    return Series(
        series.device, series.time_s[keep], series.counter_j[keep], series.power_w[keep], series.average_w[keep]
    )


def _failed_reads(seed: int) -> Scene:
    rng = _rng(seed)

    def change(series: Series) -> Series:
        lost = rng.random(len(series.time_s)) < rng.uniform(0.15, 0.4)
        columns = [np.where(lost, np.nan, c) for c in (series.counter_j, series.power_w, series.average_w)]
        return Series(series.device, series.time_s, *columns)

    return _each(_plain(seed), change)


def _middle_s(scene: Scene, rng: np.random.Generator) -> float:
    return float(rng.uniform(0.25, 0.6)) * scene.activity.end_s


def _reset(seed: int) -> Scene:
    scene = _plain(seed)
    at_s = _middle_s(scene, _rng(seed))

    def change(series: Series) -> Series:
        after = series.time_s >= at_s
        start_j = series.counter_j[np.argmax(after)]
        return replace(series, counter_j=np.where(after, series.counter_j - start_j, series.counter_j + 5e5))

    return _each(scene, change)


def _wrap(seed: int) -> Scene:
    scene = _plain(seed)
    at_s = _middle_s(scene, _rng(seed))

    def change(series: Series) -> Series:
        at_j = float(np.interp(at_s, series.time_s, series.counter_j))
        return replace(series, counter_j=np.mod(series.counter_j - at_j, RAPL_RANGE_J))

    return _each(scene, change)


def _frozen(share: float) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        scene = _plain(seed)
        from_s = -1e9 if share == 0 else share * scene.activity.end_s

        def change(series: Series) -> Series:
            held = series.counter_j[max(int(np.searchsorted(series.time_s, from_s)) - 1, 0)]
            return replace(series, counter_j=np.where(series.time_s >= from_s, held, series.counter_j))

        return _each(scene, change)

    return make


def _disagreeing(seed: int) -> Scene:
    rng = _rng(seed)
    factor = float(rng.uniform(0.5, 0.8) if rng.random() < 0.5 else rng.uniform(1.25, 1.8))
    return _each(_plain(seed), lambda s: _scaled(s, counter=factor))


def _nothing(power: float) -> Callable[[int], Scene]:
    return lambda seed: _each(without_counter(_plain(seed)), lambda s: _scaled(s, power=power))


def _unit(counter: float, power: float = 1.0) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        scene = _plain(seed) if power == 1.0 else without_counter(_plain(seed))
        return _each(scene, lambda s: _scaled(s, counter, power))

    return make


def _wrong_device(seed: int) -> Scene:
    scene = _level(seed, 0.6, 1.0)
    return replace(scene, activity=replace(scene.activity, working=("GPU-7",)))


def _idle_summed(*, is_named: bool) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        busy, idle = _plain(seed), _level(seed, 0.55, 0.95)
        idle = replace(idle, series=tuple(_cut(s, busy.series[0]) for s in idle.series))
        extra = [replace(idle.series[0], device=f"GPU-{i}") for i in (1, 2, 3)]
        extra = [_jittered(s, seed + i) for i, s in enumerate(extra)]
        facts = dict.fromkeys(("GPU-0", "GPU-1", "GPU-2", "GPU-3"), busy.facts["GPU-0"])
        activity = replace(busy.activity, working=("GPU-0",) if is_named else None)
        return replace(busy, series=(busy.series[0], *extra), facts=facts, activity=activity)

    return make


def _cut(series: Series, like: Series) -> Series:
    """Return a series at the times of another, by holding its values."""
    at = np.clip(np.searchsorted(series.time_s, like.time_s), 0, len(series.time_s) - 1)
    columns: tuple[Array, ...] = (series.counter_j, series.power_w, series.average_w)
    return Series(series.device, like.time_s, *(column[at] for column in columns))


def _jittered(series: Series, seed: int) -> Series:
    rng = np.random.default_rng([seed, 29])
    power_w = series.power_w * (1 + 0.003 * rng.normal(size=len(series.power_w)))
    return replace(series, power_w=power_w, counter_j=series.counter_j * (1 + 1e-4 * rng.normal()) + 1e4 * seed)


def _missing_gpu(seed: int) -> Scene:
    scene = scene_of(draw(seed), cards=2)
    return replace(scene, series=scene.series[:1])


def _mig(prefix: str) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        scene = _plain(seed)
        rows = tuple(replace(scene.series[0], device=f"{prefix}{i}") for i in range(2 + seed % 6))
        facts = {row.device: scene.facts["GPU-0"] for row in rows}
        return replace(scene, series=rows, facts=facts, activity=replace(scene.activity, working=None))

    return make


def _module(seed: int) -> Scene:
    scene = _plain(seed)
    cpu_w = float(_rng(seed).uniform(90, 250))
    facts = {name: replace(fact, name="NVIDIA GH200 480GB", scope="") for name, fact in scene.facts.items()}
    changed = _each(scene, lambda s: replace(s, power_w=s.power_w + cpu_w, average_w=s.average_w + cpu_w))
    return replace(changed, facts=facts)


def _averaged(seed: int) -> Scene:
    load = ("constant", "decode-like", "spiky")[seed % 3]
    scene = without_counter(scene_of(draw(seed, load=load, length_s=float(_rng(seed).uniform(2.0, 6.0)))))
    return _each(scene, lambda s: replace(s, power_w=s.average_w))


def _throttled(why: Throttle, limit_w: float | None = None) -> Callable[[int], Scene]:
    def make(seed: int) -> Scene:
        scene, rng = _plain(seed), _rng(seed)
        from_s = float(rng.uniform(0.1, 0.7)) * scene.activity.end_s
        slow = float(rng.uniform(0.5, 0.9))
        health = tuple(
            replace(look, sm_clock_hz=(look.sm_clock_hz or 0.0) * slow, throttle=frozenset({why}))
            if look.time_s >= from_s
            else look
            for look in scene.health
        )
        facts = scene.facts if limit_w is None else {d: replace(f, limit_w=limit_w) for d, f in scene.facts.items()}
        return replace(scene, health=health, facts=facts)

    return make


def _power_capped(seed: int) -> Scene:
    setup = draw(seed, load="constant")
    scene = _throttled(Throttle.POWER_CAP, limit_w=setup.busy_w)(seed)
    series = scene_of(setup).series
    return replace(scene, series=tuple(_cut(s, series[0]) for s in series))


def _clock_moved(seed: int) -> Scene:
    scene, rng = _plain(seed), _rng(seed)
    at_s, factor = _middle_s(scene, rng), float(rng.uniform(0.6, 0.92))
    health = tuple(
        replace(look, sm_clock_hz=(look.sm_clock_hz or 0.0) * factor) if look.time_s > at_s else look
        for look in scene.health
    )
    return replace(scene, health=health)


def _warming(seed: int) -> Scene:
    scene = _plain(seed)
    late_s = float(_rng(seed).uniform(0.1, 0.4)) * scene.activity.end_s
    return replace(scene, activity=replace(scene.activity, ready_s=late_s / 2, warm_s=late_s))


def _loading(seed: int) -> Scene:
    """Return a run whose window begins while the engine still loads; only the power says so."""
    scene = scene_of(draw(seed, load=("constant", "spiky", "decode-like", "square-wave")[seed % 4]))
    activity = replace(scene.activity, start_s=-3.0, ready_s=None, warm_s=None)
    return replace(scene, activity=activity)


def _draining(seed: int) -> Scene:
    scene = _plain(seed)
    end_s = scene.activity.end_s
    late_s = float(_rng(seed).uniform(0.7, 0.9)) * end_s
    return replace(scene, activity=replace(scene.activity, last_end_s=late_s))


def _failures(seed: int) -> Scene:
    scene = _plain(seed)
    offered = scene.activity.offered or 0
    completed = int(offered * (1 - float(_rng(seed).uniform(0.02, 0.5))))
    return replace(scene, activity=replace(scene.activity, completed=completed))


def _padded_tokens(seed: int) -> Scene:
    scene = _plain(seed)
    client = int((scene.activity.server_tokens or 0) * float(_rng(seed).uniform(1.1, 9.0)))
    return replace(scene, activity=replace(scene.activity, client_tokens=client))


def _slow_client(seed: int) -> Scene:
    scene = _plain(seed)
    sent = (scene.activity.offered_per_s or 0.0) * float(_rng(seed).uniform(0.15, 0.9))
    return replace(scene, activity=replace(scene.activity, sent_per_s=sent, client_core_share=1.0))


def _stepped(seed: int) -> Scene:
    scene, rng = _plain(seed), _rng(seed)
    step_s = float(rng.choice([-1, 1]) * rng.uniform(0.2, 3600))
    (first, last) = scene.activity.clock_pairs
    pairs = (first, (last[0], last[1] + step_s))
    return replace(scene, activity=replace(scene.activity, clock_pairs=pairs))


def _short(seed: int) -> Scene:
    setup = draw(seed, load="constant", length_s=8.0)
    scene, rng = scene_of(replace(setup, sensor=replace(setup.sensor, tick_s=0.1))), _rng(seed)
    start_s = float(rng.uniform(1, 5))
    activity = replace(scene.activity, start_s=start_s, end_s=start_s + float(rng.uniform(0.1, 0.4)), last_end_s=None)
    return replace(scene, activity=replace(activity, clock_pairs=(), first_request_s=None))


FAULTS: dict[str, Fault] = {
    "busy run at idle watts": Fault(Code.BUSY_AT_IDLE, lambda seed: _level(seed, 0.6, 1.05)),
    "busy run near idle watts": Fault(Code.BUSY_NEAR_IDLE, lambda seed: _level(seed, 1.15, 1.25)),
    "power above the limit": Fault(Code.ABOVE_LIMIT, _above_limit),
    "constant watts": Fault(Code.CONSTANT_VALUE, _constant),
    "exporter of 30 s": Fault(Code.STALE_SOURCE, _stale(30.0, 10.0, 50.0)),
    "exporter of 5 s": Fault(Code.STALE_SOURCE, _stale(5.0, 10.0, 20.0)),
    "exporter that freezes": Fault(Code.STALE_SOURCE, _freezes),
    "silent meter": Fault(Code.MISSING_SAMPLES, _silent),
    "failed reads": Fault(Code.MISSING_SAMPLES, _failed_reads),
    "counter reset": Fault(Code.COUNTER_RESET, _reset),
    "counter wrap": Fault(Code.COUNTER_WRAP, _wrap),
    "counter frozen": Fault(Code.COUNTER_FROZEN, _frozen(0.0)),
    "counter freezes": Fault(Code.COUNTER_FROZEN, _frozen(0.5)),
    "counter against power": Fault(Code.COUNTER_DISAGREES, _disagreeing),
    "zero energy": Fault(Code.NONPOSITIVE_ENERGY, _nothing(0.0)),
    "negative energy": Fault(Code.NONPOSITIVE_ENERGY, _nothing(-0.1)),
    "counter in mJ": Fault(Code.WRONG_UNIT, _unit(1e3)),
    "counter in uJ": Fault(Code.WRONG_UNIT, _unit(1e6)),
    "counter in kWh": Fault(Code.WRONG_UNIT, _unit(1 / 3.6e6)),
    "power in mW": Fault(Code.WRONG_UNIT, _unit(1.0, 1e3)),
    "power in kW": Fault(Code.WRONG_UNIT, _unit(1.0, 1e-3)),
    "wrong device": Fault(Code.WRONG_DEVICE, _wrong_device),
    "idle devices summed, named": Fault(Code.IDLE_GPUS_SUMMED, _idle_summed(is_named=True)),
    "idle devices summed, by power": Fault(Code.IDLE_GPUS_SUMMED, _idle_summed(is_named=False)),
    "working device not metered": Fault(Code.GPU_MISSING, _missing_gpu),
    "MIG rows by name": Fault(Code.MIG_REPEATS, _mig("MIG-")),
    "MIG rows by value": Fault(Code.MIG_REPEATS, _mig("row ")),
    "module power": Fault(Code.MODULE_SCOPE, _module),
    "averaged power, short window": Fault(Code.AVERAGED_POWER, _averaged),
    "thermal throttling": Fault(Code.THERMAL_THROTTLE, _throttled(Throttle.THERMAL)),
    "lowered power limit": Fault(Code.POWER_THROTTLE, _power_capped),
    "power brake": Fault(Code.POWER_THROTTLE, _throttled(Throttle.POWER_BRAKE)),
    "clock change": Fault(Code.CLOCK_CHANGED, _clock_moved),
    "warm-up in window": Fault(Code.RAMP_IN_WINDOW, _warming),
    "loading in window, by power": Fault(Code.RAMP_IN_WINDOW, _loading),
    "drain in window": Fault(Code.RAMP_IN_WINDOW, _draining),
    "failures as served": Fault(Code.FAILED_REQUESTS, _failures),
    "padding as tokens": Fault(Code.TOKEN_MISMATCH, _padded_tokens),
    "generator-bound": Fault(Code.GENERATOR_BOUND, _slow_client),
    "wall clock step": Fault(Code.WALL_CLOCK_STEP, _stepped),
    "short window": Fault(Code.WINDOW_TOO_SHORT, _short),
}
