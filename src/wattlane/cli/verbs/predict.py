"""`wattlane predict`: power, latency and joules per token before anything is bought or started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wattlane.cli.console import emit_json, say
from wattlane.core.errors import InputError

if TYPE_CHECKING:
    from wattlane.core.types import Estimate
    from wattlane.model.laws.phase import Case
    from wattlane.model.predict import Prediction
    from wattlane.model.profile import Profile

WORDS = {
    "power_w": "power, all GPUs of the deployment",
    "itl_s": "gap between tokens, mean",
    "ttft_s": "prefill of one request alone, no queue",
    "tokens_per_s": "output tokens, all sequences",
    "energy_j_per_output_token": "GPU energy, prefill included",
    "prefill_j_per_token": "per input token, added to a running batch",
    "decode_j_per_token": "per output token, prefill excluded",
    "wall_power_w": "at the wall, its share of full servers",
    "wall_energy_j_per_output_token": "at the wall, prefill included",
}


def register(app: typer.Typer) -> None:
    """Add the verb to the application."""
    app.command(name="predict")(predict)


def predict(
    cases: Annotated[Path | None, typer.Argument(help="A CSV, Parquet or JSONL with a row a case; needs -o.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Table to write, by its suffix.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model, or path of a config.json.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Name of a GPU; see: wattlane show gpus.")] = None,
    batch: Annotated[float, typer.Option(help="Sequences that run together, over all replicas.")] = 1.0,
    input: Annotated[
        float | None, typer.Option(help="Mean input tokens of a request; left out: over a stated prior.")
    ] = None,
    output: Annotated[float | None, typer.Option(help="Mean output tokens of a request.")] = None,
    precision: Annotated[str, typer.Option(help="Of the weights: bf16, fp8, mxfp4, ...")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs of a replica (tensor parallel).", min=1)] = 1,
    pp: Annotated[int, typer.Option(help="Stages of a replica (pipeline parallel), each of tp GPUs.", min=1)] = 1,
    ep: Annotated[int | None, typer.Option(help="GPUs whole experts are spread over: tp, or 1 splits each.")] = None,
    dp: Annotated[int, typer.Option(help="Replicas (data parallel).", min=1)] = 1,
    kv_precision: Annotated[str, typer.Option(help="Of the KV cache: bf16, fp8, ...")] = "bf16",
    clock_mhz: Annotated[
        float | None, typer.Option("--clock-mhz", "--clock", help="SM clock in MHz; the highest if left out.")
    ] = None,
    power_cap_w: Annotated[
        float | None, typer.Option("--power-cap-w", "--power-cap", help="Watts a GPU; the clock it forces is solved.")
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="A profile file, asked instead of the shipped one.")] = None,
    law: Annotated[Path | None, typer.Option(help="A law file of wattlane fit, asked instead of a profile.")] = None,
    scope: Annotated[str, typer.Option(help="gpu, or wall: watts and joules of whole servers beside them.")] = "gpu",
    regime: Annotated[
        bool, typer.Option("--regime", help="What each phase waits for, which knobs pay; -o writes regimes.json.")
    ] = False,
    draws: Annotated[int, typer.Option(help="Intervals from so many seeded draws; 0: the delta method.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, in SI units.")] = False,
) -> None:
    """Predict steady serving of a model on a GPU, each value with its 95 % interval; all of it is modelled.

    One case by flags, or many by table: columns model (or model_config), gpu, batch, output_tokens; optional num_gpus,
    tp, pp, ep, dp, precision, kv_precision, input_tokens, clock_hz, power_cap_w, engine. With --law, energy and runtime
    of one request from a fitted law file.

    Examples: wattlane predict --model Llama-3.1-8B-Instruct --gpu H100 --batch 64 --input 1024 --output 256 ·
    wattlane predict cases.csv -o predictions.parquet
    """
    if cases is not None:
        _table(cases, out, profile, scope, as_json)
        return
    if output is None or (law is not None and input is None):
        raise InputError("predict: found no --output (and, with --law, --input); expected tokens, or a table of cases")
    if law is not None:
        _from_law(law, input or 0.0, output, as_json)
        return
    from wattlane.model.predict import predict as predicted

    split = {"pipeline_parallel": pp, "expert_parallel": ep, "kv_precision": kv_precision}
    case, own = _case(model, gpu, profile, (precision, tp, clock_mhz), split)
    if regime:
        _regime(case, own, (batch, input, output), out, as_json)
        return
    asked = {"batch": batch, "input_tokens": input, "output_tokens": output, "data_parallel": dp, "scope": scope}
    found = predicted(case, **asked, power_cap_w=power_cap_w, profile=own, draws=draws, seed=seed)  # type: ignore[arg-type]
    emit_json(found.as_dict()) if as_json else _print(found, case.model.name)


def _case(
    model: str | None,
    gpu: str | None,
    profile: Path | None,
    usual: tuple[str, int, float | None],
    split: Mapping[str, Any],
) -> tuple[Case, Profile | None]:
    from wattlane.core.facts import gpus
    from wattlane.core.facts.config import resolve_model
    from wattlane.model.laws.phase import Case
    from wattlane.model.profile import read_profile

    own = None if profile is None else read_profile(profile)
    gpu = own.gpu if own is not None and gpu is None else gpu
    if model is None or gpu is None:
        raise InputError("predict: found no --model or no --gpu; expected both, or a law file with --law")
    precision, tp, clock_mhz = usual
    if split["expert_parallel"] not in (None, 1, tp):
        raise InputError(f"predict: --ep is {split['expert_parallel']}; expected 1 or --tp, {tp}")
    clock_hz = None if clock_mhz is None else clock_mhz * 1e6
    return Case(gpus.gpu(gpu), resolve_model(model), precision, tp, clock_hz, **split), own


def _regime(
    case: Case, own: Profile | None, asked: tuple[float, float | None, float], out: Path | None, as_json: bool
) -> None:
    from wattlane.cli.regime_words import regime_words
    from wattlane.core.files import write_json
    from wattlane.model.regime import regimes

    batch, prompt, output = asked
    if prompt is None:
        raise InputError("predict --regime: found no --input; expected the tokens of a prompt")
    found = regimes(case, batch=batch, input_tokens=prompt, output_tokens=output, profile=own)
    if out is not None:
        write_json(out, "regimes", found.as_dict())
    if as_json:
        emit_json(found.as_dict())
        return
    typer.echo(regime_words(found))


def _table(cases: Path, out: Path | None, profile: Path | None, scope: str, as_json: bool) -> None:
    from wattlane.model.predict_file import predict_file

    if out is None:
        raise typer.BadParameter("expected a table to write, -o PREDICTIONS.parquet", param_hint="-o")
    found = predict_file(cases, out, profile, scope)
    if as_json:
        emit_json(found)
        return
    typer.echo(
        f"{found['rows']:,} rows, {found['deployments']:,} deployments: {found['predicted']:,} predicted, "
        f"{found['extrapolated']:,} of them extrapolated, {found['refused']:,} refused"
    )
    say.print(
        f"read {found['read_s']:.2f} s, predicted {found['predict_s']:.2f} s, wrote {out} {found['write_s']:.2f} s",
        markup=False,
        soft_wrap=True,
    )
    for reason, rows in found["refusals"].items():
        say.print(f"refused, {rows:,} rows: {reason}", markup=False, soft_wrap=True)


def _print(found: Prediction, model: str) -> None:
    prompt = "prompts of a prior" if found.input_tokens is None else f"{found.input_tokens:g} in"
    typer.echo(
        f"{model}, batch {found.batch:g}, {prompt}, {found.output_tokens:g} out, "
        f"{found.clock_hz / 1e6:.0f} MHz: {found.profile}"
    )
    _print_estimates({name: value for name in WORDS if (value := getattr(found, name)) is not None})
    for name, one in found.conformal.items():
        typer.echo(f"  {name:<30}{'':>10} [{one.lo:.4g}, {one.hi:.4g}] {one.unit:<9} 90 %, split-conformal")
    if found.wall_alone_w is not None:
        typer.echo(f"  {'wall_alone_w':<30}{found.wall_alone_w:>10.4g} W: the servers it needs, their other GPUs idle")
    for reason in found.reasons:
        say.print(f"extrapolated: {reason}", markup=False, soft_wrap=True)
    for note in found.notes:
        say.print(f"note: {note}", markup=False, soft_wrap=True)


def _print_estimates(estimates: Mapping[str, Estimate]) -> None:
    for name, value in estimates.items():
        typer.echo(
            f"  {name:<30}{value.mean:>10.4g} [{value.lo:.4g}, {value.hi:.4g}] {value.unit:<9} {WORDS.get(name, '')}"
        )


def _from_law(path: Path, input_tokens: float, output_tokens: float, as_json: bool) -> None:
    from wattlane.model.ask_law import ask_law

    found = ask_law(path, input_tokens, output_tokens)
    if as_json:
        emit_json(found.as_dict())
        return
    typer.echo(f"{found.model}, one request of {input_tokens:g} in, {output_tokens:g} out: {found.law} law")
    _print_estimates(found.estimates)
    for reason in found.reasons:
        say.print(f"extrapolated: {reason}", markup=False, soft_wrap=True)
    for note in found.notes:
        say.print(f"note: {note}", markup=False, soft_wrap=True)
