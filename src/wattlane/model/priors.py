"""What is believed of the phase law's parameters before any serving row is seen.

Centre, log sd of the mean over platforms, log sd of one platform's own deviation. Shares of peak are centred on
operator tables where there are any (`wattlane.model.kernel_efficiency`); joules per byte on HBM energies of 4 to 7 pJ a
bit with the caches on the way; all else is wide, in the range of published serving profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from wattlane.core.facts.gpus import Gpu
from wattlane.model.fit_phase import Prior
from wattlane.model.kernel_power import kernel_power_priors

PRIORS = {
    "eta_weights": Prior(0.80, 0.10, 0.05),
    "eta_kv": Prior(0.75, 0.20, 0.10),
    "eta_state": Prior(0.60, 0.30, 0.10),
    "eta_experts": Prior(0.70, 0.20, 0.10),
    "eta_flop": Prior(0.72, 0.10, 0.05),
    "eta_flop_fp8": Prior(0.50, 0.30, 0.10),
    "eta_expert_flop": Prior(0.25, 0.40, 0.10),
    "eta_attention": Prior(0.45, 0.30),
    "link_share": Prior(0.36, 0.15, 0.10),
    "host_s": Prior(1.5e-3, 0.8, 0.3),
    "host_per_seq_s": Prior(8.0e-6, 0.8, 0.3),
    "launch_per_layer_s": Prior(2.0e-5, 0.8, 0.3),
    "route_per_layer_s": Prior(4.0e-5, 0.6, 0.3),
    "comm_per_layer_s": Prior(1.6e-5, 0.5, 0.3),
    "sampling_passes": Prior(8.0, 0.7, 0.2),
    "pad_tokens": Prior(16.0, 0.7),
    "pad_block_tokens": Prior(64.0, 0.6),
    "imbalance": Prior(1.2, 0.3),
    "skew": Prior(1.0, 0.5),
    "busy_share": Prior(0.45, 0.40, 0.15),
    "host_share": Prior(0.20, 0.30, 0.10),
    "layer_share": Prior(0.35, 0.40, 0.10),
    "byte_j": Prior(5.0e-11, 0.20, 0.10),
    "flop_j": Prior(5.0e-13, 0.20, 0.10),
    "flop_fp8": Prior(0.60, 0.30, 0.10),
    "flop_experts": Prior(1.5, 0.5),
}
# What an engine, not a GPU, decides; another generation of software may be several times slower.
SOFTWARE = ("host_s", "host_per_seq_s", "launch_per_layer_s", "route_per_layer_s", "comm_per_layer_s")
OTHER_SOFTWARE_SD = 1.0
# Kernels for experts were rewritten between engine generations.
EXPERT_KERNELS = ("eta_experts", "eta_expert_flop", "pad_tokens", "flop_experts")
OTHER_KERNELS_SD = 0.5


def priors(kernels: Mapping[str, float] | None = None, *, other_software: bool = False) -> dict[str, Prior]:
    """Return the prior of one platform.

    Args:
        kernels: shares of peak found in operator tables, by parameter; they become the centres.
        other_software: whether its engine is of another generation than that of the other platforms.
    """
    out = {name: replace(prior, centre=(kernels or {}).get(name, prior.centre)) for name, prior in PRIORS.items()}
    if other_software:
        out |= {name: replace(out[name], own=OTHER_SOFTWARE_SD) for name in SOFTWARE}
        out |= {name: replace(out[name], own=OTHER_KERNELS_SD) for name in EXPERT_KERNELS}
    return out


def with_kernel_power(known: Mapping[str, Prior], board: Gpu) -> dict[str, Prior]:
    """Return priors with the law of kernel power on `board` as further evidence of watts and joules.

    Two independent beliefs of one log parameter are weighed by their precision; a platform's own deviation stays.
    """
    kernels = kernel_power_priors(board)
    (static_w, static_sd), (flop_j, flop_sd), (narrow_j, narrow_sd) = (
        kernels[name] for name in ("static_w", "flop_j", "flop_j_fp8")
    )
    found = {
        "busy_share": (static_w / board.tdp_w, static_sd),
        "byte_j": kernels["byte_j"],
        "flop_j": (flop_j, flop_sd),
        "flop_fp8": (narrow_j / flop_j, float(np.hypot(flop_sd, narrow_sd))),
    }
    out = dict(known)
    for name, (centre, sd) in found.items():
        before = known[name]
        mine, theirs = before.wide**-2, sd**-2
        log = (mine * np.log(before.centre) + theirs * np.log(centre)) / (mine + theirs)
        out[name] = replace(before, centre=float(np.exp(log)), wide=float((mine + theirs) ** -0.5))
    return out
