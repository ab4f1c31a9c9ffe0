"""A configuration plan: what to run in each bin, what it promises, what the trace makes of it, and its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from wattlane.core.files import write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.plan.configure import classes, performance
from wattlane.plan.configure.baseline import Baseline
from wattlane.plan.configure.performance import Row
from wattlane.plan.configure.problem import Problem
from wattlane.plan.configure.setting import Setting
from wattlane.plan.configure.solve import Found
from wattlane.plan.configure.verify import Verified

KIND = "configuration"


@dataclass(frozen=True, eq=False)
class Plan:
    """The best pooling's plan; every energy is modelled, at the boundary of the GPU boards."""

    setting: Setting
    pooling: str
    rows: Sequence[Row]
    problem: Problem
    found: Found
    certified_bound: float
    verified: Verified
    rounds: int
    margins: tuple[float, ...]
    baseline: Baseline | None
    other_poolings: dict[str, float | None]
    under: dict[str, Verified]
    seconds: dict[str, float]
    provenance: Provenance

    @property
    def saving_fraction(self) -> float | None:
        """1 − plan ÷ baseline, both replayed on the trace; None without a baseline that keeps the SLOs."""
        return None if self.baseline is None else 1.0 - self.verified.energy_j / self.baseline.verified.energy_j

    def as_dict(self) -> dict[str, Any]:
        """Return the content of plan.json."""
        p, f, asked = self.problem, self.found, self.setting.asked
        pools = [pool.name for pool in self.setting.pools(self.pooling)]
        return {
            "name": asked.name,
            "origin": "modelled",
            "boundary": "gpu",
            "objective": f.cost.total,
            "least": asked.objective.least,
            "bound": f.bound,
            "gap": f.gap,
            "certified_bound": self.certified_bound,
            "relaxation_bound": f.relaxation_bound,
            "status": f.status.value,
            "energy_j": f.cost.energy_j,
            "cost": {**asdict(f.cost), "total": f.cost.total},
            "pooling": self.pooling,
            "other_poolings": self.other_poolings,
            "pools": pools,
            "bounds": asdict(self.setting.bounds),
            "slos": {n: _finite(asdict(s)) for n, s in zip(classes.NAMES, self.setting.slos, strict=True)},
            "left_alone": list(self.setting.left_alone),
            "modes": len(p.modes),
            "modes_undominated": f.modes_kept,
            "configurations": len(self.setting.options),
            "verified": asdict(self.verified),
            "verify_rounds": self.rounds,
            "margins": list(self.margins),
            "baseline": None if self.baseline is None else _baseline(self.baseline),
            "saving_fraction": self.saving_fraction,
            "under": {name: asdict(v) for name, v in self.under.items()},
            "problem": {
                "bin_s": p.bin_s,
                "demand_per_s": p.demand_per_s.tolist(),
                "gpu": [b.name for b in self.setting.boards],
                "site": [section.site for section in asked.fleet],
                "gpu_count": p.gpu_count.tolist(),
                "parked_w": p.parked_w.tolist(),
                "wake_j": p.wake_j.tolist(),
                "start_j": p.start_j.tolist(),
                "shape_gpu": p.shape_gpu.tolist(),
                "cap_w": [None if np.isinf(w) else float(w) for w in p.cap_w],
                "per_j": p.per_j.tolist(),
                "per_gpu_bin": p.per_gpu_bin.tolist(),
                "running": p.running.tolist(),
            },
            "prices": {
                "gpu": f.prices.gpu.tolist(),
                "watt": f.prices.watt.tolist(),
                "start": f.prices.start.tolist(),
                "wake": f.prices.wake.tolist(),
            },
            "provenance": self.provenance.as_dict(),
        }

    def counts_table(self) -> pl.DataFrame:
        """Return what runs: one row a (bin, mode) with instances, `mode` a row of map.parquet."""
        t, m = np.nonzero(self.found.counts)
        return pl.DataFrame({"bin": t, "mode": m, "instances": self.found.counts[t, m]})

    def write(self, folder: Path) -> None:
        """Write plan.json, map.parquet, counts.parquet and provenance.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        names = [pool.name for pool in self.setting.pools(self.pooling)]
        write_parquet(folder / "map.parquet", "map", performance.table(self.rows, self.setting.options, names))
        write_parquet(folder / "counts.parquet", "counts", self.counts_table())
        write_json(folder / "plan.json", KIND, self.as_dict())
        write_beside(folder, self.provenance, self.seconds)

    def lines(self) -> Iterator[str]:
        """Yield the plan in words."""
        f, asked = self.found, self.setting.asked
        unit = {"energy": "J", "carbon": "gCO2e", "money": "USD"}[asked.objective.least]
        yield f"{asked.name}: {f.cost.total:,.4g} {unit}, within {f.gap:.2%} of the optimum of its map (modelled, GPU)"
        used = self.problem.gpus_used(f.counts)
        for g, section in enumerate(asked.fleet):
            mean, most = used[:, g].mean(), used[:, g].max()
            yield f"  {section.gpu} at {section.site}: {mean:.1f} of {section.count} in use on average, {most} at most"
        yield f"  pooling {self.pooling}: {', '.join(pool.name for pool in self.setting.pools(self.pooling))}"
        promised, replayed = f.cost.energy_j / 3.6e6, self.verified.energy_j / 3.6e6
        yield (
            f"  replayed on the trace: {replayed:,.4g} kWh (promised {promised:,.4g} kWh), "
            f"{self.verified.attained:.2%} of {self.verified.offered:,} requests in time"
        )
        if not self.verified.keeps:
            yield "  the replay misses the share of some class: raise demand.margin or add GPUs"
        if self.baseline is not None and self.saving_fraction is not None:
            b = self.baseline
            yield (
                f"  {self.saving_fraction:.1%} less energy than {b.instances} x {b.option.deployment.gpu} "
                f"{_split(b)} at maximum clock in one pool ({b.verified.attained:.2%} in time)"
            )
        for words in self.setting.left_alone:
            yield f"  left alone: {words}"


def _split(b: Baseline) -> str:
    d = b.option.deployment
    return f"TP{d.tensor_parallel}" + (f" PP{d.pipeline_parallel}" if d.pipeline_parallel > 1 else "")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {k: v if np.isfinite(v) else None for k, v in values.items()}


def _baseline(b: Baseline) -> dict[str, Any]:
    return {"deployment": asdict(b.option.deployment), "instances": b.instances, "verified": asdict(b.verified)}
