"""The tables of the page, as rows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wattlane.report import units
from wattlane.report.answer import answer, baseline, boundary, claimed, origin
from wattlane.report.figures.knobs import setting
from wattlane.report.run import Run
from wattlane.report.summary import Case, Measured


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first cell of a row names it. `note` stands below; a row of one cell is a heading.

    Cells of `words` are sentences, not numbers.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: bool = False


def _cases(run: Run) -> list[tuple[str, str, Case]]:
    """Return (key, column title, case); baseline and plan always, the others when they are there."""
    summary = run.summary
    columns = [("baseline", "baseline", summary.baseline or Case()), ("plan", "plan", summary.plan or Case())]
    for key, title in (("without_clocks", "plan without clocks"), ("tuned_baseline", "tuned baseline")):
        case = getattr(summary, key)
        if case is not None:
            columns.append((key, title, case))
    return columns


def _per(value: float | None, denominator: float | None) -> float | None:
    return None if value is None or not denominator else value / denominator


def _output_tokens(case: Case) -> float | None:
    return _per(case.energy_j, case.energy_j_per_output_token)


def _input_tokens(run: Run, key: str, case: Case) -> float | None:
    """Return the prompt tokens of completed requests: from the rows, or from the workload when all completed."""
    if key in run.input_tokens:
        return float(run.input_tokens[key])
    mean = (run.summary.scenario.workload.input_tokens or {}).get("mean")
    return None if mean is None or case.requests is None or case.failed != 0 else mean * case.requests


def comparison(run: Run) -> Table:
    """Return baseline against plan, with the plan without clocks and the tuned baseline beside them."""
    columns = _cases(run)
    cases = [case for _, _, case in columns]

    def row(name: str, values: Sequence[float | None], scales: units.Scales) -> tuple[str, ...]:
        first, second, *others = units.row(values, scales)
        return (name, first, second, units.change(values[0], values[1]), *others)

    def energy(name: str, value: Callable[[Case], float | None]) -> tuple[str, ...]:
        return row(name, [value(case) for case in cases], units.ENERGY)

    def time(name: str, field: str) -> tuple[str, ...]:
        return row(name, [getattr(case, field) for case in cases], units.TIME)

    shares = [case.slo_attainment for case in cases]
    share_texts = [units.attained(share) for share in shares]
    prefill = [_per(case.prefill_j, _input_tokens(run, key, case)) for key, _, case in columns]
    rows = (
        ("Energy",),
        energy("per request", lambda case: case.energy_j_per_request),
        energy("  prefill per request", lambda case: _per(case.prefill_j, case.completed)),
        energy("  decode per request", lambda case: _per(case.decode_j, case.completed)),
        energy("  idle per request", lambda case: _per(case.idle_j, case.completed)),
        energy("per output token, prefill and idle included", lambda case: case.energy_j_per_output_token),
        row("  prefill per input token", prefill, units.ENERGY),
        energy(
            "  decode per output token, prefill not included", lambda case: _per(case.decode_j, _output_tokens(case))
        ),
        energy("whole workload", lambda case: case.energy_j),
        row("mean power", [case.mean_power_w for case in cases], units.POWER),
        ("Latency",),
        *(time(f"{name}, {q}", f"{field}_{q}_s") for name, field in _LATENCIES for q in ("p50", "p99")),
        ("Service",),
        ("SLO attainment", *share_texts[:2], units.points(shares[0], shares[1]), *share_texts[2:]),
        *_attainment_over_draws(run, [key for key, _, _ in columns]),
        _counts("requests", [case.requests for case in cases]),
        _counts("failed", [case.failed for case in cases]),
        _counts("replicas", [case.replicas for case in cases]),
        (
            "mean batch",
            *(units.plain(c.mean_batch) for c in cases[:2]),
            "",
            *(units.plain(c.mean_batch) for c in cases[2:]),
        ),
    )
    head = ("", columns[0][1], columns[1][1], "change", *(title for _, title, _ in columns[2:]))
    names = "; ".join(f"{title}: {case.label}" for _, title, case in columns if case.label and case.label != title)
    note = f"Energy: {origin(run)}, boundary {boundary(run)}. Per request means per completed request. {names}".strip()
    return Table("Baseline against plan", head, rows, note)


_LATENCIES = (("TTFT", "ttft"), ("token gap", "tbt"), ("end to end", "e2e"))


def _attainment_over_draws(run: Run, keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the interval of the attainment and the share of draws that keep the SLO, where the run has them."""
    intervals, kept = run.summary.attainment_interval, run.summary.slo_kept_share
    if intervals:
        found = [intervals.get(key) for key in keys]
        texts = [
            units.ABSENT if one is None else f"{units.attained(one[0])} to {units.attained(one[1])}" for one in found
        ]
        yield ("  interval", *texts[:2], "", *texts[2:])
    if kept:
        texts = [units.attained(kept.get(key)) for key in keys]
        yield ("  draws that keep the SLO", *texts[:2], "", *texts[2:])


