"""One self-contained page of one suite or of several: the answer first, then everything a reviewer asks."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.report import sections, template, units
from wattlane.report.sections import Item, Section
from wattlane.report.suites import tables
from wattlane.report.suites.figures import FIGURES
from wattlane.report.suites.result import Aims, SuiteRun
from wattlane.report.tables import Table, facts

FOOTER = "Energy per SLO-meeting token: all joules over the output tokens of requests that met both targets."


def render(runs: Sequence[SuiteRun]) -> str:
    """Return the page as text; the same files give the same text."""
    title = f"Comparison of {len(runs)} suites" if len(runs) > 1 else f"Head to head: {runs[0].name}"
    return sections.render(title, [_item(run, f"s{i}") for i, run in enumerate(runs)], FOOTER)


def _item(run: SuiteRun, name: str) -> Item:
    suite = run.suite
    named = [t for t in suite.tables if t.name is not None] or suite.tables
    others = [t for t in suite.tables if t not in named]
    headline, sound = _headline(run)
    found = [
        Section("Against load", pictures=[template.picture(one, run, f"{name}-") for one in FIGURES], wide=True),
        Section(f"What {run.title(suite.ours)} saves", [tables.aims(run, suite.aims), *_ablations(run)]),
        Section("Low, medium and high load", [tables.at_load(run, t) for t in named], words=[_ranking(run)]),
        Section("Losses", [tables.losses(run)]),
        Section("Published claims", [tables.claims(run)]),
        Section("Where the joules go", [tables.shares(run, t) for t in named]),
        Section("What each was tuned to", [tables.settings(run, t) for t in named]),
        Section("Every other load", [tables.at_load(run, t) for t in others]),
        Section(
            "How it was done",
            [tables.full_load(run), facts("Scenario", suite.scenario.model_dump()), facts("Method", suite.method)],
        ),
        Section("What this rests on", [facts("Provenance", suite.provenance)]),
    ]
    return Item(
        name, run.name, headline, _lead(run), sound, [s for s in found if s.tables or s.pictures], _warnings(run)
    )


def _ablations(run: SuiteRun) -> list[Table]:
    return [tables.ablation(run, one) for one in run.suite.ablation]


def _headline(run: SuiteRun) -> tuple[str, bool]:
    """Return what our controller saves on the scenario's own traffic, and whether all its aims were reached."""
    if not run.suite.aims:
        return "The controllers at the loads that were replayed", True
    first = run.suite.aims[0]
    reached = all(aim.reached for one in run.suite.aims for aim in (one.against_default, one.against_lowest_clock))
    saving, attained = first.against_default.saving, first.attainment
    if saving is None or attained is None:
        return f"What {run.title(run.suite.ours)} saves is absent", False
    words = f"{units.percent(saving.median)} less energy than the tuned default"
    return f"{words} at {units.attained(attained.median)} attainment", reached


def _lead(run: SuiteRun) -> str:
    s, site = run.suite, run.suite.scenario
    target = units.target(site.slo.attainment)
    texts = [_aims_in_words(run, one) for one in s.aims]
    where = (
        f"{len(s.controllers)} controllers on {site.replicas} replicas of {site.model} on {site.gpu}, each tuned; "
        f"energy {s.origin}, boundary {s.boundary}; SLO {target} within {units.exact(site.slo.ttft_s, units.TIME)} to "
        f"the first token and {units.exact(site.slo.tbt_s, units.TIME)} between tokens."
    )
    return " ".join([*texts, where])


def _aims_in_words(run: SuiteRun, one: Aims) -> str:
    parts = []
    for words, aim in (("the default", one.against_default), ("the lowest feasible clock", one.against_lowest_clock)):
        verdict = "reached" if aim.reached else "missed"
        saving = units.ABSENT if aim.saving is None else units.percent(aim.saving.median)
        parts.append(f"{saving} against {words} (aim {units.target(aim.aim)}: {verdict})")
    attained = units.ABSENT if one.attainment is None else units.attained(one.attainment.median)
    free = one.without_clocks
    saved = units.ABSENT if free.saving is None else units.percent(free.saving.median)
    kept = units.ABSENT if free.attainment is None else units.attained(free.attainment.median)
    return (
        f"{one.traffic} at {units.percent(one.load, 0)} load: {run.title(run.suite.ours)} saves {' and '.join(parts)} "
        f"at {attained} attainment; without clock control {saved} at {kept}."
    )


def _warnings(run: SuiteRun) -> list[str]:
    found = []
    for one in run.suite.aims:
        for words, aim in (
            ("the default", one.against_default),
            ("the lowest feasible clock", one.against_lowest_clock),
        ):
            if not aim.reached:
                found.append(f"The aim of {units.target(aim.aim)} less than {words} on {one.traffic} is missed.")
    found.append(
        "What a lower clock does to time and power is a prior, not a measurement; controllers with clocks rest on it."
    )
    seeds = run.suite.method.get("scored_seeds") or []
    if len(seeds) < 5:
        found.append(f"{len(seeds)} scored seed(s): fewer than the five of the full suite.")
    return found


def _ranking(run: SuiteRun) -> str:
    return (
        "Ranked by energy per output token of requests that met the SLO. A controller whose median attainment is below "
        f"{units.target(run.suite.scenario.slo.attainment)} is not ranked. Medians over seeds, with their range; "
        f"savings are paired by seed against {run.title(run.suite.default)}."
    )
