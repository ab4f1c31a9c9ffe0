"""Every measured configuration replayed closed-loop: `python benchmarks/closed_loop.py` with WATTLANE_DATA.

Rows of ML.ENERGY v3 on H100 and B200, as `tools/fit_profiles.py` reads them. Each architecture is replayed under a law
fitted without it. A configuration is a fixed number of running requests: all of them wait at time zero, at most the
measured batch runs, and the next one comes in when one ends. Counted is the time between the first transients and the
last admission. The table holds mean lengths only: answers are drawn from a gamma distribution whose spread is what the
law's ratio of context to output says (mean context of a running request = prompt + ratio * output, and
ratio = (1 + cv^2) / 2), prompts are the law's latent mean of the task.

Beside it stands the same law asked directly for the steady state (`wattlane.model.steady`), on the same rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from fit_profiles import NAMES, Data, load
from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.core.workload import Workload
from wattlane.model import iteration as it
from wattlane.model.calibration import Point
from wattlane.model.fit_phase import PROMPT_OF, PhaseFit, fit_phase
from wattlane.model.laws.phase import law_vector
from wattlane.model.leave_out import KINDS, columns
from wattlane.model.profile import profile_for
from wattlane.model.steady import effective_context
from wattlane.sim import paged
from wattlane.sim.engine import layout as lay
from wattlane.sim.fleet_types import Fleet, Pool

WAVES, WARM = 14, 4  # requests for each seat; those that end before counting begins
ROOM_TOKENS = 1 << 40  # what ran was measured: memory does not decide here


def law_of(p: Point, fit: PhaseFit, at: int) -> tuple[NDArray[np.float64], float, float]:
    """Return the law of a row, the prompt it takes and the squared relative spread of answers."""
    latent = fit.latent
    prompt = p.input_tokens or latent[PROMPT_OF.get(p.task, "prompt_chat")]
    law = law_vector(fit.parameters(at), p.case)
    law[it.HOST_S] += p.slow_path * latent["slow_s"]
    context = prompt + latent["context_ratio"] * p.output_tokens
    read = effective_context(p.model, context) / context  # layers with a window stop at it
    law[[it.KV_BYTES_PER_TOKEN, it.FLOP_PER_CONTEXT]] *= read
    return law, prompt, max(2.0 * latent["context_ratio"] - 1.0, 1e-3)


def replayed(p: Point, fit: PhaseFit, at: int, seed: int) -> tuple[float, float]:
    """Return (watts, seconds between tokens) of the steady part of a closed loop."""
    law, prompt, spread = law_of(p, fit, at)
    seats = max(round(p.batch), 1)
    n = max(WAVES * seats, 200)
    drawn = np.random.default_rng(seed).gamma(1.0 / spread, p.output_tokens * spread, n)
    outputs = np.maximum(np.rint(drawn * p.output_tokens / drawn.mean()), 1).astype(np.int64)
    work = Workload(np.zeros(n), np.full(n, max(round(prompt), 1)), outputs)
    run = paged.replay(work, Fleet((Pool(law, ROOM_TOKENS, 1, seats, max(8192, seats)),)))
    record = run.replicas[0].record
    begin_s = np.sort(run.begun_s)[max(WARM * seats, 50)]
    ends = record[:, lay.END_S]
    kept = record[(record[:, lay.START_S] >= begin_s) & (ends <= run.begun_s.max())]
    seconds = kept[:, lay.END_S] - kept[:, lay.START_S]
    tokens = kept[:, lay.TOKENS].sum()
    # as in the table: batch over throughput
    return float(np.dot(kept[:, lay.POWER_W], seconds) / seconds.sum()), float(p.batch * seconds.sum() / tokens)


def line(name: str, errors: NDArray[np.float64], widths: NDArray[np.float64]) -> str:
    """Return median and mean absolute error and the share inside the profile's interval, of power and J/token."""
    ape = np.abs(np.expm1(errors))
    inside = np.abs(errors) <= widths
    parts = [f"{np.median(ape[:, j]):>9.1%}{ape[:, j].mean():>8.1%}{inside[:, j].mean():>8.0%}" for j in (0, 2)]
    return f"{name:<34}{len(errors):>5}  " + "   ".join(parts)


@dataclass(frozen=True, eq=False)
class Compared:
    """Log errors of every row, (n, 3) in the order of `KINDS`: asked directly, and replayed; NaN where not asked."""

    direct: NDArray[np.float64]
    replay: NDArray[np.float64]
    replays_s: float


def compared(data: Data, groups: int = 0, seed: int = 0) -> Compared:
    """Leave out each architecture (the first `groups`; 0: all) and compare both answers with what was measured."""
    rows = data.rows
    whole, spent = fit_phase(rows, data.priors), 0.0
    direct, replay = (np.full((len(rows.group), len(KINDS)), np.nan) for _ in range(2))
    for name in np.unique(rows.group)[: groups or None]:
        held = rows.group == name
        fit = fit_phase(rows.rows(~held), data.priors, whole)
        direct[held] = columns(*fit.errors(rows.rows(held)))
        start = time.perf_counter()
        for i in np.flatnonzero(held):
            p = rows.points[i]
            watts, gap_s = replayed(p, fit, int(rows.platform[i]), seed + int(i))
            errors = np.log([watts / p.power_w, gap_s / p.itl_s])
            replay[i] = [*errors, errors.sum()]
        spent += time.perf_counter() - start
    return Compared(direct, replay, spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", type=int, default=0, help="stop after so many architectures")
    arguments = parser.parse_args()
    root = env.data_dir()
    if root is None:
        print("WATTLANE_DATA is not set; it names the folder of tables", file=sys.stderr)
        return 1
    data, began = load(root), time.perf_counter()
    rows, found = data.rows, compared(data, arguments.groups, arguments.seed)
    direct, replay = found.direct, found.replay
    done = ~np.isnan(replay[:, 0])
    print(f"{done.sum()} configurations, {len(np.unique(rows.group[done]))} architectures, each left out of its law")
    for name in NAMES:
        missing = [f"{count} rows: {why}" for why, count in data.points[name].left_out.items()]
        print(f"  {name}: not replayed {'; '.join(missing) or 'none'}")
    print(f"\n{'':<39}  {'watts':>9}{'':>8}{'':>8}   {'J/output token':>17}")
    print(f"{'':<34}{'rows':>5}  " + "   ".join(f"{'median':>9}{'mean':>8}{'inside':>8}" for _ in range(2)))
    width = np.array(
        [[profile_for(gpu(n)).families["dense"].conformal[k].half_width_log for k in KINDS] for n in NAMES]
    )
    wide = width[rows.platform]
    experts = np.array([p.model.is_moe for p in rows.points])
    timed = np.array([p.task != "sourcegraph-fim" for p in rows.points])
    for at, name in enumerate(NAMES):
        mine = done & (rows.platform == at)
        parts = {name: mine, f"{name} dense": mine & ~experts, f"{name} experts": mine & experts}
        for words, use in {**parts, f"{name} without code completion": mine & timed}.items():
            print(line(f"{words}, asked directly", direct[use], wide[use]))
            print(line(f"{words}, replayed", replay[use], wide[use]), flush=True)
    apart = replay[done] - direct[done]
    for j, kind in ((0, "watts"), (1, "token gap"), (2, "J/token")):
        off = np.abs(np.expm1(apart[:, j]))
        print(f"replayed against asked directly, {kind}: median {np.median(off):.2%}, p95 {np.quantile(off, 0.95):.1%}")
    print(f"replays: {found.replays_s:.1f} s; all {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
