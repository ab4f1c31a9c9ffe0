"""`wattlane simulate`: one workload on one modelled deployment, a measured run replayed, or a suite of controllers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wattlane.cli.console import emit_json, say
from wattlane.cli.latency_lines import latency_lines, milliseconds
from wattlane.core.errors import InputError
from wattlane.core.types import Slo

NEEDS = "simulate needs a WORKLOAD, --model or --fleet, and -o (or --against FOLDER, or --suite NAME and -o)"

RAN = ("model", "precision", "tensor_parallel", "max_num_seqs", "max_num_batched_tokens")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(help=simulate.__doc__)(simulate)


def simulate(
    workload: Annotated[
        str | None, typer.Argument(help="A workload file or a shipped shape; with --suite a SCENARIO.toml.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the result.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name, or its config.json.")] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU's name; H100 where nothing says otherwise.")] = None,
    precision: Annotated[str, typer.Option(help="Precision of the weights.")] = "bf16",
    tp: Annotated[int, typer.Option(help="GPUs a replica is split over.")] = 1,
    replicas: Annotated[int, typer.Option(help="Replicas behind round robin.")] = 1,
    max_num_seqs: Annotated[int | None, typer.Option(help="Sequences in a batch; the engine's default.")] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(help="Tokens in an iteration; the engine's default.")
    ] = None,
    clock_mhz: Annotated[float | None, typer.Option(help="Locked SM clock; the GPU's maximum.")] = None,
    release_window_ms: Annotated[float, typer.Option(help="Hold requests to multiples of this.")] = 0.0,
    ttft_s: Annotated[float, typer.Option("--ttft-s", help="Target for the time to first token, seconds.")] = 1.0,
    tbt_s: Annotated[float, typer.Option("--tbt-s", help="Target for the gap between tokens, seconds.")] = 0.1,
    profile: Annotated[Path | None, typer.Option(help="A profile file, asked instead of the shipped one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of a shape's sample; 0, or the scenario's.", min=0)] = None,
    fleet: Annotated[Path | None, typer.Option(help="A FLEET.toml: pools, scheduling, clocks, rest, failures.")] = None,
    against: Annotated[Path | None, typer.Option(help="Replay the measured runs below a folder instead.")] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="Fit to the first half of measured runs, or of a served.parquet; -o: profile.")
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Compare all controllers on a scenario: slo-energy.")] = None,
    quick: Annotated[bool, typer.Option(help="With --suite: one load, one seed, a quarter of the hour.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a workload on a model and a GPU, iteration by iteration: latencies, energy by phase, every request.

    Example: wattlane simulate azure-conv --model Llama-3.1-8B-Instruct --gpu H100 -o run
    """
    if suite is not None:
        _suite(suite, workload, out, quick, seed, as_json)
        return
    if against is not None:
        _against(against, gpu, as_json)
        return
    if calibrate is not None:
        ran = (model, precision, tp, max_num_seqs, max_num_batched_tokens)
        _calibrate(calibrate, gpu, profile, out, dict(zip(RAN, ran, strict=True)), as_json)
        return
    if workload is None or out is None or (model is None) == (fleet is None):
        raise InputError(f"{NEEDS}; see wattlane simulate --help")
    if model is None or fleet is not None:
        _fleet(workload, fleet or Path(), out, Slo(ttft_s, tbt_s), seed or 0, as_json)
        return
    from wattlane.sim import run

    found = run(
        workload, out, model=model, gpu=gpu or "H100", precision=precision, tensor_parallel=tp, replicas=replicas,
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens,
        clock_hz=None if clock_mhz is None else clock_mhz * 1e6, release_window_s=release_window_ms / 1e3,
        slo=Slo(ttft_s, tbt_s), profile=profile, seed=seed or 0,
    )  # fmt: skip
    _print(found.as_dict(), as_json, out)


def _fleet(workload: str, fleet: Path, out: Path, slo: Slo, seed: int, as_json: bool) -> None:
    from wattlane.sim import run_fleet

    body = run_fleet(workload, fleet, out, slo, seed).as_dict()
    if as_json:
        emit_json(body)
    else:
        typer.echo(f"requests        {body['requests']:,}, {body['refused']:,} refused, {body['retried']:,} retried")
        typer.echo(f"scheduler       {body['preemptions']:,} preemptions, {body['cached_tokens']:,} cached tokens")
        latency_lines(body)
    say.print(f"Results in {out}", soft_wrap=True)


def _suite(name: str, scenario: str | None, out: Path | None, quick: bool, seed: int | None, as_json: bool) -> None:
    from wattlane.cli.progress import steps
    from wattlane.cli.suite_tables import suite_tables
    from wattlane.study.suite import run_suite

    if out is None:
        raise InputError("--suite needs -o, the folder of the result")
    with steps() as progress:
        body = run_suite(name, out, scenario=scenario, quick=quick, seed=seed, progress=progress)
    if as_json:
        emit_json(body)
    else:
        suite_tables(body)
    say.print(f"Results in {out}; wattlane report {out} makes the page", soft_wrap=True)


