"""Time per output token of models and an engine never fitted: `python benchmarks/latency.py` with WATTLANE_DATA.

The aggregated H100 vLLM rows of aiconfigurator's end-to-end table (four models), each model left out in turn: the time
part of the phase law is fitted to the other three, with what ML.ENERGY's rows say of the platform as the prior. That
prior has not seen the architecture of the model left out either.

`roofline + host` is the spec sheet's time plus one constant, fitted to the same three models. Queued rows are those
whose own times say that less than half of what the cache holds was running; their load is not known. They are in `all`.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from wattlane.core import env
from wattlane.core.facts.gpus import gpu
from wattlane.model.calibration import architecture, read_v3
from wattlane.model.fit_latency import fit_latency, held
from wattlane.model.fit_phase import fit_phase, platform_prior, table
from wattlane.model.kernel_efficiency import kernel_efficiencies
from wattlane.model.latency_points import LatencyRow, read_latency
from wattlane.model.priors import priors
from wattlane.model.serving import Load, iteration_work, roofline_s

NAMES = ("H100", "B200")


def spec_sheet_s(row: LatencyRow) -> float:
    """Return the seconds of a mean iteration at peak rates: decoding, and the prompts that come in."""
    case = row.case
    decode = roofline_s(case, Load(row.running, row.input_tokens + row.output_tokens / 2))
    prompts, _ = iteration_work(case, Load(row.running * row.input_tokens / row.output_tokens, row.input_tokens / 2))
    return decode + prompts / (case.tensor_parallel * case.gpu.peak_flop_per_s(case.precision))


def roofline_errors(rest: tuple[LatencyRow, ...], out: tuple[LatencyRow, ...]) -> NDArray[np.float64]:
    """Return log(predicted / measured) of the roofline plus the constant of least mean relative error on `rest`."""
    bound, measured = (np.array([f(r) for r in rest]) for f in (spec_sheet_s, lambda r: r.tpot_s))
    constants = np.linspace(0.0, 0.03, 301)
    loss = [float(np.abs((bound + c) / measured - 1).mean()) for c in constants]
    host_s = constants[int(np.argmin(loss))]
    return np.log([(spec_sheet_s(r) + host_s) / r.tpot_s for r in out])


def main() -> int:
    data = env.data_dir()
    if data is None:
        print("WATTLANE_DATA is not set; it names the folder of tables", file=sys.stderr)
        return 1
    rows = read_latency(data / "latency" / "aiconfigurator_silicon_h100_gb200.csv")
    kernels, v3 = data / "kernels" / "aiconfigurator", data / "energy" / "ml-energy-v3" / "configurations.csv"
    known = table([read_v3(v3, name).rows for name in NAMES])
    before = [priors(kernel_efficiencies(kernels, gpu(name))) for name in NAMES]
    new = priors(kernel_efficiencies(kernels, gpu("H100")), other_software=True)
    everything = fit_phase(known, before)
    print(f"{len(rows)} rows, {sum(r.is_queued for r in rows)} queued")
    heads = f"{'steady':>9}{'median':>9}{'bias':>8}{'all':>9}{'roofline + host':>18}"
    print(f"{'left out':<28}{'rows':>5}{'queued':>8}{heads}")
    means = []
    for name in sorted({r.case.model.name for r in rows}):
        rest, out = held(rows, name)
        group = architecture(out[0].case.model)
        seen = known.group != group
        fit = everything if seen.all() else fit_phase(known.rows(seen), before, everything)
        error = fit_latency(rest, platform_prior(fit, new)).errors(out)
        rival = np.abs(np.expm1(roofline_errors(rest, out)))
        ape, steady = np.abs(np.expm1(error)), np.array([not r.is_queued for r in out])
        means.append((ape[steady].mean(), ape.mean(), rival[steady].mean()))
        bias = np.expm1(np.median(error[steady]))
        print(
            f"{name:<28}{len(out):>5}{(~steady).sum():>8}{means[-1][0]:>9.1%}{np.median(ape[steady]):>9.1%}"
            f"{bias:>+8.1%}{means[-1][1]:>9.1%}{means[-1][2]:>18.1%}",
            flush=True,
        )
    steady_mean, all_mean, rival_mean = np.mean(means, axis=0)
    print(f"{'mean of the four':<41}{steady_mean:>9.1%}{'':>17}{all_mean:>9.1%}{rival_mean:>18.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
