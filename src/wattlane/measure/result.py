"""The result of a measurement and its files.

`measurement.json` states per phase `energy_j, energy_j_lo, energy_j_hi, error_parts, source, boundary, status,
duration_s, tokens`; `served.parquet` has one row a request, `telemetry.parquet` every reading, `provenance.json` the
rest. Energy that no sensor gave is null with a reason. An invalid or interrupted run has the same files and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattlane.core.files import write_json, write_parquet
from wattlane.core.provenance import Provenance, write_beside
from wattlane.core.served import Latency, write_served
from wattlane.core.types import Slo
from wattlane.measure.account import ABSENT, Energy
from wattlane.measure.idling import Idle
from wattlane.measure.ratios import NOTHING, PerSuccess
from wattlane.measure.spans import Spans

if TYPE_CHECKING:
    import polars as pl

KIND = "measurement"
TELEMETRY_KIND = "telemetry"


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """Energy of a phase, the seconds it was active (alone or not) and the tokens of completed requests in it.

    Prefill reads what the cache did not hold and makes the first token, so decode covers one token fewer a request.
    """

    energy: Energy
    duration_s: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {**self.energy.as_dict(), "duration_s": self.duration_s, "tokens": self.tokens}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one engine. `valid` is False when its figures must not be used; `reasons` say why and more.

    `net` is the energy above idle with the weights loaded, `per` the gross energy over what was delivered. `passes` is
    how often the workload ran in the window, `devices` which sensors gave a measured energy.

    `reasons` read "code: sentence". `complete` is False when the run was cut short.
    """

    target: str
    engine: Mapping[str, Any]
    workload: Mapping[str, Any]
    valid: bool
    complete: bool
    reasons: tuple[str, ...]
    requests: int
    failed: int
    outcomes: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    window_s: float
    energy: Energy
    idle_w: float | None
    prefill: PhaseResult
    decode: PhaseResult
    spans: Spans
    latency: Latency
    slo: Slo
    cpu_s: float | None
    client_cpu_s: float
    lateness_p99_s: float | None
    provenance: Provenance
    folder: Path
    host: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = "valid"
    net: Energy = ABSENT
    per: PerSuccess = NOTHING
    idle: tuple[Idle, ...] = ()
    passes: int = 1
    devices: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `measurement.json`."""
        return {
            "target": self.target,
            "engine": dict(self.engine),
            "workload": dict(self.workload),
            "valid": self.valid,
            "verdict": self.verdict,
            "complete": self.complete,
            "reasons": list(self.reasons),
            "requests": self.requests,
            "failed": self.failed,
            "outcomes": dict(self.outcomes),
            "tokens": {"input": self.input_tokens, "output": self.output_tokens},
            "window_s": self.window_s,
            "passes": self.passes,
            "energy": self.energy.as_dict(),
            "devices": list(self.devices),
            "net_energy": self.net.as_dict(),
            "energy_per": self.per.as_dict(),
            "idle_w": self.idle_w,
            "idle": {one.level.value: one.as_dict() for one in self.idle},
            "phases": {"prefill": self.prefill.as_dict(), "decode": self.decode.as_dict()},
            "time": {
                "prefill_only_s": self.spans.prefill_only_s,
                "decode_only_s": self.spans.decode_only_s,
                "both_s": self.spans.both_s,
                "idle_s": self.spans.idle_s,
                "method": self.spans.method,
            },
            "latency": self.latency._asdict(),
            "slo": {"ttft_s": self.slo.ttft_s, "tbt_s": self.slo.tbt_s, "attainment": self.slo.attainment},
            "cpu_seconds": self.cpu_s,
            "client": {"cpu_seconds": self.client_cpu_s, "lateness_p99_s": self.lateness_p99_s},
            "host": dict(self.host),
            "provenance": self.provenance.as_dict(),
        }

    def write(self, served: pl.DataFrame, telemetry: pl.DataFrame, durations_s: Mapping[str, float]) -> None:
        """Write the four files of the run into its folder."""
        write_served(self.folder / "served.parquet", served)
        write_parquet(self.folder / "telemetry.parquet", TELEMETRY_KIND, telemetry)
        write_json(self.folder / "measurement.json", KIND, self.as_dict())
        write_beside(self.folder, self.provenance, durations_s)
