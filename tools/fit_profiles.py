"""Make the shipped profiles from the tables under WATTLANE_DATA: `python tools/fit_profiles.py`.

One joint fit of all platforms; operator tables give the centres of the shares of peak. The rows are read twice: as
steady serving (what H100 and the profiles carried over from it are made of) and by their measuring windows (B200, whose
sweeps go to batches the runs were too short for). `--report` prints instead how wrong the law is on architectures and
GPUs left out of the fit, beside a boosted tree and the median on the same folds; `--kernel-power` prints what the law
of kernel power does to that as prior of the joules (`kernel_power_report.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kernel_power_report import report_kernel_power
from left_out_report import report
from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import sha256
from wattlane.model.calibration import Points, read_v2, read_v3
from wattlane.model.fit_phase import POWER_SD, TIME_SD, PhaseFit, Prior, Table, fit_after, fit_phase, table
from wattlane.model.kernel_efficiency import kernel_efficiencies
from wattlane.model.laws.phase import PARAMETERS
from wattlane.model.leave_out import (
    KINDS,
    LEVEL,
    calibrated,
    columns,
    group_sd,
    half_widths,
    left_out,
    left_out_after,
    platform_left_out,
    within_sd,
)
from wattlane.model.priors import PRIORS, SOFTWARE, priors
from wattlane.model.profile import Conformal, Family, Profile, write_profile

UNTOLD = 0.97  # a posterior nearly as wide as the prior: the rows said little
NAMES, ENGINE = ("H100", "B200"), "vLLM 0.11.1"
IN_WINDOW = frozenset({"B200"})  # profiles made of rows read by their measuring window
OLDER, OLDER_ENGINE = "A100-40GB", "vLLM 0.5 (host-bound)"
LEAST_GROUPS = 3  # architectures a family needs for a spread of its own


@dataclass(frozen=True, eq=False)
class Data:
    """The measured platforms, their rows as tables, and what was believed before."""

    points: Mapping[str, Points]
    rows: Table  # of NAMES, read as steady serving
    window: Table  # the same rows, read by their measuring window
    priors: tuple[Mapping[str, Prior], ...]
    older: Table  # of OLDER, fitted after them
    older_prior: Mapping[str, Prior]
    hashes: Mapping[str, str]


def load(root: Path) -> Data:
    """Read the serving tables and the operator tables under `root`."""
    v3, v2 = (root / "energy" / f"ml-energy-{v}" / "configurations.csv" for v in ("v3", "v2"))
    kernels = root / "kernels" / "aiconfigurator"
    points = {name: read_v3(v3, name) for name in NAMES} | {OLDER: read_v2(v2, OLDER)}
    found = [priors(kernel_efficiencies(kernels, gpu(name))) for name in NAMES]
    return Data(
        points=points,
        rows=table([points[name].rows for name in NAMES]),
        window=table([read_v3(v3, name, window=True).rows for name in NAMES]),
        priors=tuple(found),
        older=table([points[OLDER].rows]),
        older_prior=priors(kernel_efficiencies(kernels, gpu("A100-80GB")), other_software=True),
        hashes={"ml-energy-v3": sha256(v3), "ml-energy-v2": sha256(v2)},
    )


def _origins(fit: PhaseFit, at: int) -> dict[str, str]:
    """Say of each parameter whether the rows told anything about it."""
    index = fit.hierarchy.index[at]
    before, after = (np.sqrt(np.diag(c)[index]) for c in (fit.hierarchy.covariance, fit.covariance))
    words = ["prior; no row told otherwise", "fitted, pooled over platforms"]
    return {n: words[int(a < UNTOLD * b)] for n, b, a in zip(PARAMETERS, before, after, strict=True)}


def _short(value: float) -> float:
    return round(float(value), 4)


def _residuals(fit: PhaseFit, rows: Table, out: np.ndarray, mine: np.ndarray) -> dict[str, object]:
    inside = np.abs(np.expm1(columns(*fit.errors(rows.rows(mine)))))
    left = np.abs(np.expm1(out[mine]))
    found: dict[str, object] = {"rows": int(mine.sum()), "architectures": len(np.unique(rows.group[mine]))}
    for prefix, errors in (("in_sample", inside), ("left_out", left)):
        for j, kind in enumerate(KINDS):
            found[f"{prefix}_median_ape_{kind}"] = _short(np.median(errors[:, j]))
    found["left_out_mean_ape_power"] = _short(left[:, 0].mean())
    found["latent"] = {name: round(value, 4) for name, value in fit.latent.items()}
    return found


def _conformal(rows: Table, out: np.ndarray, at: int, unseen: np.ndarray) -> dict[str, Conformal]:
    """Return half-widths of left-out architectures, and of architectures on a GPU left out as well."""
    use = rows.slow == 0
    own, units = calibrated(out, rows, at)
    abroad, architectures = half_widths(unseen[use], rows.group[use]), len(np.unique(rows.group[use]))
    found = {kind: Conformal(float(width), units) for kind, width in zip(KINDS, own, strict=True)}
    return found | {
        f"{kind}_unseen_gpu": Conformal(float(width), architectures) for kind, width in zip(KINDS, abroad, strict=True)
    }


def _family(
    rows: Table, fit: PhaseFit, out: np.ndarray, at: int, moe: bool, conformal: Mapping[str, Conformal]
) -> Family:
    mine = np.array([p.model.is_moe == moe for p in rows.points]) & (rows.platform == at)
    wide = mine if len(np.unique(rows.group[mine])) >= LEAST_GROUPS else rows.platform == at
    spread = np.maximum(group_sd(out[wide], rows.group[wide])[:2], (POWER_SD, TIME_SD))
    within = within_sd(out[wide], rows.group[wide])
    points = [rows.points[i] for i in np.flatnonzero(mine)]
    asked = {
        "batch": [p.batch for p in points],
        "active_params": [p.model.active_params for p in points],
        "num_gpus": [float(p.num_gpus) for p in points],
    }
    return Family(
        parameters=fit.parameters(at),
        origins=_origins(fit, at),
        covariance_log=fit.covariance_log(at),
        group_sd_time=float(spread[1]),
        group_sd_power=float(spread[0]),
        range={name: (min(values), max(values)) for name, values in asked.items()},
        residuals=_residuals(fit, rows, out, mine),
        precisions=tuple(sorted({p.precision for p in points})),
        deviation_sd={name: prior.own for name, prior in PRIORS.items() if prior.own},
        conformal=conformal,
        within_sd={kind: float(sd) for kind, sd in zip(KINDS, within, strict=True)},
    )


def unmeasured(name: str, donor: Profile, engine: Profile) -> Profile:
    """Return a profile of a GPU of the chip of `donor` with the software of `engine`: never measured, and said so."""
    families = {}
    own = np.array([donor.families["dense"].deviation_sd.get(n, 0.0) for n in PARAMETERS])
    soft = np.array([n in SOFTWARE for n in PARAMETERS])
    for kind, f in donor.families.items():
        other = engine.families[kind]
        covariance = np.where(soft[:, None] & soft[None, :], other.covariance_log, f.covariance_log)
        covariance = np.where(soft[:, None] != soft[None, :], 0.0, covariance) + np.diag(own**2)
        conformal = {k: f.conformal[f"{k}_unseen_gpu"] for k in KINDS}
        families[kind] = replace(
            f,
            parameters={n: (other if n in SOFTWARE else f).parameters[n] for n in PARAMETERS},
            origins={n: f"carried over from {(engine if n in SOFTWARE else donor).gpu}" for n in PARAMETERS},
            covariance_log=covariance,
            group_sd_time=2.0 * max(f.group_sd_time, other.group_sd_time),
            group_sd_power=2.0 * max(f.group_sd_power, other.group_sd_power),
            range=other.range,
            residuals={"latent": other.residuals["latent"]},
            precisions=other.precisions,
            conformal={**f.conformal, **conformal},
        )
    note = {
        "carried_over_from": donor.gpu,
        "measurements": f"none of {name}: chip of {donor.gpu}, software of {engine.gpu}, facts of {name}",
        "inputs": donor.provenance["inputs"],
    }
    return Profile(f"{name} vLLM", name, engine.engine, families, note, cold_start=True)


def _joint(rows: Table, priors: Sequence[Mapping[str, Prior]]) -> tuple[Table, PhaseFit, np.ndarray, np.ndarray]:
    """Return the rows, their fit, and the errors with the architecture, and the GPU as well, left out."""
    fit = fit_phase(rows, priors)
    return rows, fit, left_out(rows, priors, start=fit), platform_left_out(rows, priors, fit)


def fitted(data: Data) -> list[Profile]:
    """Return the profiles of the measured platforms, with their left-out errors and intervals."""
    kinds = {"dense": False, "moe": True}
    found = []
    steady = _joint(data.rows, data.priors)
    by_window = _joint(data.window, data.priors)
    for at, name in enumerate(NAMES):
        rows, fit, out, unseen = by_window if name in IN_WINDOW else steady
        widths = _conformal(rows, out, at, unseen)
        families = {kind: _family(rows, fit, out, at, moe, widths) for kind, moe in kinds.items()}
        found.append(Profile(f"{name} vLLM", name, ENGINE, families, _note(data, name)))
    rows, fit, out, unseen = steady
    widths = _conformal(rows, out, 0, unseen)
    later = fit_after(data.older, fit, data.older_prior)
    out = left_out_after(data.older, data.older_prior, rows, data.priors, fit)
    # too few architectures for conformal intervals of its own: those of a GPU left out, if its errors are not larger
    own = np.quantile(np.abs(out), LEVEL, axis=0)
    widths = {
        kind: Conformal(
            max(float(own[j]), widths[f"{kind}_unseen_gpu"].half_width_log), len(np.unique(data.older.group))
        )
        for j, kind in enumerate(KINDS)
    } | {name: width for name, width in widths.items() if name.endswith("_unseen_gpu")}
    families = {kind: _family(data.older, later, out, 0, moe, widths) for kind, moe in kinds.items()}
    return [*found, Profile(f"{OLDER} vLLM", OLDER, OLDER_ENGINE, families, _note(data, OLDER))]


def _note(data: Data, name: str) -> dict[str, object]:
    points = data.points[name]
    read = {"read": "by measuring windows"} if name in IN_WINDOW else {}
    return {"measurements": points.source, **read, "left_out_rows": points.left_out, "inputs": dict(data.hashes)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one profile a GPU into the package, or print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="print errors and coverage on what a fit never saw")
    parser.add_argument(
        "--kernel-power", action="store_true", help="print errors with kernel power as a prior, and not"
    )
    asked = parser.parse_args(arguments)
    root = env.data_dir()
    if root is None:
        sys.exit("set WATTLANE_DATA to the folder of measurements")
    data = load(root)
    if asked.report:
        report(data.rows, data.window, data.priors, NAMES, IN_WINDOW, data.older, data.older_prior, OLDER)
        return
    if asked.kernel_power:
        report_kernel_power(data.window, data.priors, NAMES, data.older, data.older_prior, OLDER)
        return
    made = fitted(data)
    by_name = {p.gpu: p for p in made}
    made += [
        unmeasured("H200", by_name["H100"], by_name["H100"]),
        unmeasured("A100-80GB", by_name["A100-40GB"], by_name["H100"]),
    ]
    out = Path(__file__).resolve().parent.parent / "src" / "wattlane" / "model" / "profiles"
    for profile in made:
        write_profile(profile, out / f"{profile.gpu.lower()}.json")
        for kind, f in profile.families.items():
            print(profile.gpu, kind, {k: v for k, v in f.residuals.items() if k != "latent"})


if __name__ == "__main__":
    main()
