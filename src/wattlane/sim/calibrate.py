"""Fit host constants and shares of peak to a measured run, and say how far off the rest of that run is then.

The replay has vLLM's scheduler with asynchronous scheduling: `scheduled` is when an iteration is planned, which is
when the one before it begins. Fitted are log parameters of the phase law, by least squares on the log ratios of time
per output token, scheduled to first token and end to end of the first half of the requests, in groups alike in load,
prompt and arrival, with the covariance of the profile as prior: what the run says nothing about stays where the profile
has it. All requests of the run are replayed, but stamps of the second half are looked at only to print the error.

A run given as `served.parquet` has no stamp of the scheduler: there the time to first token is fitted in its place, and
the engine is replayed as the file says it schedules (`wattlane.sim.served_run`).

The plain queue beside it has one slot for each sequence and a constant time per output token, the median of the same
first half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu
from wattlane.model import iteration as it
from wattlane.model.laws.phase import PARAMETERS, Case, law_vector
from wattlane.model.own_profile import chosen_profile
from wattlane.model.profile import Profile, write_profile
from wattlane.sim import paged, stamps
from wattlane.sim.against import Floats, Ints, Measured, Stamps, measured_runs, nrmse, plain_queue, read_run
from wattlane.sim.engine import layout as lay
from wattlane.sim.fleet_types import EngineSettings, Fleet, Pool
from wattlane.sim.served_run import read_served_run

HOST = ("host_s", "host_per_seq_s")
DEVICE = ("eta_flop", "eta_weights", "eta_kv")
PARALLEL = ("comm_per_layer_s", "link_share")
NOISE = {
    "tpot": 0.01,
    "scheduled_to_first": 0.05,
    "ttft": 0.05,
    "e2e": 0.01,
}  # log error of a half that no fit is blamed for
FURTHEST = 15.0  # in units of noise: errors of requests count up to there, further ones like their logarithm
GROUPS, LEAST_IN_GROUP = 12, 3
STEPS = (0.3, 0.1)  # of a log parameter, for differences: replays jump on finer scales, so coarse ones come first
SLOPE_STEP = 0.3  # for the slopes that say how well a parameter is known
MOST_STEPS = 15
Z95 = 1.96
OFFSET = 10.0  # makes relative steps of the solver absolute ones
LEAST_REQUESTS = 8
SERVED = "served.parquet"
# Arithmetic and the engine of a GPU that no measurement behind the profile is of; streaming memory carries over better.
UNSEEN_SD, BANDWIDTH = 0.7, ("eta_weights", "eta_kv")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fit to the first half of a run. `sd` and `prior_sd` are of log parameters; `errors` are of the second half."""

    measured: Measured
    profile: Profile
    fitted: Mapping[str, float]
    sd: Mapping[str, float]
    prior_sd: Mapping[str, float]
    before: Mapping[str, float]
    simulated: Stamps
    tokens_s: Floats
    label: str

    def as_dict(self) -> dict[str, Any]:
        """Return parameters and held-out errors as plain values; times in seconds, errors as shares."""
        m = self.measured
        told = {
            name: {
                "value": value,
                "profile": self.before[name],
                "sd_log": self.sd[name],
                "prior_sd_log": self.prior_sd[name],
                "lo": value * float(np.exp(-Z95 * self.sd[name])),
                "hi": value * float(np.exp(Z95 * self.sd[name])),
            }
            for name, value in self.fitted.items()
        }
        ticks = m.tick_s
        counted = np.searchsorted(self.tokens_s, np.stack([ticks - 1.0, ticks]), side="right")
        return {
            "run": m.name,
            "calibrated_on": self.label,
            "requests_held_out": len(m.workload) - len(m.workload) // 2,
            "parameters": told,
            "errors": held_out_errors(m, self.simulated),
            "running_nrmse": nrmse(self.simulated.running(ticks, m.stamps.is_scheduled), m.running),
            "tokens_per_s_nrmse": nrmse(np.diff(counted, axis=0)[0].astype(np.float64), m.tokens_per_s),
            "makespan_s": float(m.stamps.last_s.max()),
            "makespan_simulated_s": float(self.simulated.last_s.max()),
        }


