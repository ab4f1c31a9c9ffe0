"""The typer application: one module a verb, errors to one sentence and an exit code.

Exit codes: 0 done, 1 bad input, 2 usage, 3 infeasible, 4 measurement not valid, 5 outside the law's range,
130 interrupted and resumable.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from wattlane.core.errors import WattlaneError
from wattlane.core.version import VERSION

INTERRUPTED = 130
INTERRUPTED_WORDS = "interrupted; run the same command again to resume\n"
# Each module defines `register(app)`; a verb's own imports stay inside its function, so that --help is quick.
VERBS: tuple[str, ...] = (
    "advise",
    "calibrate",
    "campaign",
    "certify",
    "compare",
    "design",
    "doctor",
    "explain",
    "fit",
    "measure",
    "plan",
    "predict",
    "report",
    "shaping",
    "show",
    "simulate",
    "stream",
    "study",
    "sweep",
    "workload",
)

app = typer.Typer(
    name="wattlane",
    help="Measure, predict and cut the energy of LLM inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wattlane {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Measure, predict and cut the energy of LLM inference."""


for _verb in VERBS:
    importlib.import_module(f"wattlane.cli.verbs.{_verb}").register(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; deliberate errors become one message on stderr."""
    try:
        app(args=arguments, standalone_mode=True)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this code by itself
            sys.stderr.write(_interrupted(stop))
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except WattlaneError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt as stop:
        sys.stderr.write(_interrupted(stop))
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {_of_the_system(error)}\n")
        return WattlaneError.exit_code
    return 0


def _interrupted(stop: BaseException) -> str:
    """Return the words of the Ctrl-C behind `stop`; a verb that cannot go on where it stopped says so in its own."""
    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return f"{cause}\n" if cause is not None and str(cause) else INTERRUPTED_WORDS


def _of_the_system(error: OSError) -> str:
    """Return what the operating system refused, with the path, as a sentence."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; check the path, its permissions, and the space left on the disk"
