"""The tables of a suite of controllers for a terminal: one a named load, and what was aimed at."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 130
ABSENT = "absent"
HEAD = ("", "controller", "J/SLO-meeting token", "saving", "SLO", "TTFT p99 s", "TBT p99 ms", "W", "needs")


def suite_tables(body: dict[str, Any]) -> None:
    """Print the loads that have a name (or the only one), full load, and the aims."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDTH
    needs = {one["name"]: one["privileges"] for one in body["controllers"]}
    for traffic in body["traffic"]:
        full = traffic["full_load"]
        out.print(
            f"{traffic['name']}: 100 % load is {full['rate_rps']:.1f} requests/s ({full['attainment']:.2%} attain; "
            f"{full['missed_attainment']:.2%} at {full['missed_rps']:.1f})"
        )
        for name, change in traffic["thinning"].items():
            energy = ABSENT if change["energy_change"] is None else f"{change['energy_change']:+.1%}"
            points = f"{100 * change['attainment_change']:+.2f} points"
            out.print(f"  medium load by thinning instead, {name}: energy {energy}, attainment {points}")
    for one in body["tables"]:
        if one["name"] is None:
            continue
        title = f"{one['traffic']} at {one['load']:.0%} load ({one['name']}); modelled, GPU boards; medians over seeds"
        table = Table(title=title)
        for name in HEAD:
            table.add_column(name, justify="left" if name in ("controller", "needs") else "right")
        for row in one["rows"]:
            table.add_row(*_row(row), needs[row["controller"]])
        out.print(table)
    for aim in body["aims"]:
        for key, against in (("against_default", "the default"), ("against_lowest_clock", "the lowest feasible clock")):
            out.print(_aim(aim, key, against), soft_wrap=True)


def _row(row: dict[str, Any]) -> list[str]:
    rank = "not ranked" if row["rank"] is None else str(row["rank"])
    gap_s = row["tbt_p99_s"]
    return [
        rank,
        row["controller"],
        _median(row["energy_j_per_good_token"], "{:.4f}"),
        _median(row["saving"], "{:.1%}"),
        _median(row["attainment"], "{:.2%}"),
        _median(row["ttft_p99_s"], "{:.2f}"),
        ABSENT if gap_s is None else f"{gap_s['median'] * 1e3:.0f}",
        _median(row["mean_power_w"], "{:.0f}"),
    ]


def _median(found: dict[str, float] | None, shown: str) -> str:
    return ABSENT if found is None else shown.format(found["median"])


def _aim(aim: dict[str, Any], key: str, against: str) -> str:
    found = aim[key]
    words = "reached" if found["reached"] else "missed"
    saving, prior, attained = found["saving"], found["under_clock_prior"], aim["attainment"]
    under = ABSENT if prior is None else ", ".join(f"{prior[p]:.1%}" for p in ("p10", "p50", "p90"))
    return (
        f"{aim['traffic']}: wattlane uses {_median(saving, '{:.1%}')} less than {against} at "
        f"{_median(attained, '{:.2%}')} attainment; aim {found['aim']:.0%} {words}; "
        f"at the 10th, 50th and 90th percentile of the clock prior {under}"
    )
