"""The main job: from a study file to a plan, its saving, how sure it is, and the files a page is made of.

Steps: workload → baseline → search → search without clocks → draws → write. Every point and draw is kept as it is
made, so that an interrupted study resumes; a finished one is returned as it is.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from wattlane.core.files import read_json, write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.served import write_served
from wattlane.core.types import Deployment
from wattlane.core.version import VERSION
from wattlane.model.jit import source_hash
from wattlane.model.regime import regimes
from wattlane.plan.knobs import path as knob_path
from wattlane.plan.scenario import Score
from wattlane.plan.search import Search, fewest_replicas_baseline, words
from wattlane.plan.uncertainty import Draws, Row, paired_draws
from wattlane.sim.export import power_series
from wattlane.study.checkpoint import Checkpoint, key_of
from wattlane.study.config import read_study
from wattlane.study.histogram import histogram
from wattlane.study.money import factors_used
from wattlane.study.setting import Setting, prepare
from wattlane.study.side import Side, side
from wattlane.study.summary import summarise
from wattlane.workload import describe

# step, what is done of it, of how many (0: unknown), words
Progress = Callable[[str, int, int, str], None]


def _silent(_step: str, _done: int, _of: int, _words: str) -> None:
    return


class Found(NamedTuple):
    """The four deployments a summary compares, and every point replayed on the way."""

    baseline: Score
    plan: Score
    without_clocks: Score
    tuned: Score
    points: tuple[Score, ...]


def run(
    study: str | Path,
    out: str | Path,
    *,
    trace: str | Path | None = None,
    seed: int | None = None,
    fresh: bool = False,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Run a study file into the folder `out` and return the content of its summary.json.

    Args:
        study: a TOML file, see examples/azure-conv.toml.
        out: folder of the results; earlier work of the same study in it is reused.
        trace: a trace file instead of the study's workload.
        seed: replaces the study's seed.
        fresh: forget earlier work.
        progress: called with (step, done, of, words).

    Raises:
        InputError: the study, the trace or a name in it is wrong.
        InfeasibleError: nothing in the search space keeps the SLO.
    """
    began = time.monotonic()
    study_path, folder = Path(study), Path(out)
    asked = read_study(study_path, {} if seed is None else {"seed": seed})
    progress("workload", 0, 1, "")
    setting = prepare(asked, study_path, Path(trace) if trace else None)
    progress("workload", 1, 1, repr(setting.scenario.workload))
    key = _key(setting)
    if fresh:
        shutil.rmtree(folder / ".progress", ignore_errors=True)
    kept = Checkpoint(folder, key)
    finished = folder / "summary.json"
    if kept.resumed and finished.is_file() and any(kept.lines("finished")):
        progress("done", 1, 1, f"{folder} holds this study already; --fresh runs it again")
        return read_json(finished, "summary")
    found = _search(setting, kept, progress)
    draws = _draws(setting, found, kept, progress)
    progress("write", 0, 1, "")
    _write(setting, found, draws, folder, study_path)
    write_beside(folder, _provenance(setting), {"study": time.monotonic() - began})
    kept.keep("finished", True)
    progress("write", 1, 1, str(folder))
    return read_json(finished, "summary")


def _key(setting: Setting) -> str:
    """Return a digest of everything the results depend on: the question, the inputs, the facts, the law, the code."""
    case, profile = setting.scenario.case, setting.scenario.profile
    law = [profile.name, dict(profile.family(case).parameters), dict(profile.provenance)]
    facts = [asdict(case), asdict(setting.defaults), factors_used(setting.study.factors)]
    asked = [setting.study.model_dump(mode="json"), setting.inputs, setting.source]
    return key_of([asked, facts, law, source_hash(), VERSION])


def _search(setting: Setting, kept: Checkpoint, progress: Progress) -> Found:
    scenario, template = setting.scenario, setting.template
    progress("baseline", 0, 1, "the fewest replicas of the baseline that keep the SLO")
    if setting.study.baseline.replicas is None:
        base = fewest_replicas_baseline(scenario, template, setting.space.max_replicas)
    else:
        base = scenario.score(template)
    progress("baseline", 1, 1, f"{words(base.deployment)}: attainment {base.attainment:.2%}")
    seen = {s.deployment: s for s in (_score(line) for line in kept.lines("points"))}

    def note(score: Score, points: int) -> None:
        kept.keep("points", asdict(score))
        progress("search", points, 0, words(score.deployment))

    search = Search(scenario, base, setting.space, note, seen)
    plan = search.run().best
    # the second search starts from the first one's points, so it replays little
    without = Search(scenario, base, setting.space.without_clocks(), note, seen, search.robust).run().best
    (tuned,) = search.scores([replace(plan.deployment, clock_hz=None, release_window_s=0.0)])
    return Found(base, plan, without, tuned, tuple(seen.values()))


def _score(line: dict[str, Any]) -> Score:
    return Score(**{**line, "deployment": Deployment(**line["deployment"])})


