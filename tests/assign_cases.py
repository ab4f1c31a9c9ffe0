"""Small assignment cases and their optimum by looking at every plan, in formulas of their own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from wattlane.core.workload import Workload
from wattlane.model.laws.bilinear import BilinearFit, Side
from wattlane.plan.assign.ask import Ask
from wattlane.plan.assign.targets import Target

# Six digits, as printed in the released code of Wilkins 2024; energy in J, runtime in s.
PUBLISHED = {
    "Llama-2-7B": ((-3.894991, 31.522735, 0.042712), (-0.010021, 0.083515, 0.000107), 0.5097, 1),
    "Llama-2-13B": ((-6.794323, 56.008311, 0.072861), (-0.017357, 0.142605, 0.000185), 0.5569, 1),
    "Llama-2-70B": ((-12.0294, 414.8197, 0.3145), (-0.031204, 0.703173, 0.000533), 0.6452, 4),
}
RANGE = {"input_tokens": (8.0, 2048.0), "output_tokens": (8.0, 2048.0)}


def law(model: str, energy: Any, runtime: Any, **sides: Any) -> BilinearFit:
    return BilinearFit(model, Side(energy, **sides), Side(runtime), RANGE)


def published_targets(**more: Any) -> tuple[Target, ...]:
    return tuple(
        Target(name, law(name, energy, runtime), accuracy, gpus, **more)
        for name, (energy, runtime, accuracy, gpus) in PUBLISHED.items()
    )


def workload(tin: Any, tout: Any) -> Workload:
    return Workload(np.arange(len(tin), dtype=float), np.array(tin), np.array(tout), name="small")


def lengths(n: int, seed: int = 0) -> Workload:
    rng = np.random.default_rng(seed)
    return workload(rng.integers(8, 400, n), rng.integers(60, 900, n))


def random_targets(rng: np.random.Generator) -> tuple[Target, ...]:
    def one(k: int) -> Target:
        energy = (rng.uniform(0.01, 2), rng.uniform(1, 40), rng.uniform(0, 0.05))
        runtime = (rng.uniform(0.001, 0.01), rng.uniform(0.01, 0.3), rng.uniform(0, 1e-4))
        priced = {"usd_per_kwh": rng.uniform(0.1, 0.4), "usd_per_gpu_hour": rng.uniform(0, 3)}
        carbon = {"gco2e_per_kwh": rng.uniform(20, 500), "instances": int(rng.integers(1, 4))}
        accuracy, gpus = float(rng.choice([0.5, 0.6, 0.7])), int(rng.integers(1, 5))
        return Target(f"t{k}", law(f"m{k}", energy, runtime), accuracy, gpus, **priced, **carbon)

    return tuple(one(k) for k in range(3))


def random_workload(rng: np.random.Generator) -> Workload:
    n = int(rng.integers(3, 8))
    if rng.random() < 0.5:  # equal requests, so that kinds have counts
        return workload(rng.choice([50, 400], n), rng.choice([20, 300], n))
    return workload(rng.integers(1, 1500, n), rng.integers(1, 900, n))


def values(targets: tuple[Target, ...], w: Workload) -> dict[str, np.ndarray]:
    """Joules, seconds, accuracy, dollars, grams of every pair (K, n), by formulas written out once more."""
    tin, tout = w.input_tokens.astype(float), w.output_tokens.astype(float)

    def bilinear(c: tuple[float, float, float]) -> np.ndarray:
        return c[0] * tin + c[1] * tout + c[2] * tin * tout

    e = np.array([bilinear(t.law.energy_j.coefficients) for t in targets])
    r = np.array([bilinear(t.law.runtime_s.coefficients) for t in targets])
    column = {
        name: np.array([getattr(t, name) or 0.0 for t in targets])[:, None]
        for name in ("accuracy", "gpus", "usd_per_kwh", "usd_per_gpu_hour", "gco2e_per_kwh")
    }
    hours = r * column["gpus"] / 3600
    usd = e / 3.6e6 * column["usd_per_kwh"] + hours * column["usd_per_gpu_hour"]
    gco2e = e / 3.6e6 * column["gco2e_per_kwh"]
    return {"e": e, "r": r, "a": column["accuracy"] * (tin + tout), "h": hours, "usd": usd, "gco2e": gco2e}


def cost(targets: tuple[Target, ...], w: Workload, ask: Ask) -> np.ndarray:
    v = values(targets, w)

    def hat(x: np.ndarray) -> np.ndarray:
        if ask.normalisation == "max":
            return x / x.max()
        return (x - x.min()) / (x.max() - x.min()) if x.max() > x.min() else 0 * x

    z = ask.zeta
    return {
        "energy-accuracy": lambda: z * hat(v["e"]) - (1 - z) * hat(v["a"]),
        "energy-runtime": lambda: z * hat(v["e"]) + (1 - z) * hat(v["r"]),
        "joules": lambda: v["e"],
        "money": lambda: v["usd"],
        "carbon": lambda: v["gco2e"],
    }[ask.objective]()


def brute_force(
    targets: tuple[Target, ...], w: Workload, ask: Ask, counts: tuple[Any, Any] = (0, np.inf)
) -> float | None:
    """The least cost of any plan that keeps the ask; `counts` are least and most requests of each target."""
    v, c, n = values(targets, w), cost(targets, w, ask), len(w)
    plans = np.array(list(itertools.product(range(len(targets)), repeat=n)))
    at = np.arange(n)
    tokens = (w.input_tokens + w.output_tokens).astype(float)
    keeps = np.ones(len(plans), bool)
    for k, target in enumerate(targets):
        mine = plans == k
        least, most = np.broadcast_to(counts[0], 3)[k], np.broadcast_to(counts[1], 3)[k]
        keeps &= (mine.sum(axis=1) >= least) & (mine.sum(axis=1) <= most)
        if ask.gpu_hours is not None:
            keeps &= (mine * v["h"][k]).sum(axis=1) <= ask.gpu_hours[k] * (1 + 1e-9)
        if ask.finish_s is not None:
            keeps &= (mine * v["r"][k]).sum(axis=1) <= target.instances * ask.finish_s * (1 + 1e-9)
    if ask.energy_cap_j is not None:
        keeps &= v["e"][plans, at].sum(axis=1) <= ask.energy_cap_j * (1 + 1e-9)
    if ask.quality_floor is not None:
        keeps &= v["a"][plans, at].sum(axis=1) >= (ask.quality_floor - 1e-9) * tokens.sum()
    if ask.min_accuracy is not None:
        scores = np.array([t.accuracy for t in targets])
        keeps &= (scores[plans] >= ask.min_accuracy).all(axis=1)
    if ask.deadline_s is not None:
        keeps &= (v["r"][plans, at] <= ask.deadline_s).all(axis=1)
    found = c[plans, at].sum(axis=1)[keeps]
    return float(found.min()) if len(found) else None
