"""Make the shipped law of kernel power from the tables under WATTLANE_DATA: `python tools/fit_kernel_power.py`.

Only rows of 0.3 ms and longer below 95 % of the power limit are fitted, each family by itself, the meter beside the
law. What the phase law takes as priors is the mean of the families in logs; their spread is the log sd. Mixtures of
experts are left out of it: their rows tell a level and no slope.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wattlane.core import env
from wattlane.core.files import sha256
from wattlane.model.fit_kernel_power import fit_family, left_out
from wattlane.model.kernel_power import FITTED_GPU, KernelPower, KernelPowerLaw, write_kernel_power
from wattlane.model.kernel_work import FAMILIES, read_rows, table_path

TARGET = Path(__file__).parent.parent / "src" / "wattlane" / "model" / "kernel_power.json"
FOLDER = Path("kernels") / "aiconfigurator" / "h200_sxm"
DATE = "2026-11-21"
LEAST_LOG_SD = 0.1
# Families each prior is the mean of.
PRIORS = {
    "static_w": ("gemm_bf16", "gemm_fp8", "context_attention", "generation_attention"),
    "byte_j": ("gemm_bf16", "gemm_fp8", "context_attention", "generation_attention"),
    "flop_j": ("gemm_bf16", "context_attention", "generation_attention"),
}


def short(value: float) -> float:
    """Round to four significant digits: what a file needs."""
    return float(f"{value:.4g}")


def priors(families: Mapping[str, KernelPower]) -> dict[str, tuple[float, float]]:
    """Return parameter → (centre, log sd) from the fitted families."""
    found = {}
    for name, of in PRIORS.items():
        logs = np.log([getattr(families[f], name) for f in of])
        found[name] = (short(np.exp(logs.mean())), short(max(float(logs.std(ddof=1)), LEAST_LOG_SD)))
    # one family in 8 bit: its spread is that of the others
    found["flop_j_fp8"] = (families["gemm_fp8"].flop_j, found["flop_j"][1])
    return found


def main() -> int:
    """Fit every family and write the file."""
    data = env.data_dir()
    if data is None:
        print("WATTLANE_DATA is not set; it names the folder of tables", file=sys.stderr)
        return 1
    root = data / FOLDER
    families, residuals, inputs, limits = {}, {}, {}, set[float]()
    for name in FAMILIES:
        rows = read_rows(root, name)
        fit = fit_family(rows)
        which, error = left_out(rows)
        families[name] = KernelPower(**{k: short(getattr(fit.law, k)) for k in KernelPower.__slots__})
        ape = np.abs(np.expm1(error))
        residuals[name] = {
            "rows": len(which),
            "shapes": len(np.unique(rows.groups[which])),
            "left_out_mape": short(float(ape.mean())),
            "left_out_median_ape": short(float(np.median(ape))),
        }
        limits |= set(np.unique(rows.limit_w[which]).tolist())
        inputs[table_path(root, name).name] = sha256(table_path(root, name))
        print(f"{name:<22} {len(which):>6} rows, left-out shapes {ape.mean():.1%}: {families[name]}")
    provenance = {
        "gpu": FITTED_GPU,
        "limit_w": max(limits),
        "source": "operator tables of ai-dynamo/aiconfigurator, NVIDIA H200, vLLM 0.22.0 (Apache-2.0)",
        "date": DATE,
        "rows": "0.3 ms and longer, below 95 % of the power limit",
        "inputs": dict(sorted(inputs.items())),
    }
    write_kernel_power(KernelPowerLaw(families, priors(families), residuals, provenance), TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
