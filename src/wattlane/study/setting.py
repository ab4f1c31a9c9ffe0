"""From STUDY.toml to a scenario: load the workload, look up the facts, choose the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import EngineDefaults, engine_defaults
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import sha256
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.command import ServeCommand, parse
from wattlane.plan.scenario import Scenario
from wattlane.plan.space import Space, clock_grid
from wattlane.study.config import Study
from wattlane.workload import load, shape


@dataclass(frozen=True, eq=False)
class Setting:
    """A study ready to run."""

    study: Study
    scenario: Scenario
    source: str
    inputs: dict[str, str]
    defaults: EngineDefaults
    present: ServeCommand | None
    template: Deployment
    space: Space
    notes: tuple[str, ...]


def prepare(study: Study, study_path: Path, trace: Path | None = None) -> Setting:
    """Return the setting of a study; `trace` replaces the workload of the file.

    Raises:
        InputError: the workload, the model, the GPU or the baseline's command is wrong, or the model does not fit.
    """
    workload, source, inputs, notes = _workload(study, study_path, trace)
    serving = study.serving
    board, model = gpu(serving.gpu), resolve_model(serving.model)
    present = parse(study.baseline.command) if study.baseline.command else None
    tensor_parallel = int(present.fields.get("tensor_parallel", serving.tensor_parallel)) if present else None
    case = Case(
        board,
        model,
        (present.precision if present and present.precision else serving.precision),
        tensor_parallel or serving.tensor_parallel,
    )
    defaults = engine_defaults(study.baseline.engine, board)
    template = _template(study, case, defaults, present)
    case.kv_capacity_tokens(template.gpu_memory_utilization)  # refuses at once what does not fit
    slo = Slo(study.slo.ttft_s, study.slo.tbt_s, study.slo.attainment)
    scenario = Scenario(workload, slo, profile_for(board), case, defaults.kv_block_tokens)
    search = study.search
    space = Space(
        search.max_num_seqs,
        search.max_num_batched_tokens,
        search.release_window_s,
        clock_grid(board, search.clock_steps),
        search.max_replicas,
    )
    return Setting(study, scenario, source, inputs, defaults, present, template, space, tuple(notes))


def _workload(study: Study, study_path: Path, trace: Path | None) -> tuple[Workload, str, dict[str, str], list[str]]:
    inputs = {"study": sha256(study_path)}
    if trace is None and study.workload.shape is not None:
        made = shape(study.workload.shape).sample(study.seed)
        return made, f"shape {study.workload.shape}, seed {study.seed}", inputs, list(made.notes)
    path = trace if trace is not None else study_path.parent / str(study.workload.file)
    loaded = load(path)
    notes = list(loaded.workload.notes)
    if loaded.bad_rows:
        notes.append(
            f"{loaded.bad_rows} of {loaded.rows} rows were left out as bad: {'; '.join(loaded.bad_examples[:3])}"
        )
    return loaded.workload, f"{path.name} ({loaded.format})", inputs | {"workload": loaded.sha256}, notes


def _template(study: Study, case: Case, defaults: EngineDefaults, present: ServeCommand | None) -> Deployment:
    fields: dict[str, Any] = dict(present.fields) if present else {}
    if present and present.model.lower() not in {case.model.name.lower(), study.serving.model.lower()}:
        raise InputError(
            f"baseline.command serves {present.model!r}; serving.model is {study.serving.model!r}; make them the same"
        )
    budget = int(fields.get("max_num_batched_tokens", defaults.max_num_batched_tokens))
    return Deployment(
        model=study.serving.model if not present else present.model,
        gpu=case.gpu.name,
        precision=case.precision,
        tensor_parallel=case.tensor_parallel,
        replicas=study.baseline.replicas or 1,
        max_num_seqs=min(int(fields.get("max_num_seqs", defaults.max_num_seqs)), budget),
        max_num_batched_tokens=budget,
        gpu_memory_utilization=float(fields.get("gpu_memory_utilization", defaults.gpu_memory_utilization)),
    )