def held_out_errors(measured: Measured, simulated: Stamps) -> dict[str, dict[str, float]]:
    """Return absolute percentage errors (as shares) over the second half of the requests, beside the plain queue's."""
    half = len(measured.workload) // 2
    real, found = measured.stamps.quantities(), simulated.quantities()
    queue = plain_queue(measured, float(np.nanmedian(real["tpot"][:half]))).quantities()
    rows = {}
    for name, values in real.items():
        m, s, q = values[half:], found[name][half:], queue[name][half:]
        known = ~np.isnan(m) & (m > 0)
        if not known.any():
            continue
        m, s, q = m[known], s[known], q[known]
        rows[name] = {
            "ape_median": float(np.median(np.abs(s - m) / m)),
            "ape_mean": float(np.mean(np.abs(s - m) / m)),
            "ape_median_queue": float(np.median(np.abs(q - m) / m)),
            "ape_mean_queue": float(np.mean(np.abs(q - m) / m)),
            "measured_p50_s": float(np.median(m)),
            "simulated_p50_s": float(np.median(s)),
        }
    return rows


def case_of(measured: Measured) -> Case:
    """Return what the law is asked about."""
    d = measured.deployment
    return Case(gpu(d.gpu), resolve_model(d.model), d.precision, d.tensor_parallel, d.clock_hz)


def replayed(measured: Measured, case: Case, parameters: Mapping[str, float]) -> tuple[Stamps, Floats]:
    """Return the stamps of the run as simulated, and when each token was produced, ascending.

    Raises:
        InputError: a request does not fit into the modelled KV cache.
    """
    d = measured.deployment
    block_tokens = engine_defaults("vllm", case.gpu).kv_block_tokens
    settings = replace(
        measured.settings or EngineSettings(schedule_ahead=True),
        kv_block_tokens=block_tokens,
        prefix_block_tokens=block_tokens,
    )
    law = law_vector(parameters, case)
    if d.power_cap_w is not None:
        law[it.LIMIT_W] = min(law[it.LIMIT_W], d.tensor_parallel * d.power_cap_w)
    pool = Pool(
        law,
        case.kv_capacity_tokens(d.gpu_memory_utilization),
        max_num_seqs=d.max_num_seqs,
        max_num_batched_tokens=d.max_num_batched_tokens,
        settings=settings,
    )
    run = paged.replay(measured.workload, Fleet((pool,)))
    if run.refused.any():
        raise InputError(f"{run.refused.sum()} requests of the measured run do not fit into the modelled KV cache")
    at, tokens_s = stamps.token_times(run)
    record = run.replicas[0].record
    starts, ends = record[:, lay.START_S], record[:, lay.END_S]
    joined = np.searchsorted(starts, run.begun_s)
    before = np.maximum(joined - 1, 0)
    ahead = settings.schedule_ahead & (ends[before] == starts[joined])
    planned = np.where(ahead, starts[before], starts[joined])
    arrival_s = measured.workload.arrival_s
    found = Stamps(
        arrival_s,
        np.maximum(planned, arrival_s),
        tokens_s[at[:-1]],
        tokens_s[at[1:] - 1],
        measured.workload.output_tokens,
    )
    return found, np.sort(tokens_s)


def parameters_for(case: Case) -> tuple[str, ...]:
    """Return what a run can tell: nothing of all-reduces where there are none."""
    return HOST + DEVICE + (PARALLEL if case.tensor_parallel > 1 else ())