def _counts(name: str, values: Sequence[int | None]) -> tuple[str, ...]:
    first, second, *others = (units.count(value) for value in values)
    return (name, first, second, "", *others)


def savings(run: Run) -> Table:
    """Return the three savings with their intervals."""
    summary = run.summary
    free, free_interval = summary.saving_without_clocks, summary.saving_without_clocks_interval
    rows = tuple(
        (name, units.percent(value), units.between(interval))
        for name, value, interval in (
            ("plan against the baseline", summary.saving_fraction, summary.saving_interval),
            ("without clocks against the baseline", free, free_interval),
            ("plan against the tuned baseline", summary.saving_against_tuned, summary.saving_against_tuned_interval),
        )
    )
    note = f"Against {baseline(run)}. Energy: {origin(run)}, boundary {boundary(run)}."
    return Table("Saving of energy", ("", "saving", "interval"), rows, note)


_KNOBS = (
    ("replicas", "replicas"),
    ("max_num_seqs", "batch cap (max_num_seqs)"),
    ("max_num_batched_tokens", "token budget (max_num_batched_tokens)"),
    ("clock_hz", "GPU clock"),
    ("power_cap_w", "power cap"),
    ("release_window_s", "release window"),
)


def deployments(run: Run) -> Table:
    """Return the settings of every deployment."""
    columns = _cases(run)
    rows = tuple((title, *(_setting(case.deployment, knob) for _, _, case in columns)) for knob, title in _KNOBS)
    return Table("Settings", ("", *(title for _, title, _ in columns)), rows)


def _setting(deployment: dict[str, Any] | None, knob: str) -> str:
    return units.ABSENT if deployment is None or knob not in deployment else setting(knob, deployment[knob])


def months(run: Run) -> Table:
    """Return what a month saves with and without knobs that need administrator rights."""
    month = run.summary.per_month
    kinds = (
        ("with every knob of the plan", month.with_privileged),
        ("without clocks and caps", month.without_privileged),
    )
    rows = []
    for name, found in kinds:
        money = units.ABSENT if found is None else units.plain(found.money)
        currency = (
            "" if found is None or money == units.ABSENT else f"{units.GLUE}{found.currency or '(currency absent)'}"
        )
        kwh, carbon = (None, None) if found is None else (found.kwh, found.kgco2e)
        rows.append((name, _unit(kwh, "kWh"), money + currency, _unit(carbon, "kgCO₂e")))
    return Table("Saved per month", ("", "energy", "money", "carbon"), tuple(rows))


def _unit(value: float | None, unit: str) -> str:
    return units.ABSENT if value is None else f"{units.digits(value)}{units.GLUE}{unit}"


def factors(run: Run) -> Table:
    """Return the factors behind money and carbon, each with its source and date."""
    rows = []
    for name, body in run.summary.per_month.factors.items():
        facts = body if isinstance(body, dict) else {"value": body}
        value = units.words(facts.get("value"))
        rows.append(
            (
                name.replace("_", " "),
                f"{value} {facts.get('unit') or ''}".strip(),
                f"{units.words(facts.get('source'))} ({date})"
                if (date := facts.get("date"))
                else units.words(facts.get("source")),
            )
        )
    return Table("Factors", ("", "value", "source (date)"), tuple(rows))


_ACCOUNT = ("prefill", "decode", "idle", "overhead")


