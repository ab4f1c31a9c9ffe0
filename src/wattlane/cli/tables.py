"""Tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

MISSING = "absent"
WIDTH = 110  # of a table that goes to a file or a pipe


def study_table(body: dict[str, Any]) -> None:
    """Print a study's answer to stdout: the sentence first, then baseline, plan and the plan without clocks."""
    out = Console(highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = WIDTH
    out.print(headline(body))
    sides = [body["baseline"], body["plan"], body["without_clocks"]]
    table = Table(title=None)
    table.add_column("modelled, GPU boards")
    for name in ("baseline", "plan", "without privileged knobs"):
        table.add_column(name, justify="right")
    for label, key, scale, unit in ROWS:
        table.add_row(label, *(_shown(side.get(key), scale, unit) for side in sides))
    for label, key in KNOBS:
        table.add_row(label, *(_knob(key, side["deployment"][key]) for side in sides))
    savings = [
        "",
        _saving(body, "saving_fraction", "saving_interval"),
        _saving(body, "saving_without_clocks", "saving_without_clocks_interval"),
    ]
    table.add_row("saving against the baseline", *savings)
    out.print(table)
    tuned = _saving(body, "saving_against_tuned", "saving_against_tuned_interval")
    out.print(f"Against the same batch limits and replicas at the maximum clock: {tuned}")
    _deploy(out, body["commands"])
    for line in body["warnings"]:
        out.print(f"note: {line}")


def _deploy(out: Console, commands: dict[str, list[str]]) -> None:
    """Print the plan's commands as they can be pasted; what needs root on the node is said so."""
    privileged = "Clock, on each node as root (privileged):"
    for title, key in (("Deploy:", "plan"), (privileged, "clock"), ("Back:", "rollback")):
        if commands[key]:
            out.print(title)
            for line in commands[key]:
                out.print(f"  {line}", markup=False)


ROWS = (
    ("energy per request", "energy_j_per_request", 1.0, "J"),
    ("energy per output token", "energy_j_per_output_token", 1.0, "J"),
    ("mean power", "mean_power_w", 1.0, "W"),
    ("TTFT p99", "ttft_p99_s", 1e3, "ms"),
    ("token gap p99", "tbt_p99_s", 1e3, "ms"),
    ("SLO attainment", "slo_attainment", 100.0, "%"),
    ("requests", "requests", 1.0, ""),
    ("failed", "failed", 1.0, ""),
)
KNOBS = (
    ("replicas", "replicas"),
    ("max_num_seqs", "max_num_seqs"),
    ("max_num_batched_tokens", "max_num_batched_tokens"),
    ("SM clock", "clock_hz"),
    ("release window", "release_window_s"),
)


def headline(body: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    plan = body["plan"]
    attained = f"{plan['slo_attainment']:.1%} of requests within their SLOs"
    lo, hi = body["saving_interval"]
    if hi < 0.0:
        return (
            f"No saving shown: the best plan found uses {-body['saving_fraction']:.0%} more GPU energy than "
            f"{body['baseline']['label']} ({-hi:.0%} to {-lo:.0%}, modelled), which attains "
            f"{body['baseline']['slo_attainment']:.1%}; {attained}."
        )
    if body["verdict"] != "saving":
        return (
            f"No saving shown, a tie with {body['baseline']['label']}: the best plan's interval holds zero "
            f"({lo:.0%} to {hi:.0%}, modelled GPU energy); {attained}."
        )
    return (
        f"The plan uses {body['saving_fraction']:.0%} less GPU energy ({lo:.0%} to {hi:.0%}, modelled) than "
        f"{body['baseline']['label']}, with {attained}."
    )


def _shown(value: float | None, scale: float, unit: str) -> str:
    if value is None:
        return MISSING
    if isinstance(value, int) and not unit:
        return f"{value:,}"
    return f"{value * scale:,.4g} {unit}".strip()


def _knob(key: str, value: float | None) -> str:
    if key == "clock_hz":
        return "maximum" if value is None else f"{value / 1e6:.0f} MHz"
    if key == "release_window_s":
        return "none" if not value else f"{value * 1e3:.0f} ms"
    return f"{value:,}"


def _saving(body: dict[str, Any], value: str, interval: str) -> str:
    lo, hi = body[interval]
    if lo <= 0.0:
        return f"none shown [{lo:.1%}, {hi:.1%}]"
    return f"{body[value]:.1%} [{lo:.1%}, {hi:.1%}]"
