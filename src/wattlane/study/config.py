"""STUDY.toml: what a study is asked, checked whole; every problem is reported at once with key, value, expectation."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from wattlane.core.errors import InputError
from wattlane.core.files import existing

V = TypeVar("V", int, float)


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused, values of the type they say and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Listed = Annotated[tuple[V, ...], Field(strict=False)]  # TOML knows arrays, not tuples; their values stay strict


class WorkloadSection(Section):
    """The traffic: a shipped shape, or a trace file (relative to the study file)."""

    shape: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> WorkloadSection:
        if (self.shape is None) == (self.file is None):
            raise ValueError('give exactly one of shape (such as "azure-conv") and file')
        return self


class ServingSection(Section):
    """What answers: a model of the catalogue (or the path of a config.json) on a GPU.

    `profile` is a profile file relative to the study file, asked instead of the shipped one of the GPU.
    """

    model: str
    gpu: str
    precision: str = "bf16"
    tensor_parallel: int = Field(default=1, ge=1)
    profile: str | None = None


class SloSection(Section):
    """What must be kept; see docs/concepts/slo.md."""

    ttft_s: float = Field(default=1.0, gt=0)
    tbt_s: float = Field(default=0.1, gt=0)
    attainment: float = Field(default=0.99, gt=0, le=1)


class BaselineSection(Section):
    """What the saving is measured against: an engine's defaults, or your own command line."""

    engine: str = "vllm"
    command: str | None = None
    replicas: int | None = Field(default=None, ge=1)


class SearchSection(Section):
    """The knobs' values; `clock_steps` of 1 leaves the clock alone."""

    max_num_seqs: Listed[int] = (16, 32, 64, 128, 256, 1024)
    max_num_batched_tokens: Listed[int] = (512, 1024, 2048, 4096, 8192)
    release_window_s: Listed[float] = (0.0, 0.05, 0.1, 0.2, 0.4)
    clock_steps: int = Field(default=9, ge=1, le=60)
    max_replicas: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _values(self) -> SearchSection:
        problems = [
            f"{name} is {list(getattr(self, name))}; expected values of at least {least}, and one or more of them"
            for name, least in (("max_num_seqs", 1), ("max_num_batched_tokens", 1), ("release_window_s", 0))
            if not getattr(self, name) or min(getattr(self, name)) < least
        ]
        if not problems and min(self.max_num_seqs) > max(self.max_num_batched_tokens):
            problems.append(
                f"max_num_seqs is {list(self.max_num_seqs)}; expected at least one value no larger than the largest "
                f"max_num_batched_tokens, {max(self.max_num_batched_tokens)}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class UncertaintySection(Section):
    """How many paired draws stand behind the interval."""

    draws: int = Field(default=200, ge=20, le=100_000)


class FactorsSection(Section):
    """Your own numbers; a factor left out is the catalogue's."""

    electricity_usd_per_kwh: float | None = Field(default=None, ge=0)
    carbon_gco2e_per_kwh: float | None = Field(default=None, ge=0)
    pue: float | None = Field(default=None, ge=1)


class Study(Section):
    """A whole study."""

    name: str
    seed: int = Field(default=0, ge=0)
    workload: WorkloadSection
    serving: ServingSection
    slo: SloSection = Field(default_factory=SloSection)
    baseline: BaselineSection = Field(default_factory=BaselineSection)
    search: SearchSection = Field(default_factory=SearchSection)
    uncertainty: UncertaintySection = Field(default_factory=UncertaintySection)
    factors: FactorsSection = Field(default_factory=FactorsSection)


def read_study(path: Path, overrides: dict[str, Any] | None = None) -> Study:
    """Return the study of a TOML file; `overrides` replaces whole top-level keys.

    Raises:
        InputError: the file is not TOML, or keys or values are wrong (all of them are listed).
    """
    try:
        body = tomllib.loads(existing(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error}); see examples/azure-conv.toml for the form") from error
    try:
        return Study.model_validate(body | (overrides or {}))
    except ValidationError as error:
        raise InputError.gathered(str(path), [_in_words(e) for e in error.errors()]) from error


# Wording of the checker, and the house's.
SAID = (
    ("Input should be a valid tuple", "expected a list"),
    ("Input should be a valid", "expected a valid"),
    ("Input should be a finite", "expected a finite"),
    ("Input should be", "expected a value"),
)


def _in_words(problem: Any) -> str:
    """Return a problem as key, value, expectation."""
    where, kind, said = ".".join(str(part) for part in problem["loc"]), problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        known = list(_fields(problem["loc"][:-1]))
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"unknown key {where!r}; " + (
            f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        )
    if kind == "missing":
        return f"missing key {where!r}; expected {_wanted(problem['loc'])}"
    if kind == "model_type":
        return f"{where} is {problem['input']!r}; expected a table, [{where}]"
    if kind == "value_error":
        return f"{where}: {said.removeprefix('Value error, ')}"
    for before, after in SAID:
        said = said.replace(before, after)
    return f"{where} is {_shown(problem['input'])}; {said}"


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 80 else f"a {type(value).__name__} of {len(repr(value))} characters"


def _fields(location: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    model: Any = Study
    for part in location:
        model = model.model_fields[str(part)].annotation
    fields: dict[str, FieldInfo] = model.model_fields
    return fields


def _wanted(location: tuple[int | str, ...]) -> str:
    """Return what a required key holds, in words."""
    kind = _fields(location[:-1])[str(location[-1])].annotation
    return f"a table, [{location[-1]}]" if kind is not str else "a text"
