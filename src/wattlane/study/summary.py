"""summary.json: the answer of a study with everything a reader needs to judge it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from wattlane.core.provenance import Provenance
from wattlane.model.clock import SOURCE as CLOCK_SOURCE
from wattlane.plan.deploy import commands
from wattlane.plan.knobs import Step
from wattlane.plan.scenario import CAUTION, saving
from wattlane.plan.uncertainty import BLOCK_S, LEVEL, Draws
from wattlane.study.money import factors_used, month
from wattlane.study.setting import Setting
from wattlane.study.side import Side, in_numbers, ledger_in_numbers
from wattlane.workload import describe

DAY_S = 86400.0
SAVING, NONE_SHOWN = "saving", "no saving shown"
# Columns of the draws: deployment 0 is the baseline, savings are of the others in this order.
PLAN, WITHOUT_CLOCKS, TUNED = 0, 1, 2


def summarise(
    setting: Setting,
    sides: dict[str, Side],
    draws: Draws,
    steps: list[Step],
    provenance: Provenance,
) -> dict[str, Any]:
    """Return the content of summary.json.

    `sides` holds "baseline", "plan", "without_clocks" and "tuned_baseline".
    """
    base, plan, free, tuned = (sides[k] for k in ("baseline", "plan", "without_clocks", "tuned_baseline"))
    interval = draws.interval(PLAN)
    factors = factors_used(setting.study.factors)
    horizon_s = plan.end_s - float(setting.scenario.workload.arrival_s[0])
    tuned_savings = 1.0 - draws.energy_j[:, 1 + PLAN] / draws.energy_j[:, 1 + TUNED]
    tuned_interval = [_quantile(tuned_savings, (1 - LEVEL) / 2), _quantile(tuned_savings, (1 + LEVEL) / 2)]
    return {
        "scenario": _scenario(setting, horizon_s),
        "baseline": in_numbers(base),
        "plan": in_numbers(plan),
        "without_clocks": in_numbers(free),
        "tuned_baseline": in_numbers(tuned),
        "saving_fraction": saving(base.score, plan.score),
        "saving_interval": list(interval),
        "verdict": verdict(interval),
        "saving_without_clocks": saving(base.score, free.score),
        "saving_without_clocks_interval": list(draws.interval(WITHOUT_CLOCKS)),
        "verdict_without_clocks": verdict(draws.interval(WITHOUT_CLOCKS)),
        "saving_against_tuned": saving(tuned.score, plan.score),
        "saving_against_tuned_interval": tuned_interval,
        "verdict_against_tuned": verdict((tuned_interval[0], tuned_interval[1])),
        "knobs": [_step(s) for s in steps],
        **_certainty(draws, setting.study.slo.attainment),
        "ledger": {name: ledger_in_numbers(s.ledger) for name, s in sides.items()},
        "ledger_residual_j": plan.ledger.residual_j,
        "per_month": {
            "factors": factors,
            "with_privileged": month(*_saved_j(base, plan), factors),
            "without_privileged": month(*_saved_j(base, free), factors),
        },
        "commands": commands(
            base.score.deployment,
            plan.score.deployment,
            free.score.deployment,
            setting.defaults,
            setting.present,
        ),
        "assumptions": assumptions(setting),
        "warnings": warnings(setting, draws, base, plan),
        "law": _law(setting),
        "provenance": provenance.as_dict(),
    }


def _certainty(draws: Draws, target: float) -> dict[str, Any]:
    """Return how sure attainment and saving are, and what the spread of the saving goes with."""
    columns = (("baseline", 0), ("plan", 1 + PLAN), ("without_clocks", 1 + WITHOUT_CLOCKS))
    return {
        "attainment_interval": {name: list(draws.attainment_interval(column)) for name, column in columns},
        "slo_kept_share": {name: draws.kept_share(column, target) for name, column in columns},
        "uncertainty": {
            "draws": len(draws.savings),
            "level": LEVEL,
            "method": "paired draws of the law (parameters, unseen architecture, idle, clock prior) x resampling of "
            f"the arrivals in equal blocks of at most {BLOCK_S:.0f} s; baseline and plan replayed under the same draw",
            "parts": draws.parts(PLAN),
        },
    }


def verdict(interval: tuple[float, float]) -> str:
    """Return "saving" if the whole interval is above zero, else "no saving shown": the plan is a tie."""
    return SAVING if interval[0] > 0.0 else NONE_SHOWN


def _quantile(values: Any, q: float) -> float:
    return float(np.quantile(values, q))


def _saved_j(before: Side, after: Side) -> tuple[float, float]:
    """Return the joules saved and the seconds in which they are: first arrival to the later last token."""
    end_s = max(before.score.last_end_s, after.score.last_end_s)
    return before.score.energy_j(end_s) - after.score.energy_j(end_s), end_s - before.score.start_s


def _step(step: Step) -> dict[str, Any]:
    body = asdict(step)
    return {"knob": body.pop("knob"), "from": body.pop("before"), "to": body.pop("after"), **body}


def _scenario(setting: Setting, horizon_s: float) -> dict[str, Any]:
    study = setting.study
    return {
        "name": study.name,
        "model": study.serving.model,
        "gpu": setting.scenario.case.gpu.name,
        "precision": setting.scenario.case.precision,
        "tensor_parallel": setting.scenario.case.tensor_parallel,
        "engine": setting.defaults.engine,
        "engine_version": setting.defaults.version,
        "seed": study.seed,
        "horizon_s": horizon_s,
        "slo": study.slo.model_dump(),
        "workload": {
            "name": setting.scenario.workload.name,
            "source": setting.source,
            **{k: v for k, v in describe(setting.scenario.workload).items() if k != "per_minute"},
        },
    }


def _law(setting: Setting) -> dict[str, Any]:
    profile, case = setting.scenario.profile, setting.scenario.case
    family = profile.family(case)
    return {
        "name": "phase",
        "profile": profile.name,
        "engine": profile.engine,
        "cold_start": profile.cold_start,
        "group_sd_time": family.group_sd_time,
        "group_sd_power": family.group_sd_power,
        "residuals": dict(family.residuals),
        "provenance": dict(profile.provenance),
    }


def assumptions(setting: Setting) -> list[str]:
    """Return what the numbers rest on, in sentences."""
    case = setting.scenario.case
    board = case.gpu
    drawn = [f"The requests are {note}." for note in setting.notes] if setting.from_shape else []
    return [
        *drawn,
        "Boundary: GPU boards. Hosts, fans and power supplies are outside; the monthly figures apply the stated PUE.",
        "Every energy here is modelled by a law fitted to published serving measurements, not metered on your cards.",
        "Energy of waiting replicas is included; a replica that is not needed is taken as switched off.",
        f"A loaded, waiting replica draws {board.idle_loaded_w:.0f} W "
        f"[{board.idle_loaded_w_lo:.0f}, {board.idle_loaded_w_hi:.0f}] per GPU ({board.sources['idle_loaded_w']}).",
        f"Effects of the clock: {CLOCK_SOURCE}.",
        "Requests run to their recorded length; a prefix cache is credited only where the workload has cached_tokens.",
        "KV blocks are reserved at admission; nothing is preempted. Routing is round robin.",
        f"A plan keeps the SLO at the best estimate and also under a law as slow as the {CAUTION:.0%} quantile of its "
        "uncertainty (parameters, unseen architecture, clock prior).",
        "Both runs are charged from the first arrival to the later last completion, idle included.",
        f"Baseline: {setting.defaults.title} {setting.defaults.version} defaults unless its command says otherwise, "
        "maximum clock, immediate release, the fewest replicas that keep the SLO (or the number the study file gives).",
    ]


def warnings(setting: Setting, draws: Draws, baseline: Side, plan: Side) -> list[str]:
    """Return what a reader should not overlook."""
    # what a shape is drawn from is an assumption; what was left out of a trace is a warning
    found = [] if setting.from_shape else list(setting.notes)
    profile, case = setting.scenario.profile, setting.scenario.case
    outside = profile.outside(case, plan.run.mean_batch)
    if outside:
        found.append(f"outside the law's calibrated range: {'; '.join(outside)}")
    if baseline.score.attainment < setting.scenario.slo.attainment:
        found.append(
            f"the baseline reaches {baseline.score.attainment:.2%} attainment and misses its SLO, which "
            "the plan keeps: the two do not do the same work"
        )
    kept = draws.kept_share(1 + PLAN, setting.scenario.slo.attainment)
    if kept < CAUTION:
        found.append(
            f"the plan keeps its SLO in {kept:.0%} of the draws of law and arrivals: confirm it on one replica before "
            "rolling it out"
        )
    if setting.scenario.workload.span_s < DAY_S:
        found.append(
            f"the workload spans {_duration(setting.scenario.workload.span_s)}; a month is taken to be like it"
        )
    return found


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