def _draws(setting: Setting, found: Found, kept: Checkpoint, progress: Progress) -> Draws:
    deployments = [s.deployment for s in (found.baseline, found.plan, found.without_clocks, found.tuned)]
    count = setting.study.uncertainty.draws
    known = {int(line["number"]): Row(**line["row"]) for line in kept.lines("draws")}

    def note(number: int, row: Row) -> None:
        kept.keep("draws", {"number": number, "row": row._asdict()})
        progress("draws", number + 1, count, "")

    progress("draws", len(known), count, "")
    return paired_draws(setting.scenario, deployments, count, setting.study.seed, known, note)


def _provenance(setting: Setting) -> Provenance:
    profile = setting.scenario.profile
    return Provenance(
        seed=setting.study.seed,
        inputs=setting.inputs,
        laws={"phase": profile.name, "kernel_sources": source_hash()},
    )


def _write(setting: Setting, found: Found, draws: Draws, folder: Path, study_path: Path) -> None:
    scenario = setting.scenario
    base, plan = found.baseline, found.plan
    end_s = max(base.last_end_s, plan.last_end_s)
    name = f"{setting.defaults.title} {setting.defaults.version}"
    # each pair that is compared is charged over its own horizon: first arrival to the later last token
    chosen = {
        "baseline": (f"{name} as it is" if setting.present else f"{name} defaults", base, end_s),
        "plan": ("plan", plan, end_s),
        "without_clocks": ("plan without privileged knobs", found.without_clocks, base.last_end_s),
        "tuned_baseline": ("the plan's batch limits, maximum clock, immediate release", found.tuned, plan.last_end_s),
    }
    sides = {
        key: side(label, scenario, score, max(until, score.last_end_s)) for key, (label, score, until) in chosen.items()
    }
    steps = knob_path(scenario, found.baseline, found.plan)
    body = summarise(setting, sides, draws, steps, _provenance(setting))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_bytes(study_path.read_bytes())
    write_served(folder / "served.parquet", sides["plan"].served)
    write_served(folder / "baseline-served.parquet", sides["baseline"].served)
    write_parquet(folder / "power.parquet", "power", _power(sides, end_s))
    write_parquet(folder / "frontier.parquet", "frontier", _frontier(setting, found, end_s))
    write_parquet(folder / "draws.parquet", "draws", _draws_table(draws))
    shown = describe(scenario.workload) | {"histogram": histogram(scenario.workload)}
    write_json(folder / "workload.json", "workload", shown)
    write_json(folder / "regimes.json", "regimes", _regimes(setting, sides["plan"]))
    write_json(folder / "summary.json", "summary", body)


def _regimes(setting: Setting, plan: Side) -> dict[str, Any]:
    """Return what each phase of the plan waits for, at its mean batch and the workload's mean lengths."""
    scenario = setting.scenario
    case = replace(scenario.case, clock_hz=plan.score.deployment.clock_hz)
    lengths = (float(tokens.mean()) for tokens in (scenario.workload.input_tokens, scenario.workload.output_tokens))
    prompt, output = (max(tokens, 1.0) for tokens in lengths)
    batch = max(plan.score.mean_batch, 1.0)
    found = regimes(case, batch=batch, input_tokens=prompt, output_tokens=output, profile=scenario.profile)
    return found.as_dict()


def _power(sides: dict[str, Side], end_s: float) -> pl.DataFrame:
    parts = [
        power_series(sides[name].run, end_s).with_columns(run=pl.lit(name)).select("run", "t_s", "power_w")
        for name in ("baseline", "plan")
    ]
    return pl.concat(parts)


def _frontier(setting: Setting, found: Found, end_s: float) -> pl.DataFrame:
    rows = []
    for s in found.points:
        d = s.deployment
        served = s.requests - s.refused
        rows.append(
            {
                "energy_j_per_request": s.energy_j(max(end_s, s.last_end_s)) / served if served else None,
                "ttft_p99_s": s.ttft_p99_s,
                "tbt_p99_s": s.tbt_p99_s,
                "slo_attainment": s.attainment,
                "feasible": s.attainment >= setting.scenario.slo.attainment,
                "max_num_seqs": d.max_num_seqs,
                "max_num_batched_tokens": d.max_num_batched_tokens,
                "replicas": d.replicas,
                "clock_hz": d.clock_hz,
                "release_window_s": d.release_window_s,
            }
        )
    keys = ["replicas", "max_num_batched_tokens", "max_num_seqs", "clock_hz", "release_window_s"]
    return pl.DataFrame(rows, schema_overrides={"clock_hz": pl.Float64}).sort(keys, nulls_last=True)


def _draws_table(draws: Draws) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "saving_fraction": draws.savings[:, 0],
            "saving_without_clocks": draws.savings[:, 1],
            "baseline_j": draws.energy_j[:, 0],
            "plan_j": draws.energy_j[:, 1],
            "without_clocks_j": draws.energy_j[:, 2],
            "tuned_baseline_j": draws.energy_j[:, 3],
            "baseline_attainment": draws.attainment[:, 0],
            "plan_attainment": draws.attainment[:, 1],
        }
    )
