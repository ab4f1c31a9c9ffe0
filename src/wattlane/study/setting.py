"""From STUDY.toml to a scenario: load the workload, look up the facts, choose the baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wattlane.core.errors import InputError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.engines import EngineDefaults, engine_defaults
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import sha256
from wattlane.core.types import Deployment, Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.plan.command import ServeCommand, parse
from wattlane.plan.scenario import Scenario
from wattlane.plan.space import Space, clock_grid
from wattlane.study.config import Study
from wattlane.workload import load, shape

T = TypeVar("T")


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

    @property
    def from_shape(self) -> bool:
        """Whether the requests were drawn from a shape rather than read from a trace."""
        return "workload" not in self.inputs


class Problems:
    """Input errors of independent look-ups, reported together."""

    def __init__(self) -> None:
        self.found: list[InputError] = []

    def of(self, look_up: Callable[[], T]) -> T | None:
        """Return what `look_up` returns; its input error is kept instead of raised."""
        try:
            return look_up()
        except InputError as error:
            self.found.append(error)
            return None

    def report(self, what: str) -> None:
        """Raise what was found, one error as it was, several as a list."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise InputError.gathered(what, [str(error) for error in self.found])


def prepare(study: Study, study_path: Path, trace: Path | None = None) -> Setting:
    """Return the setting of a study; `trace` replaces the workload of the file.

    Raises:
        InputError: the workload, the model, the GPU or the baseline's command is wrong, or the model does not fit.
    """
    serving, command, problems = study.serving, study.baseline.command, Problems()
    read = problems.of(lambda: _workload(study, study_path, trace))
    board, model = problems.of(lambda: gpu(serving.gpu)), problems.of(lambda: resolve_model(serving.model))
    present = problems.of(lambda: parse(command)) if command else None
    defaults = problems.of(lambda: engine_defaults(study.baseline.engine, board)) if board else None
    file = None if serving.profile is None else study_path.parent / serving.profile
    profile = problems.of(lambda: chosen_profile(board, file)) if board else None
    problems.report(str(study_path))
    assert read
    assert board
    assert model
    assert defaults
    assert profile
    workload, source, inputs, notes = read
    if file is not None:
        inputs = {**inputs, "profile": sha256(file)}
    case = Case(
        board,
        model,
        (present.precision if present and present.precision else serving.precision),
        int(present.fields.get("tensor_parallel", serving.tensor_parallel)) if present else serving.tensor_parallel,
    )
    template = _template(study, case, defaults, present)
    case.kv_capacity_tokens(template.gpu_memory_utilization)  # refuses at once what does not fit
    slo = Slo(study.slo.ttft_s, study.slo.tbt_s, study.slo.attainment)
    scenario = Scenario(workload, slo, profile, case, defaults.kv_block_tokens)
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
    # the format stands in the source already
    notes = [note for note in loaded.workload.notes if note != f"read as {loaded.format}"]
    if loaded.bad_rows:
        notes.append(
            f"{loaded.bad_rows} of {loaded.rows} rows were left out as bad: {'; '.join(loaded.bad_examples[:3])}"
        )
    return loaded.workload, f"{path.name} ({loaded.format})", inputs | {"workload": loaded.sha256}, notes


def _served_name(asked: str, known: str) -> str:
    """Return what `vllm serve` takes: the full name of a model of the catalogue, else the path as given."""
    return known if asked.strip().lower() in {known.lower(), known.lower().partition("/")[2]} else asked


def _template(study: Study, case: Case, defaults: EngineDefaults, present: ServeCommand | None) -> Deployment:
    fields: dict[str, Any] = dict(present.fields) if present else {}
    if present and _served_name(present.model, case.model.name) not in {case.model.name, study.serving.model}:
        raise InputError(
            f"baseline.command serves {present.model!r}; serving.model is {study.serving.model!r}; make them the same"
        )
    budget = int(fields.get("max_num_batched_tokens", defaults.max_num_batched_tokens))
    return Deployment(
        model=present.model if present else _served_name(study.serving.model, case.model.name),
        gpu=case.gpu.name,
        precision=case.precision,
        tensor_parallel=case.tensor_parallel,
        replicas=study.baseline.replicas or 1,
        max_num_seqs=min(int(fields.get("max_num_seqs", defaults.max_num_seqs)), budget),
        max_num_batched_tokens=budget,
        gpu_memory_utilization=float(fields.get("gpu_memory_utilization", defaults.gpu_memory_utilization)),
    )
