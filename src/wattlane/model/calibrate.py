"""Calibrate: a profile and a user's own runs give the user's own profile, and say first whether it is any better.

Before anything is predicted the runs are divided into folds, whole runs together (a single log: stretches of time).
Each fold is predicted by the profile as it was and by the profile updated with the other folds only; the errors of both
stand side by side. The profile that is written is updated with all runs. The update is `wattlane.model.update`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import sha256
from wattlane.model.calibrate_runs import WINDOW_S, Given, Run, Runs, read_runs
from wattlane.model.calibration import Point
from wattlane.model.laws.phase import Case
from wattlane.model.profile import Profile, profile_for, read_profile, write_profile
from wattlane.model.steady import effective_context, steady
from wattlane.model.update import update

FOLDS = 5
NOTICED = 0.01
KINDS = ("power", "itl", "energy")  # watts, token gap, J per output token


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of one kind on runs that were held out: median and mean APE and mean log bias, before and after."""

    before_median_ape: float
    after_median_ape: float
    before_mean_ape: float
    after_mean_ape: float
    before_bias: float
    after_bias: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The updated profile, held-out errors by kind (empty where runs are too few), and what was used."""

    profile: Profile
    errors: dict[str, Errors]
    runs: int
    points: int
    folds: int
    left_out: dict[str, int]

    @property
    def improves(self) -> bool:
        """Whether the held-out median error of J/token fell, and that of power and gap rose by 1 point at most."""
        if not self.errors:
            return False
        change = {kind: found.after_median_ape - found.before_median_ape for kind, found in self.errors.items()}
        return change["energy"] < 0.0 and max(change.values()) <= NOTICED

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "profile": self.profile.name,
            "held_out_errors": {kind: asdict(found) for kind, found in self.errors.items()},
            "improves": self.improves,
            "runs": self.runs,
            "points": self.points,
            "folds": self.folds,
            "left_out": self.left_out,
        }


def calibrate(profile: Profile, runs: Runs, *, name: str | None = None, files: Sequence[Path] = ()) -> Calibrated:
    """Return `profile` updated with `runs`, and its errors on held-out runs before and after.

    Args:
        profile: shipped, or calibrated before.
        runs: of the GPU of the profile.
        name: of the new profile; the old one's, marked updated, unless given.
        files: whose hashes go to the provenance.

    Raises:
        InputError: no points, or points of another GPU.
    """
    parts = folds(runs.runs)
    before, after = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for i, held in enumerate(parts if len(parts) > 1 else []):
        rest = [p for j, part in enumerate(parts) if j != i for p in part]
        before.append(log_errors(profile, held))
        after.append(log_errors(update(profile, rest), held))
    errors = {}
    if len(parts) > 1:
        old, new = np.concatenate(before), np.concatenate(after)
        errors = {kind: _errors(old[:, k], new[:, k]) for k, kind in enumerate(KINDS)}
    found = update(profile, runs.points)
    provenance = {
        **found.provenance,
        "calibrated_runs": len(runs.runs),
        "held_out_errors": {kind: {k: round(v, 4) for k, v in asdict(one).items()} for kind, one in errors.items()},
        "calibrated_from": {
            str(file.name if len(files) < 2 else Path(*file.parts[-3:])): sha256(file)
            for file in files
            if file.is_file()
        },
    }
    found = replace(found, name=name or found.name, provenance=provenance)
    return Calibrated(found, errors, len(runs.runs), len(runs.points), len(parts), runs.left_out)


def folds(runs: Sequence[Run]) -> list[list[Point]]:
    """Return the points in at most `FOLDS` parts: whole runs together, a single run by stretches of time."""
    if len(runs) > 1:
        parts: list[list[Point]] = [[] for _ in range(min(FOLDS, len(runs)))]
        for i, run in enumerate(runs):
            parts[i % len(parts)].extend(run.points)
        return parts
    points = list(runs[0].points) if runs else []
    count = min(FOLDS, len(points))
    return [list(part) for part in np.array_split(np.array(points, dtype=object), count)] if count > 1 else [points]


def log_errors(profile: Profile, points: Sequence[Point]) -> NDArray[np.float64]:
    """Return log(predicted / measured) of power, token gap and J/token, (n, 3)."""
    if not points:
        raise InputError("calibrate: found no points to judge a profile by")
    out = np.empty((len(points), 3))
    for i, p in enumerate(points):
        prompt = p.input_tokens if p.input_tokens is not None else 1.0
        context = effective_context(p.model, prompt + p.output_tokens / 2.0)
        found = steady(profile.law(p.case), p.batch, prompt, p.output_tokens, context)
        gap, power = np.log(found.iteration_s / p.itl_s), np.log(found.power_w / p.power_w)
        out[i] = power, gap, power + gap
    return out


def _errors(before: NDArray[np.float64], after: NDArray[np.float64]) -> Errors:
    old, new = np.abs(np.expm1(before)), np.abs(np.expm1(after))
    return Errors(
        float(np.median(old)), float(np.median(new)), float(old.mean()), float(new.mean()),
        float(before.mean()), float(after.mean()),
    )  # fmt: skip


def calibrate_files(
    paths: Sequence[Path],
    out: Path,
    *,
    profile: str,
    model: str,
    precision: str = "bf16",
    tensor_parallel: int = 1,
    power: Path | None = None,
    window_s: float = WINDOW_S,
    name: str | None = None,
) -> Calibrated:
    """Read runs, update a profile with them, write it to `out`, and return what was found.

    Args:
        paths: runs, campaigns or a request log, as `wattlane.model.calibrate_runs.read_runs` takes them.
        out: the profile file.
        profile: a profile file, or a GPU whose shipped profile is meant.
        model: of runs that do not say theirs.
        precision: of runs that do not say theirs.
        tensor_parallel: of runs that do not say theirs.
        power: the power record of a request log, watts of all GPUs of the replica.
        window_s: length of the windows a log is cut into.
        name: of the new profile.

    Raises:
        InputError: a name, a file or the window is wrong, or no run can be used.
    """
    if not window_s > 0:
        raise InputError(f"calibrate: window_s is {window_s}; expected seconds above 0")
    file = Path(profile)
    known = read_profile(file) if file.suffix == ".json" or file.is_file() else profile_for(gpu(profile))
    case = Case(gpu(known.gpu), resolve_model(model), precision, tensor_parallel)
    runs = read_runs(paths, Given(case, window_s), power=power)
    files = [p for path in paths for p in ([path] if path.is_file() else sorted(path.rglob("measurement.json")))]
    found = calibrate(known, runs, name=name, files=[*files, *([power] if power else [])])
    write_profile(found.profile, out)
    return found
