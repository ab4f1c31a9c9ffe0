"""The tables of a suite's page, as rows of text. A saving never stands without its attainment."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.report import units
from wattlane.report.suites.result import Ablation, Aim, Aims, LoadTable, Percentiles, Spread, SuiteRun
from wattlane.report.tables import Table

KNOBS = {
    "max_num_batched_tokens": "budget",
    "max_num_seqs": "seqs",
    "clock": "clock",
    "decode_clock": "decode clock",
    "floor": "lowest clock",
    "slo_share": "share of the SLO",
    "routing_margin": "share of the SLO",
    "cap_share": "share of the board limit",
    "window_s": "window, s",
    "after_s": "parked after, s",
    "awake": "never parked",
    "least": "least replicas",
    "margin": "share of the targets",
    "target": "utilisation",
}
CLOCKS = ("clock", "decode_clock", "floor")
NOT_RANKED = "not ranked"


def share(found: Spread | None, decimals: int = 1) -> str:
    """Return the median of a share with the range of seeds, or the median alone where they agree."""
    if found is None:
        return units.ABSENT
    middle = units.percent(found.median, decimals)
    low, high = (units.percent(value, decimals) for value in (found.lo, found.hi))
    return middle if low == high else f"{middle} ({low} to {high})"


def attained(found: Spread | None) -> str:
    """Return the median attainment with the least of all seeds."""
    if found is None:
        return units.ABSENT
    middle, least = units.attained(found.median), units.attained(found.lo)
    return middle if middle == least else f"{middle} (least {least})"


def joules(found: Spread | None) -> str:
    """Return the median joules with the range of seeds."""
    if found is None:
        return units.ABSENT
    low, high = units.digits(found.lo), units.digits(found.hi)
    middle = units.digits(found.median)
    return f"{middle}{units.GLUE}J" if low == high else f"{middle}{units.GLUE}J ({low} to {high})"


def seconds(found: Spread | None) -> str:
    """Return a median time."""
    return units.ABSENT if found is None else units.one(found.median, units.TIME)


def _knobs(run: SuiteRun, found: dict[str, float]) -> str:
    clocks = run.suite.scenario.model_extra or {}
    grid = clocks.get("clocks_mhz") or []
    parts = []
    for name, value in found.items():
        word = KNOBS.get(name, name.replace("_", " "))
        if name in CLOCKS and grid:
            index = len(grid) - 1 if value < 0 else min(int(value), len(grid) - 1)
            parts.append(f"{word} {grid[index]:.0f}{units.GLUE}MHz")
        else:
            parts.append(f"{word}{units.GLUE}{value:g}")
    return ", ".join(parts)


def at_load(run: SuiteRun, table: LoadTable) -> Table:
    """Return all controllers at one load, the ranked ones first."""
    rows = []
    for row in table.rows:
        rows.append(
            (
                run.title(row.controller),
                NOT_RANKED if row.rank is None else str(row.rank),
                units.ABSENT if row.energy_j_per_good_token is None else _joules(row.energy_j_per_good_token.median),
                share(row.saving),
                attained(row.attainment),
                units.ABSENT if row.energy_j_per_request is None else _joules(row.energy_j_per_request.median),
                seconds(row.ttft_p99_s),
                seconds(row.tbt_p99_s),
                units.ABSENT if row.mean_power_w is None else units.one(row.mean_power_w.median, units.POWER),
            )
        )
    head = (
        "",
        "rank",
        "per SLO-meeting token",
        f"less than {run.title(run.suite.default)}",
        "SLO attainment",
        "per request",
        "TTFT p99",
        "token gap p99",
        "mean power",
    )
    name = "" if table.name is None else f", {table.name}"
    return Table(f"{table.traffic} at {units.percent(table.load, 0)} load{name}", head, tuple(rows))


def _joules(value: float) -> str:
    return f"{units.digits(value)}{units.GLUE}J"


def settings(run: SuiteRun, table: LoadTable) -> Table:
    """Return what every controller was tuned to, with its median latencies."""
    rows = tuple(
        (
            run.title(row.controller),
            _knobs(run, row.knobs),
            units.attained(row.tuning_attainment),
            seconds(row.ttft_p50_s),
            seconds(row.tbt_p50_s),
        )
        for row in table.rows
    )
    head = ("", "tuned to", "attainment while tuned", "TTFT p50", "token gap p50")
    return Table(f"Settings, {table.traffic} at {units.percent(table.load, 0)} load", head, rows)


def shares(run: SuiteRun, table: LoadTable) -> Table:
    """Return where the joules go at one load."""
    keys = ("prefill", "decode", "idle", "reconfiguration", "tail")
    rows = tuple(
        (
            run.title(row.controller),
            *(units.percent(row.shares.get(key)) for key in keys),
            share(row.busy_share),
            share(row.saving_without_tail),
            attained(row.attainment),
        )
        for row in table.rows
    )
    head = ("", "prefill", "decode", "idle", "of it waking and parking", "of it after the last token", "replicas busy")
    note = (
        "Prefill, decode and idle add up to everything charged; the two columns after them are parts of idle. The last "
        "saving leaves the idle time after the last token out."
    )
    where = f"{table.traffic} at {units.percent(table.load, 0)} load"
    return Table(f"Where the joules go, {where}", (*head, "saving without the idle end", "SLO attainment"), rows, note)


def losses(run: SuiteRun) -> Table:
    """Return every controller and load that lost: dearer than the default, or below the SLO."""
    rows = tuple(
        (
            run.title(loss.controller),
            f"{loss.traffic}, {units.percent(loss.load, 0)}",
            f"{loss.dearer} of {loss.seeds}",
            units.percent(loss.worst_saving),
            f"{loss.missed} of {loss.seeds}",
            units.attained(loss.least_attainment),
        )
        for loss in run.suite.losses
    )
    head = ("", "load", "seeds dearer than the default", "worst saving", "seeds below the SLO", "least attainment")
    return Table(
        "Every loss", head, rows, f"A saving is against {run.title(run.suite.default)}, per SLO-meeting token."
    )


def ablation(run: SuiteRun, found: Ablation) -> Table:
    """Return the way from the default to our controller, knob by knob."""
    rows = tuple(
        (
            step.title,
            joules(step.energy_j_per_good_token),
            share(step.saving),
            share(step.saving_without_tail),
            attained(step.attainment),
            _knobs(run, step.knobs),
        )
        for step in found.rows
    )
    head = ("", "per SLO-meeting token", "saving", "saving without the idle end", "SLO attainment", "tuned to")
    note = "Every row is tuned and scored by itself. A saving is against the first row."
    return Table(f"Knob by knob, {found.traffic} at {units.percent(found.load, 0)} load", head, rows, note)


def _prior(found: Percentiles | None) -> tuple[str, ...]:
    if found is None:
        return (units.ABSENT,) * 3
    return tuple(units.percent(value) for value in (found.p10, found.p50, found.p90))


def aims(run: SuiteRun, found: Sequence[Aims]) -> Table:
    """Return what was aimed at, what was reached, and the saving at percentiles of the clock prior."""
    ours = run.title(run.suite.ours)
    rows: list[tuple[str, ...]] = []

    def row(words: str, aim: Aim, of: Aims) -> tuple[str, ...]:
        verdict = "reached" if aim.reached else "missed"
        return (
            words,
            units.target(aim.aim),
            share(aim.saving),
            verdict,
            attained(of.attainment),
            *_prior(aim.under_clock_prior),
        )

    for one in found:
        rows.append((f"{one.traffic} at {units.percent(one.load, 0)} load",))
        rows.append(row("  less than the default", one.against_default, one))
        rows.append(row("  less than the lowest feasible clock", one.against_lowest_clock, one))
        free = one.without_clocks
        rows.append(
            (
                "  less than the default, without clocks",
                "",
                share(free.saving),
                "",
                attained(free.attainment),
                "",
                "",
                "",
            )
        )
    head = ("", "aim", "saving", "", "SLO attainment", "prior p10", "prior p50", "prior p90")
    note = (
        "Prior: percentiles of the saving over draws of what a lower clock does to time and power, the controllers "
        "deciding with the law of the draw; limits stay as tuned at the middle of the prior. First scored seed."
    )
    return Table(f"What {ours} was to save and saves", head, tuple(rows), note)


def claims(run: SuiteRun) -> Table:
    """Return each controller's published claim beside what it saves here."""
    named = [t for t in run.suite.tables if t.name is not None]
    rows = []
    for one in run.suite.controllers:
        cells = [_saved_at(table, one.name) for table in named]
        claim = one.claim or units.ABSENT
        against = f" against {one.against}" if one.against else ""
        rows.append((one.title, one.source, f"{claim}{against}", one.rule, one.privileges or "nothing", *cells))
    places = [f"{t.traffic}, {units.percent(t.load, 0)}" for t in named]
    head = ("", "source", "published claim", "rule replayed", "needs rights for", *places)
    note = (
        "Claims are for other engines, models and baselines: they are not like for like with the columns to the right, "
        "which are savings against the tuned default, with the attainment."
    )
    return Table("Published claims, and what is found here", head, tuple(rows), note, words=True)


