"""How often stated intervals hold the truth on the simulated card, how wide they are, and what alignment gains.

    python benchmarks/card_suite.py [--seeds 400] [--json]

Each trial draws a card from `CardPriors` (tick, phase, gain), a load, a window length and a start, polls the card as
the telemetry thread does, and asks for the energy of the window.

    coverage   share of trials whose 95 % interval holds the true energy
    no gain    the same for what a window has alone (ticks, edges, bounds), once the gain of the draw is taken out
    width      median of (width / oracle's width); the oracle knows the priors, the exact edges and the exact integral
               of the counter, and lacks only the gain of this draw: width = 2 · 1.96 · gain_sd · counter energy. No
               interval from the counter with that coverage can be narrower, since nothing in a record tells the gain.
    alignment  root mean square error, gain apart (it is the same for both), of aligned windows against the plain
               difference of the counter read at both edges; lengths uniform in 1-2 s, edges polled at 1 kHz
    aliasing   loads in step with part-time samples on a card without a counter: flagged, and the bound holds the truth
    in a tick  square loads that repeat about once or twice in a tick of the counter, so that its ticks are alike: share
               of windows whose own error (without gain) holds the truth, with power samples and without them
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wattlane.measure.energy.budget import Z
from wattlane.measure.energy.estimate import Record, Sensor, window_energy
from wattlane.measure.meters import loads
from wattlane.measure.meters.card import CardPriors, SimulatedCard
from wattlane.measure.schedule import DENSE_S, poll_times

PRIORS = CardPriors()
CLASSES_S = ((0.5, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, 15.0), (15.0, 60.0))
LEAD_S = 2.0
Rng = np.random.Generator
Trial = tuple[bool, bool, float, bool, bool]


def _square(rng: Rng, span_s: float) -> loads.Load:
    low, period_s = float(rng.uniform(70, 300)), float(np.exp(rng.uniform(np.log(0.25), np.log(8))))
    return loads.square_wave(
        low,
        float(rng.uniform(low + 100, 700)),
        period_s,
        span_s,
        share_high=float(rng.uniform(0.2, 0.8)),
        phase_s=float(rng.uniform(0, period_s)),
    )


def _spiky(rng: Rng, span_s: float) -> loads.Load:
    base, per_s, width_s = rng.uniform(80, 300), rng.uniform(0.5, 4), rng.uniform(0.01, 0.08)
    return loads.spiky(base, rng.uniform(500, 700), per_s, width_s, span_s, int(rng.integers(2**31)))


def _decode(rng: Rng, span_s: float) -> loads.Load:
    step_s, seed = rng.uniform(0.008, 0.06), int(rng.integers(2**31))
    return loads.decode_like(rng.uniform(150, 450), rng.uniform(550, 700), step_s, span_s, seed)


LOADS: dict[str, Callable[[Rng, float], loads.Load]] = {
    "constant": lambda rng, _span_s: loads.constant(rng.uniform(70, 700)),
    "ramp": lambda rng, span_s: loads.ramp(rng.uniform(70, 300), rng.uniform(300, 700), span_s),
    "square-wave": _square,
    "spiky": _spiky,
    "decode-like": _decode,
}


def record_of(card: SimulatedCard, polls: np.ndarray) -> Record:
    """Return what polls of a card whose origin is 0 show, as arrays."""
    counter = card.counter_j(polls) if card.sensor.has_counter else None
    times = polls if counter is not None else np.array([])
    return Record(
        times,
        counter if counter is not None else times,
        polls,
        card.instant_w(polls),
        card.average_w(polls) if card.sensor.has_average else None,
    )


def _trial(load: str, class_s: tuple[float, float], seed: int) -> Trial:
    """Return whether the interval holds the truth, whether its own error does once the gain is taken out,

    its width over the oracle's, whether sources were flagged as apart by more than 5 %, and that beyond explanation.
    """
    rng = np.random.default_rng([seed, *load.encode(), int(class_s[0] * 10)])
    length_s = float(rng.uniform(*class_s))
    start_s = LEAD_S + float(rng.uniform(0, 1))
    end_s = start_s + length_s
    sensor = PRIORS.draw(int(rng.integers(2**31)))
    card = SimulatedCard(LOADS[load](rng, end_s + 2), sensor, origin_s=0.0)
    polls = poll_times(0.5, end_s + DENSE_S + 0.05, (start_s, end_s), int(rng.integers(2**31)))
    found = window_energy(record_of(card, polls), start_s, end_s)
    assert found is not None
    true_j = card.true_energy_j(start_s, end_s)
    oracle = 2 * Z * PRIORS.gain_sd * sensor.gain * true_j
    energy_j = found.energy_j
    assert found.check is not None
    flagged = found.check.flagged
    within = abs(energy_j.value / sensor.gain - true_j) <= energy_j.own_half
    holds = energy_j.lo <= true_j <= energy_j.hi
    return holds, within, 2 * energy_j.half / oracle, flagged, flagged and not found.check.explained


def coverage(seeds: int, first: int = 0) -> list[dict[str, float | str]]:
    """Return one row a (load, length class), then the pooled row."""
    rows: list[dict[str, float | str]] = []
    pooled: list[Trial] = []
    for load in LOADS:
        for class_s in CLASSES_S:
            trials = [_trial(load, class_s, seed) for seed in range(first, first + seeds)]
            pooled += trials
            rows.append(_row(load, f"{class_s[0]:g}-{class_s[1]:g}", trials))
    return [*rows, _row("all", "0.5-60", pooled)]


def _row(load: str, lengths: str, trials: list[Trial]) -> dict[str, float | str]:
    held, within, widths, flagged, unexplained = (np.array(column) for column in zip(*trials, strict=True))
    return {
        "load": load,
        "length_s": lengths,
        "trials": len(trials),
        "coverage": float(held.mean()),
        "coverage_without_gain": float(within.mean()),
        "width_over_oracle": float(np.median(widths)),
        "sources_flagged": float(flagged.mean()),
        "flagged_unexplained": float(unexplained.mean()),
    }


def drawn_window(load: str, seed: int) -> tuple[SimulatedCard, float, float]:
    """Return a card under a load, and the edges of a window of 1-2 s on it."""
    rng = np.random.default_rng([seed, *load.encode(), 999])
    start_s, length_s = LEAD_S + float(rng.uniform(0, 1)), float(rng.uniform(1, 2))
    end_s = start_s + length_s
    card = SimulatedCard(LOADS[load](rng, end_s + 2), PRIORS.draw(int(rng.integers(2**31))), origin_s=0.0)
    return card, start_s, end_s


def alignment(seeds: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Return per load the root mean square relative error of a plain difference and of aligned windows, gain apart."""
    found = {}
    for load in LOADS:
        plain, aligned = [], []
        for seed in range(first, first + seeds):
            card, start_s, end_s = drawn_window(load, seed)
            shown = card.counter_j(np.array([start_s, end_s])) / card.sensor.gain
            plain.append((shown[1] - shown[0]) / card.true_energy_j(start_s, end_s) - 1)
            waits = [np.arange(edge, edge + 0.15, 1e-3) for edge in (start_s, end_s)]
            polls = np.sort(np.concatenate((poll_times(0.5, end_s + 0.3, ()), *waits)))
            window = window_energy(record_of(card, polls), start_s, end_s, align=True)
            assert window is not None
            true_j = card.true_energy_j(window.start_s, window.end_s)
            aligned.append(window.energy_j.value / card.sensor.gain / true_j - 1)
        errors = [float(np.sqrt(np.mean(np.square(e)))) for e in (plain, aligned)]
        found[load] = {"unaligned": errors[0], "aligned": errors[1], "ratio": errors[1] / errors[0]}
    return found


