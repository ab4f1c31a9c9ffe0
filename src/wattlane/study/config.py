"""STUDY.toml: what a study is asked, checked whole; every problem is reported at once with key, value, expectation."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wattlane.core.errors import InputError
from wattlane.core.files import existing


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    """What answers: a model of the catalogue (or the path of a config.json) on a GPU."""

    model: str
    gpu: str
    precision: str = "bf16"
    tensor_parallel: int = Field(default=1, ge=1)


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

    max_num_seqs: tuple[int, ...] = (16, 32, 64, 128, 256, 1024)
    max_num_batched_tokens: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    release_window_s: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    clock_steps: int = Field(default=9, ge=1, le=60)
    max_replicas: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _values(self) -> SearchSection:
        for name, least in (("max_num_seqs", 1), ("max_num_batched_tokens", 1), ("release_window_s", 0.0)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise ValueError(f"{name} is {list(values)}; expected a list of values of at least {least}")
        return self


class UncertaintySection(Section):
    """How many paired draws stand behind the interval."""

    draws: int = Field(default=200, ge=20, le=100_000)


class FactorsSection(Section):
    """Factor names of the catalogue, or your own numbers."""

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


def _in_words(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), _keys(problem["loc"][:-1]), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(_keys(problem['loc'][:-1]))}"
        return f"unknown key {where!r}; {hint}"
    if problem["type"] == "missing":
        return f"missing key {where!r}"
    return f"{where} is {problem['input']!r}; {problem['msg']}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Study
    for part in location:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
