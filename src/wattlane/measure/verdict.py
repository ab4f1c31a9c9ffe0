"""What a reader must know about a run before using its figures, and whether they may be used at all.

Each reason reads "code: sentence". Reasons that make a measurement invalid come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattlane.core.types import Origin, Outcome
from wattlane.measure.account import Energy
from wattlane.measure.energy.integrate import MAX_GAP_S
from wattlane.measure.spans import Spans
from wattlane.measure.validity.codes import Code, Level
from wattlane.measure.validity.codes import Verdict as Checked
from wattlane.measure.validity.settle import settle

if TYPE_CHECKING:
    import polars as pl

FAILED_LIMIT = 0.01  # share of failed requests above which a run is not a measurement of the load it was asked for
LATE_LIMIT_S = 0.1
OVERLAP_LIMIT = 0.05
CLEAN = settle(())


@dataclass(frozen=True, slots=True)
class Verdict:
    """`valid` is False when any of the first reasons forbids using the figures; `status` also tells a warning."""

    valid: bool
    reasons: tuple[str, ...]
    status: str = Level.QUARANTINED.value


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the verdict needs beside the rows."""

    energy: Energy
    spans: Spans
    meter_reason: str
    has_meter: bool
    cpu_w: float | None
    engine_ended: str | None
    interrupted: bool
    open_loop: bool
    checked: Checked = CLEAN
    precision: str = ""


def judge(table: pl.DataFrame, seen: Circumstances) -> Verdict:
    """Return the verdict on a served table."""
    fatal = [reason for reason in seen.checked.reasons if reason.level is Level.QUARANTINED]
    warned = [str(reason) for reason in seen.checked.reasons if reason.level is not Level.QUARANTINED]
    faults = [*_faults(table, seen), *map(str, fatal)]
    status = Level.QUARANTINED.value if faults else seen.checked.status
    return Verdict(not faults, (*faults, *warned, *_energy_reasons(seen), *_notes(table, seen)), status)


def lateness_p99_s(table: pl.DataFrame) -> float | None:
    """Return the 99th percentile of how much later than its arrival a request was sent, seconds."""
    late = (table["started_s"] - table["offered_s"]).drop_nulls()
    value = late.quantile(0.99, "linear")
    return None if value is None else float(value)


def _faults(table: pl.DataFrame, seen: Circumstances) -> list[str]:
    failed = table.filter(table["outcome"] != Outcome.COMPLETED.value)
    share, found = len(failed) / len(table), []
    if seen.interrupted:
        found.append(f"interrupted: stopped by the user after {len(table) - len(failed)} of {len(table)} requests")
    if seen.precision.startswith(Code.WINDOW_TOO_SHORT.value):
        found.append(seen.precision)
    if seen.engine_ended:
        found.append(f"engine_ended: {seen.engine_ended} during the run")
    if share > FAILED_LIMIT:
        first = next(iter(failed["error"].drop_nulls()), "no error text")
        found.append(
            f"failed_requests: {len(failed)} of {len(table)} requests did not complete ({share:.1%}, limit "
            f"{FAILED_LIMIT:.0%}); the first: {first}"
        )
    return found


def _energy_reasons(seen: Circumstances) -> list[str]:
    if seen.energy.status is Origin.ABSENT:
        advice = "; give an assumed W per busy core for a modelled figure" if seen.cpu_w is None else ""
        gaps = (
            f"; its readings leave gaps above {MAX_GAP_S:g} s or a counter that never moved" if seen.has_meter else ""
        )
        return [f"energy_absent: {seen.meter_reason}{gaps}{advice}"]
    if seen.energy.is_cpu_model:
        return [
            f"energy_modelled: no usable sensor ({seen.meter_reason}); {seen.energy.source}; the interval does not "
            "hold the error of that assumption"
        ]
    return [f"energy_source: {seen.meter_reason}", *seen.energy.reasons]


def _notes(table: pl.DataFrame, seen: Circumstances) -> list[str]:
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    notes = []
    if seen.precision and not seen.precision.startswith(Code.WINDOW_TOO_SHORT.value):
        notes.append(seen.precision)
    if seen.energy.status is not Origin.ABSENT:
        notes.append("phases_modelled: the total is divided by time; power is assumed equal in both phases")
    if seen.spans.busy_s > 0 and seen.spans.both_s > OVERLAP_LIMIT * seen.spans.busy_s:
        share = seen.spans.both_s / seen.spans.busy_s
        notes.append(f"phases_overlap: prefill and decode were active together in {share:.0%} of the busy time")
    uncounted = done["output_tokens"].null_count()
    if uncounted:
        notes.append(f"usage_missing: {uncounted} completed requests came without usage; their tokens are not counted")
    merged = len(done) - int(done["gaps_complete"].sum())
    if merged:
        notes.append(f"gaps_incomplete: {merged} completed requests have fewer gaps than tokens, as received")
    short = int((done["output_tokens"] < done["asked_output_tokens"]).sum())
    if short:
        notes.append(f"short_outputs: {short} completed requests ended before the asked number of tokens")
    late_s = lateness_p99_s(table)
    if seen.open_loop and late_s is not None and late_s > LATE_LIMIT_S:
        notes.append(f"generator_late: requests left up to {late_s:.3f} s (p99) after they were due")
    return notes
