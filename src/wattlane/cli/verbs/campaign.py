"""`wattlane campaign`: a grid of measurements, repeated, resumable, with intervals over the repeats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.campaign_tables import print_plan, print_result, span
from wattlane.cli.console import emit_json, say
from wattlane.cli.lists import change
from wattlane.core.errors import MeasurementError

if TYPE_CHECKING:
    from wattlane.measure.campaigns.campaign import Step
    from wattlane.measure.campaigns.grid import Grid


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=campaign.__doc__)(campaign)


def campaign(
    grid: Annotated[Path | None, typer.Argument(help="A grid file, see docs/guides/campaigns.md.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder of the campaign; finished cells stay.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A shipped grid instead of a file, such as wilkins-grid.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key, as repeats.at_least=3.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print cells, counts and estimated time; run nothing.")
    ] = False,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster; one GPU a trial.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print campaign.json, or the plan, to stdout.")] = False,
) -> None:
    """Measure every cell of a grid in repeated trials; the same command goes on where an earlier one stopped.

    A cell whose engine or option is absent here is skipped with its reason. Writes campaign.parquet (a row a trial)
    and campaign.json (means, 95 % intervals, spread over repeats and over requests).

    Example: wattlane campaign examples/precision-by-slots.toml -o run
    """
    from wattlane.measure import campaign as run_campaign
    from wattlane.measure.campaigns.plan import plan_campaign

    asked = _asked(grid, preset, changes or [])
    if dry_run:
        plan = plan_campaign(asked)
        (emit_json if json_output else print_plan)(plan.as_dict())
        return
    if out is None:
        raise typer.BadParameter("expected a folder for the campaign, -o RUN", param_hint="-o")
    result = run_campaign(asked, out, ray=ray, on_step=_say_step)
    if json_output:
        emit_json(result.as_dict())
    else:
        print_result(result.summary)
    words = ", ".join(f"{count} {status}" for status, count in result.summary["trials"].items())
    say.print(f"{result.folder}: trials {words}; {result.resumed} from an earlier run", markup=False, soft_wrap=True)
    if not result.summary["trials"].get("measured"):
        raise MeasurementError(f"{result.folder}: no cell was measured; the table says why")


def _asked(grid: Path | None, preset: str | None, changes: list[str]) -> Grid:
    from wattlane.measure.campaigns.grid import read_grid, read_preset

    if (grid is None) == (preset is None):
        raise typer.BadParameter("expected exactly one of a grid file and --preset NAME", param_hint="GRID")
    values = dict(change(text) for text in changes)
    return read_preset(preset, values) if preset is not None else read_grid(Path(str(grid)), values)


def _say_step(step: Step) -> None:
    left = "" if step.left_s is None or step.done >= step.least else f"; about {span(step.left_s)} left"
    say.print(f"{step.done} of {step.least}: {step.words}{left}", markup=False, soft_wrap=True)