def calibrate(
    measured: Measured, profile: Profile, held: Mapping[str, float] | None = None, label: str = "first half"
) -> Calibration:
    """Return the fit to the first half of `measured`, with the parameters in `held` fixed at their values.

    Raises:
        InputError: fewer than 8 requests, or a request does not fit into the modelled KV cache.
    """
    if len(measured.workload) < LEAST_REQUESTS:
        raise InputError(
            f"{measured.name}: {len(measured.workload)} requests; expected at least {LEAST_REQUESTS}, half of them "
            "to fit and half to see the error"
        )
    case, held = case_of(measured), held or {}
    family = profile.family(case)
    base = {**family.parameters, **held}
    names = tuple(name for name in parameters_for(case) if name not in held)
    prior = _prior(profile, case, names)
    root, groups = np.linalg.cholesky(prior), _groups(measured)

    def moved(y: Floats) -> dict[str, float]:
        found = {name: base[name] * float(np.exp(v)) for name, v in zip(names, y - OFFSET, strict=True)}
        # no kernel beats the peak it is a share of
        return {**base, **{n: min(v, 1.0) if n.startswith("eta_") else v for n, v in found.items()}}

    def residuals(y: Floats) -> Floats:
        simulated, _ = replayed(measured, case, moved(y))
        return np.concatenate([_distances(measured, groups, simulated), np.linalg.solve(root, y - OFFSET)])

    fitted, sd = base, {}
    if names:
        y = np.full(len(names), OFFSET)
        for step in STEPS:
            solution = least_squares(residuals, y, diff_step=step / OFFSET, max_nfev=MOST_STEPS, ftol=1e-3, xtol=1e-4)
            y = solution.x
        fitted = moved(y)
        slopes = [
            (residuals(y + step) - residuals(y - step)) / (2 * SLOPE_STEP) for step in SLOPE_STEP * np.eye(len(y))
        ]
        posterior = np.asarray(np.linalg.inv(np.array(slopes) @ np.array(slopes).T), dtype=np.float64)
        sd = dict(zip(names, np.sqrt(np.diag(posterior)).tolist(), strict=True))
        profile = _with(profile, case, names, fitted, posterior)
    simulated, tokens_s = replayed(measured, case, fitted)
    return Calibration(
        measured,
        profile,
        {name: fitted[name] for name in names},
        sd,
        dict(zip(names, np.sqrt(np.diag(prior)).tolist(), strict=True)),
        {name: family.parameters[name] for name in names},
        simulated,
        tokens_s,
        label,
    )


def carried(source: Calibration, measured: Measured, profile: Profile) -> tuple[Calibration, Calibration]:
    """Return what `source` makes of another run: with all it fitted and nothing else, and with its host constants
    fixed and the rest fitted to the first half of the other run."""
    case = case_of(measured)
    rest = {name: profile.family(case).parameters[name] for name in parameters_for(case)}
    whole = calibrate(measured, profile, {**rest, **source.fitted}, f"all constants of {source.measured.name}")
    host = {name: source.fitted[name] for name in HOST}
    return whole, calibrate(measured, profile, host, f"host constants of {source.measured.name}, then the first half")


