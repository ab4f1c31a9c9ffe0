"""`wattlane predict`: power, latency and joules per token before anything is bought or started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wattlane.cli.console import emit_json, say
from wattlane.core.errors import InputError

if TYPE_CHECKING:
    from wattlane.core.types import Estimate
    from wattlane.model.predict import Prediction

WORDS = {
    "power_w": "power of the replica's GPUs",
    "itl_s": "gap between tokens, mean",
    "ttft_s": "prefill of one request alone, no queue",
    "tokens_per_s": "output tokens, all sequences",
    "energy_j_per_output_token": "GPU energy, prefill included",
    "prefill_j_per_token": "per input token, added to a running batch",
    "decode_j_per_token": "per output token, prefill excluded",
}


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="predict")(predict)


def predict(
    input: Annotated[float, typer.Option(help="Mean input tokens of a request.")],
    output: Annotated[float, typer.Option(help="Mean output tokens of a request.")],
    model: Annotated[str | None, typer.Option(help="Name of a model, or path of a config.json.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Name of a GPU; see: wattlane show gpus.")] = None,
    batch: Annotated[float, typer.Option(help="Sequences that run together.")] = 1.0,
    precision: Annotated[str, typer.Option(help="Of the weights: bf16, fp8, mxfp4, ...")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs of a replica (tensor parallel).")] = 1,
    clock_mhz: Annotated[float | None, typer.Option(help="SM clock; the highest if left out.")] = None,
    law: Annotated[Path | None, typer.Option(help="A law file of wattlane fit, asked instead of a profile.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws behind the intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, in SI units.")] = False,
) -> None:
    """Predict steady serving of a model on a GPU, each value with its 95 % interval; all of it is modelled.

    With --law, energy and runtime of one request from a fitted law file.

    Example: wattlane predict --model meta-llama/Llama-3.1-8B-Instruct --gpu H100 --batch 64 --input 1024 --output 256
    """
    if law is not None:
        _from_law(law, input, output, as_json)
        return
    if model is None or gpu is None:
        raise InputError("predict: found no --model or no --gpu; expected both, or a law file with --law")
    from wattlane.core.facts import gpus
    from wattlane.core.facts.config import resolve_model
    from wattlane.model.laws.phase import Case
    from wattlane.model.predict import predict as predicted

    clock_hz = None if clock_mhz is None else clock_mhz * 1e6
    case = Case(gpus.gpu(gpu), resolve_model(model), precision, tp, clock_hz)
    found = predicted(case, batch=batch, input_tokens=input, output_tokens=output, seed=seed)
    if as_json:
        emit_json(found.as_dict())
        return
    _print(found, case.model.name)


def _print(found: Prediction, model: str) -> None:
    typer.echo(
        f"{model}, batch {found.batch:g}, {found.input_tokens:g} in, {found.output_tokens:g} out: {found.profile}"
    )
    _print_estimates({name: getattr(found, name) for name in WORDS})
    for reason in found.reasons:
        say.print(f"extrapolated: {reason}", markup=False, soft_wrap=True)
    for note in found.notes:
        say.print(f"note: {note}", markup=False, soft_wrap=True)


def _print_estimates(estimates: Mapping[str, Estimate]) -> None:
    for name, value in estimates.items():
        typer.echo(
            f"  {name:<26}{value.mean:>10.4g} [{value.lo:.4g}, {value.hi:.4g}] {value.unit:<9} {WORDS.get(name, '')}"
        )


def _from_law(path: Path, input_tokens: float, output_tokens: float, as_json: bool) -> None:
    from wattlane.model.laws.bilinear import read_bilinear

    law = read_bilinear(path)
    found = law.predict(input_tokens, output_tokens)
    reasons = law.outside(input_tokens, output_tokens)
    if as_json:
        values = {
            name: {k: v if v != float("inf") else None for k, v in asdict(e).items()} for name, e in found.items()
        }
        emit_json({"law": "bilinear", "model": law.model, **values, "reasons": reasons})
        return
    typer.echo(f"{law.model}, one request of {input_tokens:g} in, {output_tokens:g} out: bilinear law")
    _print_estimates(found)
    for reason in reasons:
        say.print(f"extrapolated: {reason}", markup=False, soft_wrap=True)
