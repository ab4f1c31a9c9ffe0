"""Runs with known faults, on the simulated card: what the checks are tested with.

`clean(seed)` is a run without fault, of a load, length and sensor drawn from the seed; each entry of `FAULTS` is a kind
with the code it must be named by and a maker `(seed) -> Scene`. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wattlane.measure.meters import loads
from wattlane.measure.meters.card import CardPriors, CardSensor, SimulatedCard
from wattlane.measure.validity.scene import Activity, CardFacts, Health, Scene, Series, to_series

LOADS = ("constant", "ramp", "square-wave", "spiky", "decode-like", "bursty")
REST_S = 4.0  # idle before and after the work
POLL_S = 0.05
LIMIT_W = 700.0


@dataclass(frozen=True, slots=True)
class Setup:
    """One drawn run: `idle_w` is with a context, `busy_w` typical of the work."""

    load: str
    length_s: float
    idle_w: float
    busy_w: float
    sensor: CardSensor
    seed: int

    @property
    def facts(self) -> CardFacts:
        """What is known of the card; its idle power was read by the same sensor."""
        idle_w = self.idle_w * self.sensor.gain
        return CardFacts("NVIDIA H100 80GB HBM3", LIMIT_W, LIMIT_W, LIMIT_W, 0.65 * idle_w, idle_w, 87.0, "gpu")


def draw(seed: int, *, load: str | None = None, length_s: float | None = None) -> Setup:
    """Return a run drawn from `seed`; what is given is not drawn."""
    rng = np.random.default_rng([seed, 7])
    drawn = (str(rng.choice(LOADS)), float(rng.uniform(6.0, 45.0)))
    idle_w = float(rng.uniform(70.0, 125.0))
    return Setup(
        load or drawn[0],
        length_s or drawn[1],
        idle_w,
        float(rng.uniform(1.9 * idle_w, 520.0)),
        CardPriors().draw(seed),
        seed,
    )


def record(setup: Setup, device: str = "GPU-0", *, shift: int = 0) -> Series:
    """Return what a card says from `REST_S` before the work (time 0) to `REST_S` after it; `shift` draws another."""
    sensor = replace(CardPriors().draw(setup.seed + 1000 * shift), gain=setup.sensor.gain) if shift else setup.sensor
    card = SimulatedCard(_resting(setup), sensor, lambda: 0.0, device, origin_s=0.0)
    rng = np.random.default_rng([setup.seed, 11, shift])
    count = int((setup.length_s + 2 * REST_S) / POLL_S)
    late_s = np.where(rng.random(count) < 0.01, rng.uniform(0, 0.5, count), rng.uniform(0, 0.004, count))
    times_s = np.unique(-REST_S + POLL_S * np.arange(count) + late_s)
    return to_series(card.read_at(times_s[rng.random(len(times_s)) > 0.01]))[0]


def clean(seed: int) -> Scene:
    """Return a run without fault, of 2.5 s and more; some have no counter, and a fifth two cards."""
    rng = np.random.default_rng([seed, 13])
    setup = draw(seed, length_s=float(np.exp(rng.uniform(np.log(2.5), np.log(60.0)))))
    if rng.random() < 0.4 and setup.length_s > 25:
        return without_counter(scene_of(setup))
    return scene_of(setup, cards=2 if rng.random() < 0.2 else 1)


def scene_of(setup: Setup, cards: int = 1) -> Scene:
    """Return the scene of a run on `cards` working cards."""
    rng = np.random.default_rng([setup.seed, 17])
    names = [f"GPU-{i}" for i in range(cards)]
    requests, tokens = int(rng.integers(150, 600)), int(rng.integers(5_000, 200_000))
    rate = requests / setup.length_s
    activity = Activity(
        0.0,
        setup.length_s,
        busy_share=0.6 if setup.load == "bursty" else 1.0,
        ready_s=-3.0,
        warm_s=-1.0,
        first_request_s=0.0,
        last_end_s=setup.length_s,
        working=tuple(names),
        offered=requests,
        completed=requests - int(rng.integers(0, 2)),
        client_tokens=tokens + int(rng.integers(0, 20)),
        server_tokens=tokens,
        offered_per_s=rate,
        sent_per_s=rate * float(rng.uniform(0.99, 1.0)),
        client_core_share=float(rng.uniform(0.05, 0.6)),
        clock_pairs=((0.0, 1.7e9), (setup.length_s, 1.7e9 + setup.length_s + float(rng.normal(0, 0.003)))),
    )
    series = tuple(record(setup, name, shift=i) for i, name in enumerate(names))
    health = tuple(look for name in names for look in looks(setup, name))
    return Scene(series, activity, dict.fromkeys(names, setup.facts), health, "simulated")


def looks(setup: Setup, device: str, period_s: float = 0.5) -> list[Health]:
    """Return clean looks at a card: a steady clock within 1 %, a temperature that settles."""
    rng = np.random.default_rng([setup.seed, 19])
    times_s = np.arange(0.0, setup.length_s, period_s)
    clocks_hz = 1.98e9 * (1 + 0.004 * rng.normal(size=len(times_s)))
    warm_c = 40 + 25 * (1 - np.exp(-times_s / 30))
    return [
        Health(float(t), device, float(clock), float(degrees))
        for t, clock, degrees in zip(times_s, clocks_hz, warm_c, strict=True)
    ]


def without_counter(scene: Scene) -> Scene:
    """Return the scene as a card without an energy counter gives it."""
    bare = tuple(replace(s, counter_j=np.full_like(s.counter_j, np.nan)) for s in scene.series)
    return replace(scene, series=bare)


def _resting(setup: Setup) -> loads.Load:
    """Return idle, then the work from 0 to its length, then idle."""
    work = _work(setup)
    edges = np.concatenate(([-2 * REST_S], work.edges_s[work.edges_s < setup.length_s], [setup.length_s]))
    edges = np.append(edges, setup.length_s + 2 * REST_S)
    count = len(edges) - 3  # pieces of the work; the last one is cut
    last = (setup.length_s - work.edges_s[count - 1]) / (work.edges_s[count] - work.edges_s[count - 1])
    end_w = work.end_w[:count].copy()
    end_w[-1] = work.start_w[count - 1] + last * (work.end_w[count - 1] - work.start_w[count - 1])
    idle = [setup.idle_w]
    return loads.Load(
        setup.load, edges, np.concatenate((idle, work.start_w[:count], idle)), np.concatenate((idle, end_w, idle))
    )


_WORK: dict[str, Callable[[Setup], loads.Load]] = {
    "constant": lambda s: loads.steps("constant", [0.0, s.length_s + 1.0], [s.busy_w]),
    "ramp": lambda s: loads.ramp(1.5 * s.idle_w, 1.2 * s.busy_w, s.length_s + 1.0),
    "square-wave": lambda s: loads.square_wave(0.6 * s.busy_w, 1.3 * s.busy_w, 1.37, s.length_s + 3.0),
    "spiky": lambda s: loads.spiky(0.8 * s.busy_w, 1.3 * s.busy_w, 2.0, 0.15, s.length_s + 20.0, s.seed),
    "bursty": lambda s: loads.square_wave(s.idle_w, s.busy_w, 2.9, s.length_s + 6.0, share_high=0.6),
    "decode-like": lambda s: loads.decode_like(s.busy_w, 1.3 * s.busy_w, 0.025, s.length_s + 20.0, s.seed),
}


def _work(setup: Setup) -> loads.Load:
    return _WORK[setup.load](setup)
