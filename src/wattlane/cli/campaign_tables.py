"""Plans, results and comparisons of campaigns as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

CELL_WIDTH = 72
SHOWN_METRICS = (("ttft_mean_s", "TTFT s"), ("e2e_mean_s", "E2E s"), ("energy_j_per_request", "J per request"))


def span(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_plan(plan: dict[str, Any]) -> None:
    """Print what a grid would run."""
    least, most = plan["trials_least"], plan["trials_most"]
    typer.echo(f"{plan['name']}: {len(plan['cells'])} cells, {plan['cells_skipped']} left out by the grid")
    typer.echo(f"trials     {least if most == least else f'{least} to {most}'}, {plan['order']}")
    typer.echo(f"requests   at least {plan['requests_least']:,}")
    typer.echo(f"time       {span(plan['estimate_s'])} of arrivals, rests and starts; the engine's own comes on top")
    rows = [
        [
            cell["cell"],
            _factors(cell),
            cell["target"],
            f"{cell['requests']:,}",
            cell["workload"],
            f"left out: {cell['skip']}" if cell["skip"] else "",
        ]
        for cell in plan["cells"]
    ]
    _print_rows(["cell", "factors", "target", "requests", "workload", ""], rows)


def print_result(summary: dict[str, Any]) -> None:
    """Print a row a cell: estimates with 95 % intervals over the repeats, or why there are none."""
    rows = []
    for cell in summary["cells"]:
        shown = [_estimate(cell["estimates"][metric]) for metric, _ in SHOWN_METRICS]
        origin = "/".join(cell["energy_status"])
        rows.append([_factors(cell), str(cell["trials"]), *shown, origin, "; ".join(cell["reasons"])])
    _print_rows(["cell", "trials", *(title for _, title in SHOWN_METRICS), "energy", "not measured because"], rows)


def _factors(cell: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in cell["factors"].items()) or "the one cell"


def _estimate(found: dict[str, Any] | None) -> str:
    if found is None:
        return "absent"
    if found["lo"] is None:
        return f"{found['mean']:.4g}"
    return f"{found['mean']:.4g} [{found['lo']:.4g}, {found['hi']:.4g}]"


def _print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    short = [[text.replace("\n", " ")[:CELL_WIDTH] for text in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in short) for i in range(len(header))]
    for row in short:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_comparison(found: dict[str, Any]) -> None:
    """Print the differences of every pairing, what makes the sides unlike, and what would decide."""
    typer.echo(f"a = {found['a']}\nb = {found['b']}")
    for pairing in found["pairings"]:
        typer.echo(f"\n{pairing['name']}: {pairing['matching'].get('matched', 0)} pairs")
        for line in pairing["unlike"]:
            typer.echo(f"  unlike   {line}")
        for line in pairing["notes"]:
            typer.echo(f"  note     {line}")
        rows = [
            [
                one["metric"],
                one["basis"],
                f"{one['a']:.4g}",
                f"{one['b']:.4g}",
                _estimate({**one, "mean": one["difference"]}),
                _relative(one),
                _verdict(one),
            ]
            for one in pairing["differences"]
        ]
        _print_rows(["metric", "over", "a", "b", "b - a", "", "answer"], rows)
    for side in ("a", "b"):
        for name in found[f"only_{side}"]:
            typer.echo(f"only in {side}: {name}")


def _verdict(one: dict[str, Any]) -> str:
    words = str(one["verdict"]) if one["like_for_like"] else f"{one['verdict']}, not like for like"
    if one["needed"]:
        return f"{words}; {one['needed']} {one['basis']} would show it if it is real"
    if one["verdict"] == "no difference shown" and one["difference"] and one["lo"] is not None:
        return f"{words}; no number of {one['basis']} would show so little here"
    return words


def _relative(one: dict[str, Any]) -> str:
    if one["relative"] is None:
        return ""
    lo, hi = one["relative_lo"], one["relative_hi"]
    return f"{one['relative']:+.1%}" + ("" if lo is None else f" [{lo:+.1%}, {hi:+.1%}]")
