"""The lines that every simulation prints alike: latencies, attainment, energy, residual."""

from __future__ import annotations

from typing import Any

import typer


def latency_lines(body: dict[str, Any]) -> None:
    """Print them from the content of a summary.json."""
    for name, key in (("ttft", "ttft"), ("token gap", "tbt"), ("end to end", "e2e")):
        quantiles = f"p50 {milliseconds(body[key + '_p50_s'])}, p99 {milliseconds(body[key + '_p99_s'])}"
        typer.echo(f"{name:<16}{quantiles}")
    typer.echo(f"SLO attainment  {body['slo_attainment']:.2%}")
    each = body["energy_j_per_request"]
    typer.echo(f"energy          {body['energy_j']:,.0f} J, modelled, GPU boards", nl=each is None)
    typer.echo("" if each is None else f"; {each:.4g} J a request", nl=each is not None)
    typer.echo(f"ledger residual {body['ledger_residual_j']:.2g} J")


def milliseconds(value_s: float | None) -> str:
    """Return seconds as milliseconds in words."""
    return "absent" if value_s is None else f"{value_s * 1e3:,.1f} ms"
