"""The answer in sentences a manager can read: what, how much, how sure, at what attainment, against which baseline.

A saving is claimed only when the study says so and its interval lies above 0; else "no saving shown" is the headline.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattlane.report import units
from wattlane.report.figures.knobs import label
from wattlane.report.run import Run
from wattlane.report.summary import Case

SAVING = "saving"


@dataclass(frozen=True, slots=True)
class Answer:
    """`headline` in a few words, `lead` in one sentence, `notes` below; `good` says whether a saving is claimed."""

    headline: str
    lead: str
    notes: tuple[str, ...]
    good: bool


def claimed(run: Run) -> bool:
    """Return whether the run shows a saving: its verdict, and an interval that does not contain 0."""
    interval = run.summary.saving_interval
    known = run.summary.saving_fraction is not None and interval is not None
    return known and run.summary.verdict == SAVING and interval is not None and interval[0] > 0


def answer(run: Run) -> Answer:
    """Return what the run says."""
    good = claimed(run)
    keeps, attained = _keeps(run)
    if good:
        saving = units.percent(run.summary.saving_fraction)
        headline = f"{saving} less energy{attained}"
        lead = (
            f"{_what(run)}, the plan uses {saving} less energy than {baseline(run)} "
            f"({origin(run)}; {_interval(run)}), and {keeps}."
        )
    elif run.summary.verdict is None and run.summary.saving_fraction is None:
        headline = "The answer is absent"
        lead = f"{_what(run)}: the saving of the plan against {baseline(run)} is absent from this run; {keeps}."
    else:
        headline = "No saving shown"
        lead = f"{_what(run)}, no saving is shown against {baseline(run)}: {_why_not(run)}; {keeps}."
    return Answer(headline, lead, _notes(run), good)


def baseline(run: Run) -> str:
    """Return the baseline by name."""
    case = run.summary.baseline
    label = None if case is None else case.label
    if label is None:
        return "the baseline (its name is absent)"
    return "the baseline" if label.strip().lower() == "baseline" else f"the baseline “{label}”"


def origin(run: Run) -> str:
    """Return where the energies come from, in the words of the files; both sides must agree on anything better."""
    found = {None if case is None else case.origin for case in (run.summary.baseline, run.summary.plan)}
    if len(found) == 1:
        return next(iter(found)) or units.ABSENT
    return "baseline and plan of different origin"


def boundary(run: Run) -> str:
    """Return what the energies include."""
    found = {case.boundary for case in (run.summary.baseline, run.summary.plan) if case is not None and case.boundary}
    if not found:
        return units.ABSENT
    names = {"gpu": "GPU only", "gpu+host": "GPU and host", "cpu package": "CPU package", "wall": "at the wall"}
    return ", ".join(names.get(name, name) for name in sorted(found))


def _what(run: Run) -> str:
    scenario = run.summary.scenario
    model, gpu, traffic = scenario.model, scenario.gpu, scenario.workload.name or scenario.name
    where = f" on {gpu}" if gpu else ""
    return f"Serving {traffic or 'this workload'} with {model or 'a model whose name is absent'}{where}"


def _interval(run: Run) -> str:
    level = run.summary.uncertainty.get("level")
    draws = run.summary.uncertainty.get("draws")
    what = f"{units.target(level)} interval" if isinstance(level, float) else "interval"
    over = f" over {draws:,} draws" if isinstance(draws, int) else ""
    return f"{what} {units.between(run.summary.saving_interval)}{over}"


def _why_not(run: Run) -> str:
    saving = run.summary.saving_fraction
    if saving is None:
        return "the difference in energy is absent"
    size = units.percent(abs(saving))
    way = "less" if saving >= 0 else "more"
    text = f"the plan's {origin(run)} energy is {size} {way}"
    interval = run.summary.saving_interval
    if interval is None:
        return f"{text}, and its interval is absent"
    if interval[0] <= 0 <= interval[1]:
        return f"{text}, and the {_interval(run)} contains 0"
    verdict = "the study gives no verdict" if run.summary.verdict is None else "the study does not claim it"
    return f"{text} ({_interval(run)}), but {verdict}" if saving > 0 else f"{text} ({_interval(run)})"


def _keeps(run: Run) -> tuple[str, str]:
    """Return (clause of the sentence, tail of the headline) about the attainment of the plan."""
    plan, slo = run.summary.plan, run.summary.scenario.slo
    share = None if plan is None else plan.slo_attainment
    if share is None:
        return "the SLO attainment of the plan is absent", ""
    ttft, tbt = (units.exact(value, units.TIME) for value in (slo.ttft_s, slo.tbt_s))
    limits = f"first token within {ttft}, token gaps within {tbt}"
    target = "target absent" if slo.attainment is None else f"target {units.target(slo.attainment)}"
    text = f"{units.attained(share)} of requests meet their latency targets ({limits}; {target})"
    if slo.attainment is not None and share < slo.attainment:
        return f"{text}, which is below the target", f", but only {units.attained(share)} within the SLO"
    return text, f", {units.attained(share)} within the SLO"


def _notes(run: Run) -> tuple[str, ...]:
    summary = run.summary
    clocks = (
        f"Without setting clocks, which needs administrator rights, the saving against {baseline(run)} is "
        f"{_with_interval(summary.saving_without_clocks, summary.saving_without_clocks_interval)}."
    )
    tuned = (
        f"Against a baseline tuned with the knobs of the engine alone{_label(summary.tuned_baseline)}, the saving is "
        f"{_with_interval(summary.saving_against_tuned, summary.saving_against_tuned_interval)}."
    )
    kind = origin(run)
    first = "Energies are modelled, not measured" if kind == "modelled" else f"Origin of the energies: {kind}"
    return _changes(run), clocks, tuned, f"{first}. Boundary: {boundary(run)}."


def _changes(run: Run) -> str:
    """Return what the plan sets otherwise than the baseline, knob by knob."""
    steps = [label(step).replace("\n", " ") for step in run.summary.knobs]
    return f"What changes: {'; '.join(steps) if steps else units.ABSENT}."


def _label(case: Case | None) -> str:
    return f" ({case.label})" if case is not None and case.label else ""


def _with_interval(saving: float | None, interval: tuple[float, float] | None) -> str:
    if saving is None:
        return units.ABSENT
    tail = "; the interval contains 0, so no saving is shown" if interval and interval[0] <= 0 <= interval[1] else ""
    return (
        f"{units.percent(saving)} ({units.between(interval)}{tail})"
        if interval
        else f"{units.percent(saving)} (interval absent)"
    )
