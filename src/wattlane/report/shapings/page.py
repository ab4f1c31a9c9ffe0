"""One self-contained page of one arrival shaping study or of several."""

from __future__ import annotations

from collections.abc import Sequence

from wattlane.report import sections, template, units
from wattlane.report.sections import Item, Section
from wattlane.report.shapings.figures import FIGURES
from wattlane.report.shapings.result import Band, Cell, ShapingRun
from wattlane.report.tables import Table, facts

PAYS = "pays"
FOOTER = (
    "Effects are mean marginal differences over the orders in which rate, shape and engine may be changed (Shapley)."
)


def render(runs: Sequence[ShapingRun]) -> str:
    """Return the page as text; the same files give the same text."""
    title = f"Comparison of {len(runs)} arrival shaping studies" if len(runs) > 1 else runs[0].name
    return sections.render(title, [_item(run, f"a{i}") for i, run in enumerate(runs)], FOOTER)


def _item(run: ShapingRun, name: str) -> Item:
    found = run.shaping
    asked = found.model_dump(include={"workload", "model", "gpu", "precision", "law", "slo", "grid", "idle_w"})
    parts = [
        Section("Figures", pictures=[template.picture(one, run, f"{name}-") for one in FIGURES], wide=True),
        Section("Energy per request", [_cells(run, engine) for engine in run.engines]),
        Section("Release windows", [_windows(run)], words=found.findings),
        Section("What this rests on", [facts("Asked", asked), facts("Provenance", found.provenance)]),
    ]
    pays = [row for row in found.windows if row.verdict == PAYS]
    best = max(pays, key=lambda row: row.saving_fraction.mean, default=None)
    if best is None:
        headline = "No release window pays"
    else:
        saved, kept = units.percent(best.saving_fraction.mean), units.attained(best.slo_attainment.mean)
        headline = f"A window saves up to {saved} of the energy at {kept} attainment"
    return Item(name, run.name, headline, _lead(run), best is not None, parts)


def _lead(run: ShapingRun) -> str:
    found, engine = run.shaping, run.engines[0]
    own = [c for c in found.cells if c.shape == found.base.shape and c.engine == engine]
    most = max(own, key=lambda c: c.energy_j_per_request.mean)
    least = min(own, key=lambda c: c.energy_j_per_request.mean)
    ratio = most.energy_j_per_request.mean / least.energy_j_per_request.mean
    same = [_ratio([c for c in found.cells if (c.rate_rps, c.engine) == (rate, engine)]) for rate in run.rates]
    return (
        f"Rate alone moves the energy of a request {units.digits(ratio)} times, from {most.rate_rps:g} to "
        f"{least.rate_rps:g} requests/s ({found.base.shape} arrivals, {engine}); at one rate shapes differ by at most "
        f"{units.digits(max(same))} times. {found.model} on {found.gpu}, {found.precision}, the same law throughout; "
        f"energy {found.origin}, boundary {found.boundary}."
    )


def _ratio(cells: Sequence[Cell]) -> float:
    joules = [c.energy_j_per_request.mean for c in cells]
    return max(joules) / min(joules)


def _with_half(band: Band, digits: int = 1) -> str:
    glued = f"{units.GLUE}±{units.GLUE}"
    return f"{band.mean:.{digits}f}{glued}{band.hi - band.mean:.{digits}f}".replace("-", units.MINUS)


def _effect(band: Band) -> str:
    return "0" if band.mean == band.lo == band.hi == 0.0 else _with_half(band)


def _cells(run: ShapingRun, engine: str) -> Table:
    rows = []
    for cell in run.shaping.cells:
        if cell.engine != engine:
            continue
        effects = [_effect(cell.effects_j[name]) for name in ("rate", "shape", "engine")]
        rows.append(
            (
                f"{cell.rate_rps:g} requests/s, {cell.shape}",
                _with_half(cell.energy_j_per_request),
                _with_half(cell.above_idle_floor_j),
                *effects,
                units.attained(cell.slo_attainment.mean),
                units.one(cell.ttft_p99_s.mean, units.TIME),
                units.one(cell.tbt_p99_s.mean, units.TIME),
                units.plain(cell.mean_batch.mean),
            )
        )
    head = ("", "J per request", "above idle", "rate effect", "shape effect", "engine effect", "SLO attainment")
    base = run.shaping.base
    note = (
        f"Effects in J a request, against {base.shape} arrivals at {base.rate_rps:g} requests/s with {base.engine}. "
        "± is half the 95 % interval over seeds."
    )
    return Table(engine, (*head, "TTFT p99", "token gap p99", "batch"), tuple(rows), note)


def _windows(run: ShapingRun) -> Table:
    rows = tuple(
        (
            f"{row.rate_rps:g} requests/s, {row.window_s:g} s",
            units.percent(row.saving_fraction.mean, 2),
            f"{units.percent(row.saving_fraction.lo, 2)} to {units.percent(row.saving_fraction.hi, 2)}",
            units.attained(row.slo_attainment.mean),
            units.one(row.added_ttft_s.mean, units.TIME),
            units.one(row.ttft_p99_s.mean, units.TIME),
            units.plain(row.mean_batch.mean),
            row.verdict,
        )
        for row in run.shaping.windows
    )
    head = ("", "saving", "interval", "SLO attainment", "added mean TTFT", "TTFT p99", "batch", "verdict")
    return Table("Windows over Poisson arrivals", head, rows)