def _groups(measured: Measured) -> list[tuple[str, float, list[Ints]]]:
    """Return what is compared: quantity, its noise, and rows of the first half in groups of what it depends on.

    One request is an iteration early or late in a replay that is otherwise right, the mean of a group hardly: so
    differences between two values of a parameter show what the parameter does.
    """
    half = len(measured.workload) // 2
    m = measured.stamps.first(half)
    middle_s = (m.first_s + m.last_s) / 2
    prompts = measured.workload.input_tokens[:half]
    along = {
        "tpot": m.running(middle_s),
        "scheduled_to_first": prompts,
        "ttft": prompts,
        "e2e": np.arange(half),
    }
    found = []
    for name, noise in NOISE.items():
        if name == "ttft" and m.is_scheduled:
            continue  # that of a queue is its length, which says the same as the ends
        real = m.quantities()[name]
        rows = np.flatnonzero(~np.isnan(real) & (real > 0))
        rows = rows[np.argsort(along[name][rows], kind="stable")]
        found.append((name, noise, np.array_split(rows, min(GROUPS, max(len(rows) // LEAST_IN_GROUP, 1)))))
    return found


def _distances(measured: Measured, groups: list[tuple[str, float, list[Ints]]], simulated: Stamps) -> Floats:
    """Return the mean log error of each group in units of its noise; one far off counts less and less."""
    real, found = measured.stamps.quantities(), simulated.quantities()
    parts = []
    for name, noise, rows in groups:
        scale = FURTHEST * noise
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.arcsinh(np.log(found[name] / real[name]) / scale) * scale
        parts += [off[group].mean() / (noise * np.sqrt(len(rows))) if len(group) else 0.0 for group in rows]
    return np.array(parts)


def _prior(profile: Profile, case: Case, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the covariance of log parameters of an engine and GPU the profile may never have seen."""
    family = profile.family(case)
    at = [PARAMETERS.index(name) for name in names]
    own = np.array([family.deviation_sd.get(name, 0.1) ** 2 for name in names])
    if profile.cold_start:
        own += np.array([0.0 if name in BANDWIDTH else UNSEEN_SD**2 for name in names])
    slower = np.array([-1.0 if name.startswith("eta_") or name == "link_share" else 1.0 for name in names])
    block = family.covariance_log[np.ix_(at, at)] + np.diag(own)
    return np.asarray(block + family.group_sd_time**2 * np.outer(slower, slower))


def _with(
    profile: Profile, case: Case, names: Sequence[str], fitted: Mapping[str, float], posterior: NDArray[np.float64]
) -> Profile:
    """Return the profile with what was fitted; its covariance with the other parameters is dropped."""
    family = profile.family(case)
    at = [PARAMETERS.index(name) for name in names]
    covariance = family.covariance_log.copy()
    covariance[at, :] = covariance[:, at] = 0.0
    covariance[np.ix_(at, at)] = posterior
    new = replace(
        family,
        parameters=fitted,
        origins={**family.origins, **dict.fromkeys(names, "calibrated to a measured run")},
        covariance_log=covariance,
    )
    kind = "moe" if case.model.is_moe else "dense"
    name = f"{profile.name.removesuffix(' (calibrated)')} (calibrated)"
    return replace(profile, name=name, families={**profile.families, kind: new})


def read_runs(place: Path, given: Mapping[str, Any]) -> list[Measured]:
    """Return the runs at `place`: a `served.parquet`, those below a folder, or an engine's logs below it."""
    if place.is_file():
        return [read_served_run(place, given)]
    files = sorted(place.rglob(SERVED))
    if files and not any(place.rglob("meta.json")):
        return [read_served_run(file, given) for file in files]
    return [read_run(run, given.get("gpu")) for run in measured_runs(place)]


def calibrate_runs(
    place: str | Path,
    gpu_name: str | None = None,
    profile: str | Path | None = None,
    out: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[Calibration]:
    """Fit every measured run at `place`, and carry the constants of the first to each of the others.

    Args:
        place: as for `wattlane.sim.compare`, or a `served.parquet`, or a folder with some below.
        gpu_name: the GPU measured on; without it the files or a folder of the path must name one.
        profile: a profile file to begin with, instead of the shipped one of the GPU.
        out: where the profile calibrated to the first run is written.
        given: further fields of `Deployment` that a `served.parquet` has no word of beside it.

    Raises:
        InputError: no run is found, a file is wrong, or a run is too short.
    """
    runs = read_runs(Path(place), {"gpu": gpu_name, **(given or {})})
    profiles = [chosen_profile(gpu(run.deployment.gpu), profile) for run in runs]
    found = [calibrate(run, prior) for run, prior in zip(runs, profiles, strict=True)]
    if out is not None:
        write_profile(found[0].profile, Path(out))
    for run, prior in zip(runs[1:], profiles[1:], strict=True):
        found += carried(found[0], run, prior)
    return found
