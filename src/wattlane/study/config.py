"""STUDY.toml: what a study is asked, checked whole; every problem is reported at once with key, value, expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from wattlane.core.sections import Listed, Section, checked, read_table

EXAMPLE = "examples/azure-conv.toml"


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
    return checked(str(path), read_table(path, EXAMPLE) | (overrides or {}), Study)
