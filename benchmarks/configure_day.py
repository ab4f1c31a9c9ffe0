"""A day of configuration: nine classes, four GPU types, five-minute bins, starts and wakes, to a stated gap.

    python benchmarks/configure_day.py [--scale 5 20] [--gap 0.01]

The map is made of formulas with the shape of the laws: 72 configurations a (class, GPU type) at five loads. So only the
solver is timed; what a map of replays takes is printed by `wattlane plan configure`. The day is a sine with noise from
bin to bin.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from wattlane.plan.configure.problem import Modes, Problem
from wattlane.plan.configure.solve import solve

TYPES = (("A100", 400, 400.0, 0.45), ("H100", 320, 700.0, 1.0), ("H200", 240, 700.0, 1.3), ("B200", 160, 1000.0, 2.2))
PARALLEL = (2, 4, 8)
CLOCKS = np.linspace(0.4, 1.0, 8)
BATCHES = (32, 64, 128)
LEVELS = (0.25, 0.5, 0.7, 0.85, 1.0)
BIN_S, BINS, CLASSES = 300.0, 288, 9


def made_map(rng: np.random.Generator) -> tuple[Modes, list[tuple[int, int]]]:
    """Return 72 configurations a (class, GPU type) at five loads, with the shape of the laws but not their numbers."""
    size = np.outer([1, 3, 9], [1, 3, 9]).ravel() ** 0.7
    rows, shapes = [], []
    for g, (_, _, tdp_w, speed) in enumerate(TYPES):
        for tp in PARALLEL:
            shapes.append((g, tp))
            for pool in range(CLASSES):
                for clock in CLOCKS:
                    for batch in BATCHES:
                        full = 3 * (batch / 128) ** 0.5 * clock**0.6 * tp**0.85 * speed / size[pool]
                        for load in LEVELS:
                            share = 0.2 + (0.15 + 0.5 * clock**2.2) * load**0.7 * (batch / 128) ** 0.15
                            watts = tp * tdp_w * share * (1 + 0.05 * rng.random())
                            rows.append((pool, g, len(shapes) - 1, tp, full * load, watts))
    table = np.array(rows)
    return Modes(*(table[:, i].astype(np.int64) for i in range(4)), table[:, 4], table[:, 5]), shapes


def day(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Return requests per second, (BINS, CLASSES): a daily cycle with noise from bin to bin."""
    size = np.outer([1, 3, 9], [1, 3, 9]).ravel() ** 0.7
    t = np.arange(BINS) / BINS
    cycle = 0.55 + 0.45 * np.sin(2 * np.pi * (t[:, None] - 0.3))
    noise = (1 + 0.1 * rng.standard_normal((BINS, CLASSES))).clip(0.5)
    return rng.uniform(0.5, 1.5, CLASSES) / size * 20 * scale * cycle * noise


def problem(scale: float, seed: int = 0) -> Problem:
    """Return the day's problem."""
    rng = np.random.default_rng(seed)
    modes, shapes = made_map(rng)
    gpus = len(TYPES)
    return Problem(
        demand_per_s=day(rng, scale),
        bin_s=BIN_S,
        modes=modes,
        gpu_count=np.array([int(count * scale / 5) for _, count, _, _ in TYPES]),
        parked_w=np.array([40.0, 50.0, 50.0, 60.0]),
        wake_j=np.full(gpus, 20e3),
        start_j=np.array([60e3 * tp for _, tp in shapes]),
        shape_gpu=np.array([g for g, _ in shapes]),
        cap_w=np.full(BINS, np.inf),
        per_j=np.ones((BINS, gpus)),
        per_gpu_bin=np.zeros((BINS, gpus)),
        running=np.zeros(len(shapes), np.int64),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, nargs="+", default=[5.0, 20.0])
    parser.add_argument("--gap", type=float, default=0.01)
    for scale in (given := parser.parse_args()).scale:
        asked = problem(scale)
        wall, cpu = time.monotonic(), time.process_time()
        found = solve(asked, gap=given.gap, limit_s=300.0)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        used = asked.gpus_used(found.counts)
        print(
            f"{int(asked.gpu_count.sum())} GPUs, {len(asked.modes)} modes ({found.modes_kept} undominated), "
            f"{found.counts.sum() / BINS:.0f} instances and {used.sum() / BINS:.0f} GPUs in use on average: gap "
            f"{found.gap:.2%} in {wall:.0f} s ({cpu:.0f} s of CPU)"
        )


if __name__ == "__main__":
    main()
