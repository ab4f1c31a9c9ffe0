"""The summary of a study as the page reads it: every field may be absent, none may be of another type.

Absent is None. Extra fields are allowed; a field of another type is refused by name, all such fields together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wattlane.core.files import read_json
from wattlane.report.result_files import checked

SUMMARY_KIND = "summary"
MEASUREMENT_KIND = "measurement"


def _lines(value: object) -> object:
    """Return a single command line, or none, as a list of lines."""
    if value is None:
        return []
    return value.splitlines() if isinstance(value, str) else value


Lines = Annotated[list[str], BeforeValidator(_lines)]
Interval = tuple[float, float]
Numbers = dict[str, float | None]


class Part(BaseModel):
    """Base of all parts: frozen, extra fields kept, NaN and infinity refused."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Targets(Part):
    """The SLO of the scenario; seconds, and the share of offered requests that must attain."""

    ttft_s: float | None = None
    tbt_s: float | None = None
    attainment: float | None = None


class Traffic(Part):
    """What was asked of the deployment."""

    name: str | None = None
    source: str | None = None
    requests: int | None = None
    span_s: float | None = None
    rate_rps: float | None = None
    gap_cv: float | None = None
    input_tokens: Numbers | None = None
    output_tokens: Numbers | None = None


class Scenario(Part):
    """Model, GPU, engine and traffic of the study."""

    name: str | None = None
    model: str | None = None
    gpu: str | None = None
    precision: str | None = None
    tensor_parallel: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    seed: int | None = None
    horizon_s: float | None = None
    slo: Targets = Targets()
    workload: Traffic = Traffic()


class Case(Part):
    """One deployment serving the workload: energies in J, latencies in s, and where the energy comes from."""

    label: str | None = None
    requests: int | None = None
    failed: int | None = None
    energy_j: float | None = None
    energy_j_per_request: float | None = None
    energy_j_per_output_token: float | None = None
    prefill_j: float | None = None
    decode_j: float | None = None
    idle_j: float | None = None
    mean_power_w: float | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tbt_p50_s: float | None = None
    tbt_p99_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p99_s: float | None = None
    slo_attainment: float | None = None
    replicas: int | None = None
    mean_batch: float | None = None
    origin: str | None = None
    boundary: str | None = None
    deployment: dict[str, Any] | None = None

    @property
    def completed(self) -> int | None:
        """Requests that enter a denominator; None when either count is absent."""
        return None if self.requests is None or self.failed is None else self.requests - self.failed


class Knob(Part):
    """One step on the way from baseline to plan: the energy after `knob` went from `before` to `to`."""

    model_config = ConfigDict(populate_by_name=True)

    knob: str
    before: Any = Field(default=None, alias="from")
    to: Any = None
    energy_j: float | None = None
    saving_fraction: float | None = None


class Account(Part):
    """A ledger: metered = prefill + decode + idle + overhead + residual, J."""

    metered_j: float | None = None
    prefill_j: float | None = None
    decode_j: float | None = None
    idle_j: float | None = None
    overhead_j: float | None = None
    residual_j: float | None = None


class Month(Part):
    """What a month saves."""

    kwh: float | None = None
    money: float | None = None
    currency: str | None = None
    kgco2e: float | None = None


class PerMonth(Part):
    """Savings of a month with and without knobs that need administrator rights, and the factors used."""

    factors: dict[str, Any] = {}
    with_privileged: Month | None = None
    without_privileged: Month | None = None


class Commands(Part):
    """What to type; lines of a shell."""

    baseline: Lines = []
    plan: Lines = []
    clock: Lines = []
    difference: Lines = []
    rollback: Lines = []
    without_privileged: Lines = []


class Summary(Part):
    """`summary.json` of a study."""

    scenario: Scenario = Scenario()
    baseline: Case | None = None
    plan: Case | None = None
    without_clocks: Case | None = None
    tuned_baseline: Case | None = None
    saving_fraction: float | None = None
    saving_interval: Interval | None = None
    saving_without_clocks: float | None = None
    saving_without_clocks_interval: Interval | None = None
    saving_against_tuned: float | None = None
    saving_against_tuned_interval: Interval | None = None
    verdict: str | None = None
    knobs: list[Knob] = []
    attainment_interval: dict[str, Interval | None] = {}
    slo_kept_share: Numbers = {}
    uncertainty: dict[str, Any] = {}
    ledger: dict[str, Account | None] = {}
    ledger_residual_j: float | None = None
    per_month: PerMonth = PerMonth()
    commands: Commands = Commands()
    assumptions: list[str] = []
    warnings: list[str] = []
    law: dict[str, Any] = {}
    provenance: dict[str, Any] = {}


class PhaseMeasured(Part):
    """Energy of one phase, or of the whole run, on a real engine; `status` is measured, modelled or absent."""

    energy_j: float | None = None
    energy_j_lo: float | None = None
    energy_j_hi: float | None = None
    source: str | None = None
    boundary: str | None = None
    status: str | None = None
    duration_s: float | None = None
    tokens: int | None = None


class Measured(Part):
    """`measurement.json` of a real engine."""

    target: str | None = None
    engine: dict[str, Any] = {}
    workload: dict[str, Any] = {}
    valid: bool | None = None
    complete: bool | None = None
    reasons: list[str] = []
    requests: int | None = None
    failed: int | None = None
    tokens: dict[str, int | None] = {}
    window_s: float | None = None
    energy: PhaseMeasured = PhaseMeasured()
    phases: dict[str, PhaseMeasured | None] = {}
    latency: Numbers = {}


_Model = TypeVar("_Model", bound=Part)


def read_summary(path: Path) -> Summary:
    """Return the summary of a study; raise `FileFormatError` naming every field that cannot be used."""
    return _read(path, SUMMARY_KIND, Summary)


def read_measured(path: Path) -> Measured:
    """Return the measurement of a real engine; raise `FileFormatError` naming every field that cannot be used."""
    return _read(path, MEASUREMENT_KIND, Measured)


def _read(path: Path, kind: str, model: type[_Model]) -> _Model:
    body = read_json(path, kind)
    # a null stands for an absent field, whatever the field's own form of absent is
    present = {name: value for name, value in body.items() if value is not None}
    return checked(path, _without_nulls(present), model)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None or name in _NULLABLE}
    return value


# knobs of a deployment whose null has a meaning of its own: the GPU's maximum clock, no cap
_NULLABLE = ("clock_hz", "power_cap_w")