def _saved_at(table: LoadTable, controller: str) -> str:
    row = next((row for row in table.rows if row.controller == controller), None)
    if row is None or row.saving is None or row.attainment is None:
        return units.ABSENT
    return f"{units.percent(row.saving.median)} at {units.attained(row.attainment.median)}"


def full_load(run: SuiteRun) -> Table:
    """Return how 100 % load was found, and what thinning changes."""
    rows: list[tuple[str, ...]] = []
    for one in run.suite.traffic:
        full = one.full_load
        rows.append((one.name,))
        rows.append(
            (
                "  requests of a seed, and their own rate",
                f"{units.count(one.requests)} at {units.digits(one.rate_rps)} requests/s",
            )
        )
        rows.append(
            ("  100 % load", f"{units.digits(full.rate_rps, 4)} requests/s: {units.attained(full.attainment)} attain")
        )
        rows.append(
            (
                "  missed at",
                f"{units.digits(full.missed_rps, 4)} requests/s: {units.attained(full.missed_attainment)} attain",
            )
        )
        rows.append(("  with", _knobs(run, full.knobs)))
        for name, thin in one.thinning.items():
            energy = "absent" if thin.energy_change is None else units.percent(thin.energy_change)
            change = f"{100 * thin.attainment_change:+.2f} points".replace("-", units.MINUS)
            rows.append(
                (f"  thinned instead of compressed, {run.title(name)}", f"energy {energy}, attainment {change}")
            )
    return Table("Full load", ("", ""), tuple(rows))
