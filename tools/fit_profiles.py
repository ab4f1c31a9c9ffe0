"""Make the shipped profiles from the tables under WATTLANE_DATA: `python tools/fit_profiles.py`.

Serving tables give host, power and what the kernels' efficiencies become in an engine; operator tables give the priors.
Each family is also fitted with one architecture left out at a time; those errors are what a profile reports.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import sha256
from wattlane.model.calibration import Point, Points, read_v2, read_v3
from wattlane.model.fit_phase import POWER_SD, TIME_SD, PhaseFit, errors, fit_phase
from wattlane.model.kernel_efficiency import kernel_efficiencies
from wattlane.model.laws.phase import PARAMETERS
from wattlane.model.profile import Family, Profile, write_profile

# Centre and log sd where no table speaks: wide, in the range of published serving profiles.
PRIOR = {
    "eta_weights": (0.80, 0.08),
    "eta_kv": (0.85, 0.12),
    "eta_flop": (0.75, 0.08),
    "eta_flop_fp8": (0.50, 0.15),
    "eta_attention": (0.45, 0.25),
    "eta_experts": (0.60, 0.50),
    "host_s": (1.5e-3, 0.8),
    "host_per_layer_s": (2.0e-5, 0.8),
    "host_per_seq_s": (8.0e-6, 0.8),
    "comm_per_layer_s": (3.0e-5, 0.5),
    "static_w": (200.0, 0.25),
    "byte_j": (8.0e-11, 0.4),
    "flop_j": (4.0e-13, 0.4),
}
ROBUST_ROWS = 6
UNTOLD = 0.99  # a posterior as wide as the prior: the rows said nothing


def family(points: Sequence[Point], prior: Mapping[str, tuple[float, float]], sources: Mapping[str, str]) -> Family:
    """Fit one family and its leave-one-architecture-out errors."""
    fit = fit_phase(points, prior)
    groups = sorted({p.group for p in points})
    left_out_time, left_out_power, group_bias = [], [], []
    for name in groups:
        rest, held = [p for p in points if p.group != name], [p for p in points if p.group == name]
        if not rest:
            continue
        part = fit_phase(rest, prior)
        t, w = errors(part.parameters, part.latent, held)
        left_out_time.append(np.abs(np.expm1(t)))
        left_out_power.append(np.abs(np.expm1(w)))
        group_bias.append((t.mean(), w.mean()))
    return _family(points, fit, prior, sources, groups, left_out_time, left_out_power, group_bias)


def _family(
    points: Sequence[Point],
    fit: PhaseFit,
    prior: Mapping[str, tuple[float, float]],
    sources: Mapping[str, str],
    groups: list[str],
    left_out_time: list[np.ndarray],
    left_out_power: list[np.ndarray],
    group_bias: list[tuple[float, float]],
) -> Family:
    bias = np.array(group_bias) if group_bias else np.full((1, 2), 0.15)
    # a few architectures may agree by chance; a new one is never surer than a row is
    spread = np.maximum(np.sqrt((bias**2).mean(axis=0)), (TIME_SD, POWER_SD))
    times = np.concatenate(left_out_time) if left_out_time else np.array([np.nan])
    powers = np.concatenate(left_out_power) if left_out_power else np.array([np.nan])

    def short(value: float) -> float | None:
        return None if np.isnan(value) else round(float(value), 4)

    return Family(
        parameters=fit.parameters,
        origins=_origins(fit, prior, sources),
        covariance_log=fit.covariance_log,
        group_sd_time=float(spread[0]),
        group_sd_power=float(spread[1]),
        range={
            "batch": (min(p.batch for p in points), max(p.batch for p in points)),
            "active_params": (min(p.model.active_params for p in points), max(p.model.active_params for p in points)),
            "num_gpus": (min(p.num_gpus for p in points), max(p.num_gpus for p in points)),
        },
        precisions=tuple(sorted({p.precision for p in points})),
        residuals={
            "rows": len(points),
            "architectures": len(groups),
            "in_sample_median_ape_itl": short(float(np.median(np.abs(np.expm1(fit.time_error))))),
            "in_sample_median_ape_power": short(float(np.median(np.abs(np.expm1(fit.power_error))))),
            "left_out_median_ape_itl": short(float(np.median(times))),
            "left_out_median_ape_power": short(float(np.median(powers))),
            "left_out_mean_ape_power": short(float(np.mean(powers))),
            "latent": {k: round(v, 3) for k, v in fit.latent.items()},
        },
    )


def _origins(fit: PhaseFit, prior: Mapping[str, tuple[float, float]], sources: Mapping[str, str]) -> dict[str, str]:
    """Say of each parameter whether the rows told anything about it, and where its prior came from."""
    after = np.sqrt(np.diag(fit.covariance_log))
    out = {}
    for name, sd in zip(PARAMETERS, after, strict=True):
        source = sources.get(name, "a wide range")
        told = sd < UNTOLD * prior[name][1]
        out[name] = f"fitted, prior from {source}" if told else f"prior from {source}; no row told otherwise"
    return out


def profile(name: str, engine: str, points: Points, kernel: Mapping[str, float], sources: Mapping[str, str]) -> Profile:
    """Fit both families of one GPU; the experts' prior is the dense fit, so that few rows suffice."""
    prior = {n: (kernel.get(n, centre), sd) for n, (centre, sd) in PRIOR.items()}
    dense_rows = [p for p in points.rows if not p.model.is_moe]
    moe_rows = [p for p in points.rows if p.model.is_moe]
    dense = family(dense_rows, prior, dict.fromkeys(kernel, "operator tables"))
    pooled = {n: (dense.parameters[n], max(PRIOR[n][1], 0.2)) for n in PARAMETERS} | {
        "eta_experts": PRIOR["eta_experts"]
    }
    families = {"dense": dense}
    if len(moe_rows) >= ROBUST_ROWS:
        families["moe"] = family(moe_rows, pooled, {n: "the dense fit" for n in PARAMETERS if n != "eta_experts"})
    note = {"measurements": points.source, "left_out_rows": points.left_out, "inputs": dict(sources)}
    return Profile(f"{name} vLLM", name, engine, families, note)


def main() -> None:
    """Write one profile a GPU into the package."""
    root = env.data_dir()
    if root is None:
        sys.exit("set WATTLANE_DATA to the folder of measurements")
    v3, v2 = (root / "energy" / f"ml-energy-{v}" / "configurations.csv" for v in ("v3", "v2"))
    kernels = root / "kernels" / "aiconfigurator"
    out = Path(__file__).resolve().parent.parent / "src" / "wattlane" / "model" / "profiles"
    hashes = {"ml-energy-v3": sha256(v3), "ml-energy-v2": sha256(v2)}
    jobs = [
        ("H100", "vLLM 0.11.1", read_v3(v3, "H100"), "H100"),
        ("B200", "vLLM 0.11.1", read_v3(v3, "B200"), "B200"),
        ("A100-40GB", "vLLM 0.5 (host-bound)", read_v2(v2, "A100-40GB"), "A100-80GB"),
    ]
    for name, engine, points, table in jobs:
        kernel = kernel_efficiencies(kernels, gpu(table))
        made = profile(name, engine, points, kernel, hashes)
        write_profile(made, out / f"{name.lower()}.json")
        for kind, f in made.families.items():
            print(name, kind, f"time sd {f.group_sd_time:.3f}, power sd {f.group_sd_power:.3f}", dict(f.residuals))
            print("  ", {n: float(f"{v:.3g}") for n, v in f.parameters.items()})


if __name__ == "__main__":
    main()
