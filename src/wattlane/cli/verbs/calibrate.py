"""`wattlane calibrate`: a profile of your own from a profile and your own runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json, say

if TYPE_CHECKING:
    from wattlane.model.calibrate import Calibrated

WORDS = {"power": "power", "itl": "token gap, mean", "energy": "J per output token"}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=calibrate.__doc__)(calibrate)


def calibrate(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs or campaigns, or one request log.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The profile file to write.")],
    profile: Annotated[str, typer.Option(help="A GPU, whose shipped profile is meant, or a profile file.")],
    model: Annotated[str, typer.Option(help="Model of runs that do not say theirs; a name or a config.json.")],
    precision: Annotated[str, typer.Option(help="Of the weights, of runs that do not say theirs.")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs of a replica, of runs that do not say theirs.", min=1)] = 1,
    power: Annotated[
        Path | None, typer.Option(help="Power record of a request log: power_w of the replica's GPUs by t_s.")
    ] = None,
    window_s: Annotated[float, typer.Option("--window-s", help="Windows a request log is cut into.")] = 10.0,
    name: Annotated[str | None, typer.Option(help="Of the new profile.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Update a profile with measured runs, and print its errors on held-out runs before and after.

    A log has first_token_s, end_s, input_tokens and output_tokens a request. The profile is for predict, simulate
    and study.

    Example: wattlane calibrate run --profile H100 --model Llama-3.1-8B-Instruct -o my-h100.json
    """
    from wattlane.model.calibrate import calibrate_files

    found = calibrate_files(
        runs, out, profile=profile, model=model, precision=precision, tensor_parallel=tp, power=power,
        window_s=window_s, name=name,
    )  # fmt: skip
    if as_json:
        emit_json(found.as_dict())
    else:
        _print(found)
    say.print(f"wrote {out}; ask it with: wattlane predict --profile {out}", markup=False, soft_wrap=True)


def _print(found: Calibrated) -> None:
    typer.echo(f"{found.points} points of {found.runs} runs; errors on held-out runs, {found.folds} folds")
    typer.echo(f"{'':<22}{'median APE':>20}{'mean APE':>20}{'bias':>20}")
    for kind, e in found.errors.items():
        columns = (
            f"{old:.1%} -> {new:.1%}"
            for old, new in (
                (e.before_median_ape, e.after_median_ape),
                (e.before_mean_ape, e.after_mean_ape),
                (e.before_bias, e.after_bias),
            )
        )
        typer.echo(f"{WORDS[kind]:<22}" + "".join(f"{text:>20}" for text in columns))
    for reason, count in found.left_out.items():
        say.print(f"left out: {count} x {reason}", markup=False, soft_wrap=True)
    if not found.errors:
        say.print("too few points to hold any out: nothing says whether the new profile is better", markup=False)
    elif not found.improves:
        say.print("the runs do not show that the new profile is better: held-out errors did not fall", markup=False)