def aliasing(seeds: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Return per kind of load on cards without a counter: share flagged, and share in the interval, by what is known.

    "period": the load's period is given; "average": it is not, and the averaged field alone may tell.
    """
    kinds = {"period": True, "average": False, "not in step, period given": True, "not in step": False}
    found = {}
    for kind, is_known in kinds.items():
        flagged, held = [], []
        for seed in range(first, first + seeds):
            rng = np.random.default_rng([seed, 77])
            period_s = 0.1 / int(rng.integers(1, 4)) if not kind.startswith("not") else float(rng.uniform(0.23, 0.29))
            length_s = float(rng.uniform(5, 30))
            load = loads.square_wave(100, 600, period_s, length_s + 6, phase_s=float(rng.uniform(0, period_s)))
            sensor = replace(PRIORS.draw(int(rng.integers(2**31))), has_counter=False)
            card = SimulatedCard(load, sensor, origin_s=0.0)
            polls = poll_times(0.5, LEAD_S + length_s + 1, (LEAD_S, LEAD_S + length_s), seed)
            window = window_energy(
                record_of(card, polls),
                LEAD_S,
                LEAD_S + length_s,
                sensor=Sensor(lowest_w=70, highest_w=700),
                load_period_s=period_s if is_known else None,
            )
            assert window is not None
            true_j = card.true_energy_j(LEAD_S, LEAD_S + length_s)
            flagged.append(any(reason.startswith("aliasing") for reason in window.reasons))
            held.append(window.energy_j.lo <= true_j <= window.energy_j.hi)
        found[kind] = {"flagged": float(np.mean(flagged)), "coverage": float(np.mean(held))}
    return found


def inside_ticks(seeds: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Return, per range of the load's period in ticks, how often a window's own error holds the truth.

    "with samples" as measured, "without" from the counter alone, "flagged" the share with a sign of aliasing, and the
    median half-width without gain over the energy.
    """
    found = {}
    for low, high in ((0.95, 1.05), (0.8, 1.25), (0.4, 0.6), (1.25, 2.5)):
        rows = [_inside_tick(low, high, seed) for seed in range(first, first + seeds)]
        names = ("with_samples", "without", "flagged", "own_half")
        with_samples, without, flagged, halves = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        values = (with_samples.mean(), without.mean(), flagged.mean(), np.median(halves))
        found[f"{low:g}-{high:g}"] = dict(zip(names, map(float, values), strict=True))
    return found


def _inside_tick(low: float, high: float, seed: int) -> tuple[bool, bool, bool, float]:
    rng = np.random.default_rng([seed, 88, int(low * 100)])
    start_s = LEAD_S + float(rng.uniform(0, 1))
    end_s = start_s + float(rng.uniform(0.5, 5.0))
    sensor = PRIORS.draw(int(rng.integers(2**31)))
    period_s, low_w = sensor.tick_s * float(rng.uniform(low, high)), float(rng.uniform(70, 300))
    watts, share = (low_w, float(rng.uniform(low_w + 100, 700))), float(rng.uniform(0.2, 0.8))
    phase_s = float(rng.uniform(0, period_s))
    load = loads.square_wave(*watts, period_s, end_s + 2, share_high=share, phase_s=phase_s)
    card = SimulatedCard(load, sensor, origin_s=0.0)
    record = record_of(card, poll_times(0.5, end_s + DENSE_S + 0.05, (start_s, end_s), int(rng.integers(2**31))))
    none = np.array([])
    bare = replace(record, power_times_s=none, power_w=none, average_w=None)
    true_j, limits = card.true_energy_j(start_s, end_s), Sensor(lowest_w=70, highest_w=700)
    found, alone = (window_energy(kept, start_s, end_s, sensor=limits) for kept in (record, bare))
    assert found is not None
    assert alone is not None
    held = [abs(one.energy_j.value / sensor.gain - true_j) <= one.energy_j.own_half for one in (found, alone)]
    is_flagged = any(reason.startswith("aliasing") for reason in found.reasons)
    return held[0], held[1], is_flagged, found.energy_j.own_half / true_j


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows, moved, hidden = coverage(asked.seeds), alignment(asked.seeds), aliasing(min(asked.seeds, 200))
    inside = inside_ticks(min(asked.seeds, 1000))
    if asked.json:
        found = {"coverage": rows, "alignment": moved, "aliasing": hidden, "inside_ticks": inside}
        print(json.dumps(found, indent=2))
        return
    print(
        f"{'load':12} {'length s':>9} {'trials':>7} {'coverage':>9} {'no gain':>8} {'width/oracle':>13} "
        f"{'gap > 5 %':>10} {'unexplained':>12}"
    )
    for row in rows:
        print(
            f"{row['load']:12} {row['length_s']:>9} {row['trials']:7} {row['coverage']:9.1%} "
            f"{row['coverage_without_gain']:8.1%} {row['width_over_oracle']:13.2f} {row['sources_flagged']:10.1%} "
            f"{row['flagged_unexplained']:12.1%}"
        )
    print(f"\n{'1-2 s windows':14} {'unaligned':>10} {'aligned':>9} {'ratio':>7}")
    for load, errors in moved.items():
        print(f"{load:14} {errors['unaligned']:10.3%} {errors['aligned']:9.3%} {errors['ratio']:7.3f}")
    print(f"\n{'no counter, load in step, known by':34} {'flagged':>8} {'coverage':>9}")
    for kind, share in hidden.items():
        print(f"{kind:34} {share['flagged']:8.1%} {share['coverage']:9.1%}")
    print(f"\n{'period in ticks':16} {'with samples':>13} {'without':>8} {'flagged':>8} {'own half-width':>15}")
    for name, one in inside.items():
        print(
            f"{name:16} {one['with_samples']:13.1%} {one['without']:8.1%} {one['flagged']:8.1%} {one['own_half']:15.2%}"
        )


if __name__ == "__main__":
    main()