def _against(folder: Path, gpu: str | None, as_json: bool) -> None:
    from wattlane.sim import compare

    runs = [found.as_dict() for found in compare(folder, gpu)]
    if as_json:
        emit_json({"runs": runs})
        return
    for body in runs:
        typer.echo(f"{body['run']}; law: {body['law']}; {body['requests']} requests")
        typer.echo(f"{'':<20}{'median APE':>11}{'mean APE':>10}{'queue':>8}{'p50':>20}{'p99':>20}")
        for name, e in body["errors"].items():
            half = f"{e['measured_p50_s']:.3g} -> {e['simulated_p50_s']:.3g} s"
            tail = f"{e['measured_p99_s']:.3g} -> {e['simulated_p99_s']:.3g} s"
            share = f"{e['ape_median']:>11.1%}{e['ape_mean']:>10.1%}{e['ape_median_queue']:>8.1%}"
            typer.echo(f"{name:<20}{share}{half:>20}{tail:>20}")
        typer.echo(f"running NRMSE {body['running_nrmse']:.1%} (queue {body['running_nrmse_queue']:.1%})", nl=False)
        typer.echo(f"; tokens/s NRMSE {body['tokens_per_s_nrmse']:.1%}")
        spans = [body[f"makespan_{which}s"] for which in ("", "simulated_", "queue_")]
        typer.echo("makespan measured {:.1f} s, simulated {:.1f} s, queue {:.1f} s\n".format(*spans))
    say.print("Arrow: measured -> simulated. Queue: median APE of one slot a sequence and a constant time per token.")


def _calibrate(
    place: Path, gpu: str | None, profile: Path | None, out: Path | None, ran: dict[str, Any], as_json: bool
) -> None:
    from wattlane.sim import calibrate_runs

    runs = [found.as_dict() for found in calibrate_runs(place, gpu, profile, out, ran)]
    if as_json:
        emit_json({"runs": runs})
        return
    for body in runs:
        typer.echo(f"{body['run']}; fitted: {body['calibrated_on']}")
        for name, p in body["parameters"].items():
            told = f"{p['profile']:>11.4g} -> {p['value']:<10.4g} [{p['lo']:.4g}, {p['hi']:.4g}]"
            told += f", sd {p['prior_sd_log']:.0%} -> {p['sd_log']:.0%}"
            typer.echo(f"  {name:<20}{told}")
        typer.echo(f"{'second half':<20}{'median APE':>11}{'mean APE':>10}{'queue':>8}{'mean':>8}{'p50':>20}")
        for name, e in body["errors"].items():
            half = f"{e['measured_p50_s']:.3g} -> {e['simulated_p50_s']:.3g} s"
            share = f"{e['ape_median']:>11.1%}{e['ape_mean']:>10.1%}{e['ape_median_queue']:>8.1%}"
            typer.echo(f"{name:<20}{share}{e['ape_mean_queue']:>8.1%}{half:>20}")
        typer.echo(f"running NRMSE {body['running_nrmse']:.1%}; tokens/s NRMSE {body['tokens_per_s_nrmse']:.1%}\n")
    say.print(
        "[]: 95 %; sd: of log parameters, before and after. Queue: one slot a sequence, a constant time per token."
    )
    if out is not None:
        say.print(f"Profile calibrated to the first run in {out}", soft_wrap=True)


def _print(body: dict[str, Any], as_json: bool, out: Path) -> None:
    if as_json:
        emit_json(body)
    else:
        _lines(body)
    say.print(f"Results in {out}", soft_wrap=True)


def _lines(body: dict[str, Any]) -> None:
    typer.echo(f"requests        {body['requests']:,}, {body['failed']:,} refused; {body['horizon_s']:,.1f} s")
    typer.echo(f"tokens          {body['input_tokens']:,} in, {body['output_tokens']:,} out")
    for name, key in (("ttft", "ttft"), ("token gap", "tbt"), ("end to end", "e2e")):
        typer.echo(f"{name:<16}p50 {milliseconds(body[key + '_p50_s'])}, p99 {milliseconds(body[key + '_p99_s'])}")
    typer.echo(f"SLO attainment  {body['slo_attainment']:.2%}")
    typer.echo(f"energy          {body['energy_j']:,.0f} J, modelled, GPU boards")
    if body["energy_j_per_request"] is not None:
        parts = (("prefill", "prefill_j"), ("decode", "decode_j"), ("idle", "idle_j"))
        shown = ", ".join(f"{word} {body[key + '_per_request']:.4g}" for word, key in parts)
        typer.echo(f"J per request   {body['energy_j_per_request']:.4g}: {shown}")
        prefill, decode = body["prefill_j_per_computed_token"], body["decode_j_per_decoded_token"]
        decoded = "absent" if decode is None else f"{decode:.4g}"
        typer.echo(f"J per token     prefill {prefill:.4g} a computed prompt token, decode {decoded} a decoded token")
        typer.echo(
            f"                {body['energy_j_per_output_token']:.4g} an output token, prefill and idle included"
        )
    typer.echo(f"ledger residual {body['ledger_residual_j']:.2g} J")
    for note in body["notes"]:
        say.print(f"note: {note}", markup=False, soft_wrap=True)