def ledger(run: Run) -> Table:
    """Return the energy account: the integral of power against the sum over phases."""
    columns = [run.summary.ledger.get(key) for key in ("baseline", "plan")]

    def row(name: str, field: str) -> tuple[str, ...]:
        return (name, *units.row([None if found is None else getattr(found, field) for found in columns], units.ENERGY))

    shares = []
    for found in columns:
        residual = None if found is None else _per(found.residual_j, found.metered_j)
        shares.append(
            units.ABSENT if residual is None else "0" if residual == 0 else f"{residual:.1e}".replace("-", units.MINUS)
        )
    rows = (
        row("power integrated over time", "metered_j"),
        *(row(f"  {name}", f"{name}_j") for name in _ACCOUNT),
        row("residual", "residual_j"),
        ("residual as a share", *shares),
    )
    note = (
        f"Energy: {origin(run)}, boundary {boundary(run)}. "
        "The residual is what the sum over requests, idle and overhead leaves of the integral."
    )
    return Table("Energy account", ("", "baseline", "plan"), rows, note)


def facts(caption: str, body: dict[str, Any]) -> Table:
    """Return any object of a result file as a table of names and values."""
    return Table(caption, ("", ""), tuple(units.flat(body)))


def workload(run: Run) -> Table:
    """Return what was asked of the deployment."""
    traffic = run.summary.scenario.workload

    def lengths(known: dict[str, float | None] | None) -> str:
        names = ("mean", "std", "p50", "p95", "p99", "max")
        return units.ABSENT if not known else ", ".join(f"{name} {units.count(known.get(name))}" for name in names)

    rows = (
        ("source", units.words(traffic.source)),
        ("requests", units.count(traffic.requests)),
        ("span", units.duration(traffic.span_s)),
        ("rate", _unit(traffic.rate_rps, "requests/s")),
        ("burstiness: CV of the gaps (Poisson: 1)", units.plain(traffic.gap_cv)),
        ("input tokens", lengths(traffic.input_tokens)),
        ("output tokens", lengths(traffic.output_tokens)),
    )
    return Table(f"Workload: {traffic.name or units.ABSENT}", ("", ""), rows)


def engine(found: Measured) -> Table:
    """Return what a real engine did, phase by phase."""

    def row(name: str, phase: Any) -> tuple[str, ...]:
        energy = units.one(phase.energy_j, units.ENERGY)
        if phase.energy_j is not None:
            low, high = (units.one(value, units.ENERGY) for value in (phase.energy_j_lo, phase.energy_j_hi))
            energy += f" ({low} to {high}), {phase.status or 'origin absent'}"
        return (name, units.duration(phase.duration_s), units.count(phase.tokens), energy, units.words(phase.boundary))

    rows = [row(name, phase) for name, phase in found.phases.items() if phase is not None]
    whole = found.energy.model_copy(update={"duration_s": found.window_s})
    rows.append(row("whole run", whole))
    head = ("", "time", "tokens", "energy", "boundary")
    return Table("By phase", head, tuple(rows))


def engine_latency(found: Measured) -> Table:
    """Return the latency of a real engine."""
    rows = tuple(
        (name, *(units.one(found.latency.get(f"{field}_{q}_s"), units.TIME) for q in ("p50", "p99")))
        for name, field in _LATENCIES
    )
    return Table("Latency", ("", "p50", "p99"), rows)


def runs(found: Sequence[Run]) -> Table:
    """Return one row a run: the comparison of several studies."""
    rows = []
    for run in found:
        summary, scenario = run.summary, run.summary.scenario
        plan, base = summary.plan or Case(), summary.baseline or Case()
        each = units.row([base.energy_j_per_request, plan.energy_j_per_request], units.ENERGY)
        rows.append(
            (
                run.name,
                units.percent(summary.saving_fraction) if claimed(run) else answer(run).headline,
                units.between(summary.saving_interval),
                units.percent(summary.saving_without_clocks),
                units.attained(plan.slo_attainment),
                each[0],
                each[1],
                f"{scenario.model or units.ABSENT} on {scenario.gpu or units.ABSENT}",
                base.label or units.ABSENT,
                origin(run),
            )
        )
    head = ("run", "saving", "interval", "without clocks", "SLO attainment", "baseline per request", "plan per request")
    note = (
        "Each saving is against the baseline of its own run; "
        "runs with different baselines or boundaries are not like for like."
    )
    return Table("Runs", (*head, "model and GPU", "baseline", "energy"), tuple(rows), note)
