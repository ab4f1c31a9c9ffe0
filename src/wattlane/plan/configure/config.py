"""CONFIGURE.toml: what a configuration plan is asked, checked whole."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from wattlane.core.sections import Listed, Number, Section, read_toml
from wattlane.plan.configure.classes import NAMES, POOLINGS

EXAMPLE = "examples/configure-70b.toml"


class WorkloadSection(Section):
    """The traffic the demand is forecast from: a shipped shape, or a trace file relative to this one."""

    shape: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> WorkloadSection:
        if (self.shape is None) == (self.file is None):
            raise ValueError('give exactly one of shape (such as "azure-conv") and file')
        return self


class DemandSection(Section):
    """Time bins; `rate_factor` speeds the arrivals up, `margin` is planned for above the forecast."""

    bin_s: Number = Field(default=300.0, gt=0)
    rate_factor: Number = Field(default=1.0, gt=0)
    margin: Number = Field(default=1.0, ge=1)
    bins: int | None = Field(default=None, ge=1)


class ClassesSection(Section):
    """Bounds of the nine classes and the poolings tried."""

    bounds: str = "percentiles"
    input_tokens: Listed[int] | None = None
    output_tokens: Listed[int] | None = None
    poolings: Listed[str] = ("one", "by-output", "nine")

    @model_validator(mode="after")
    def _known(self) -> ClassesSection:
        problems = []
        if self.bounds not in {"percentiles", "dynamollm", "given"}:
            problems.append(f"bounds is {self.bounds!r}; expected percentiles, dynamollm or given")
        for name in ("input_tokens", "output_tokens"):
            pair = getattr(self, name)
            if (pair is not None) != (self.bounds == "given") or (pair is not None and len(pair) != 2):
                problems.append(f'{name} is {pair}; expected two whole numbers with bounds = "given", else none')
        unknown = [p for p in self.poolings if p not in POOLINGS]
        if unknown or not self.poolings:
            problems.append(f"poolings is {list(self.poolings)}; expected some of {', '.join(POOLINGS)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class TargetsSection(Section):
    """Targets in seconds; one left out is none."""

    ttft_s: Number | None = Field(default=None, gt=0)
    tbt_s: Number | None = Field(default=None, gt=0)
    e2e_s: Number | None = Field(default=None, gt=0)

    @property
    def any(self) -> bool:
        """Whether a target is given."""
        return any(v is not None for v in (self.ttft_s, self.tbt_s, self.e2e_s))


class SloSection(TargetsSection):
    """What must be kept: targets for all, targets by class, or `isolated_factor` times the latency alone.

    The latency alone is that on the narrowest instance of the first model that fits, unless the parallelism is given.
    """

    isolated_factor: Number | None = Field(default=None, gt=1)
    isolated_tensor_parallel: int | None = Field(default=None, ge=1)
    attainment: Number = Field(default=0.99, gt=0, le=1)
    classes: dict[str, TargetsSection] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_both(self) -> SloSection:
        problems = []
        if self.isolated_factor is not None and (self.any or self.classes):
            problems.append("isolated_factor stands beside targets in seconds; give one or the other")
        if self.isolated_factor is None and not self.any and not self.classes:
            problems.append("no target is given; give isolated_factor, or ttft_s, tbt_s or e2e_s")
        if unknown := sorted(set(self.classes) - set(NAMES)):
            problems.append(f"classes holds {', '.join(unknown)}; expected some of {', '.join(NAMES)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class FleetSection(Section):
    """GPUs of one type at one site. Watts and seconds left out are the catalogue's or this planner's priors."""

    gpu: str
    count: int = Field(ge=0)
    site: str = "site"
    parked_w: Number | None = Field(default=None, ge=0)
    wake_s: Number = Field(default=5.0, ge=0)
    usd_per_gpu_hour: Number = Field(default=0.0, ge=0)


class ModelSection(Section):
    """A model that may answer; `quality` is any score that grows with it, for `[quality]`."""

    name: str
    precision: str = "bf16"
    quality: Number | None = Field(default=None, ge=0)


class QualitySection(Section):
    """Least quality of the model that answers, for all classes or one by one."""

    floor: Number = Field(default=0.0, ge=0)
    classes: dict[str, Number] = Field(default_factory=dict)


class KnobsSection(Section):
    """Values of the knobs; `uncontrollable` names those that cannot be turned here, with the reason.

    `expert_parallel` holds degrees: as many GPUs as a stage has hold whole experts, 1 splits every expert over them;
    empty, or a dense model: whole experts. Other degrees are no deployment of the law and are passed over.
    """

    tensor_parallel: Listed[int] = (1, 2, 4, 8)
    pipeline_parallel: Listed[int] = (1,)
    expert_parallel: Listed[int] = ()
    max_num_seqs: Listed[int] = (32, 64, 128)
    max_num_batched_tokens: Listed[int] = (2048,)
    clock_steps: int = Field(default=7, ge=1, le=60)
    power_cap_share: Listed[float] = ()
    release_window_s: Listed[float] = (0.0,)
    uncontrollable: dict[str, str] = Field(default_factory=dict)


class ObjectiveSection(Section):
    """What is made least; series have one value a bin, by site."""

    least: str = "energy"
    usd_per_kwh: Number | None = Field(default=None, ge=0)
    gco2e_per_kwh: Number | None = Field(default=None, ge=0)
    usd_per_kwh_series: dict[str, Listed[float]] = Field(default_factory=dict)
    gco2e_per_kwh_series: dict[str, Listed[float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> ObjectiveSection:
        if self.least not in {"energy", "carbon", "money"}:
            raise ValueError(f"least is {self.least!r}; expected energy, carbon or money")
        return self


class LimitsSection(Section):
    """Hard limits of the whole fleet."""

    cluster_cap_w: Number | None = Field(default=None, gt=0)


class ChangesSection(Section):
    """What starting an engine takes: seconds at the loaded idle watts of its GPUs (a prior; measure yours)."""

    start_s: Number = Field(default=60.0, ge=0)


class BaselineSection(Section):
    """The single pool a saving is measured against: so many instances, or as few as keep the SLOs on this trace."""

    instances: int | None = Field(default=None, ge=1)


class SolverSection(Section):
    """When to be content: relative gap, or seconds."""

    gap: Number = Field(default=0.01, ge=0, lt=1)
    limit_s: Number = Field(default=60.0, gt=0)


class Configure(Section):
    """A whole question."""

    name: str
    seed: int = Field(default=0, ge=0)
    workload: WorkloadSection
    demand: DemandSection = Field(default_factory=DemandSection)
    classes: ClassesSection = Field(default_factory=ClassesSection)
    slo: SloSection
    fleet: list[FleetSection] = Field(min_length=1)
    models: list[ModelSection] = Field(min_length=1)
    quality: QualitySection = Field(default_factory=QualitySection)
    knobs: KnobsSection = Field(default_factory=KnobsSection)
    objective: ObjectiveSection = Field(default_factory=ObjectiveSection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    changes: ChangesSection = Field(default_factory=ChangesSection)
    baseline: BaselineSection = Field(default_factory=BaselineSection)
    solver: SolverSection = Field(default_factory=SolverSection)


def read(path: Path) -> Configure:
    """Return the question of a TOML file; every problem of it is reported together."""
    return read_toml(path, Configure, EXAMPLE)
