"""From metrics to a workload: the requests of each step, their lengths, and what was lost on the way.

requests of step i   = increase of the request counter (all servers)
arrivals in step i   = that many, uniform over the step: a Poisson process given its count
lengths in step i    = the histogram of step i, lengths within a bucket log-uniform, sums as recorded
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.core.errors import InputError
from wattlane.core.workload import Workload
from wattlane.workload.metrics.counters import Grid, Increases, grid_of, increases, whole
from wattlane.workload.metrics.histograms import TokenHistory, token_history
from wattlane.workload.metrics.loss import InformationLoss, product_range, token_loss
from wattlane.workload.metrics.power import Power, power_of
from wattlane.workload.metrics.queries import (
    GPU_ENERGY,
    GPU_POWER,
    INPUT_BUCKETS,
    INPUT_SUM,
    OUTPUT_BUCKETS,
    OUTPUT_SUM,
    PROMETHEUS_QUERIES,
    REQUESTS,
)
from wattlane.workload.metrics.responses import Series, series_of
from wattlane.workload.metrics.sources import Range, from_file, from_server
from wattlane.workload.metrics.tokens import Tokens, lengths_of

Histories = dict[str, list[Series]]


@dataclass(frozen=True, eq=False, slots=True)
class FromMetrics:
    """A workload, what it cannot know, and the measured power of the same steps (None where there is none)."""

    workload: Workload
    information_loss: InformationLoss
    power: Power | None

    def as_dict(self) -> dict[str, Any]:
        """Return the loss and the power as plain values for a JSON file; unknown power is null."""
        power = None if self.power is None else self.power.as_dict()
        return {"information_loss": self.information_loss.as_dict(), "power": power}


def from_metrics(
    source: Path | str,
    *,
    span: Range | None = None,
    seed: int = 0,
    max_input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    spacing: str = "log",
    name: str = "from-metrics",
) -> FromMetrics:
    """Rebuild a workload from Prometheus range queries: `PROMETHEUS_QUERIES` lists them.

    Args:
        source: a file `{"queries": {metric: response}}`, a folder of responses, or the http(s) address of a server.
        span: what to ask a server; only for an address.
        seed: of at least 0.
        max_input_tokens: longest prompt in the bucket without upper bound; None takes the next of 1, 2, 5, 10, ….
        max_output_tokens: the same for outputs.
        spacing: weight of lengths within a bucket, `log` or `uniform`.
        name: of the workload.

    Raises:
        InputError: the source cannot be read, metrics are missing or malformed (all reported together), or no request
            was recorded.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; expected a whole number of at least 0")
    responses = _responses(source, span)
    problems: list[str] = []
    found = {metric: series_of(metric, responses[metric], problems) for metric in responses}
    found = {metric: series for metric, series in found.items() if series}
    problems += [
        f"{metric} is missing or empty ({query.gives}); run the query {metric} over the range"
        for metric, query in PROMETHEUS_QUERIES.items()
        if query.required and metric not in found and not any(problem.startswith(f"{metric}:") for problem in problems)
    ]
    if problems:
        raise InputError.gathered(str(source), problems)
    grid = grid_of([*found[INPUT_BUCKETS], *found[OUTPUT_BUCKETS]])
    inputs = token_history(
        INPUT_BUCKETS, found[INPUT_BUCKETS], found.get(INPUT_SUM, []), grid, max_input_tokens, problems
    )
    outputs = token_history(
        OUTPUT_BUCKETS, found[OUTPUT_BUCKETS], found.get(OUTPUT_SUM, []), grid, max_output_tokens, problems
    )
    if inputs is None or outputs is None:
        raise InputError.gathered(str(source), problems)
    counted = _requests(found.get(REQUESTS, []), inputs, grid)
    return _rebuilt(str(source), counted, inputs, outputs, found, grid, seed, spacing, name)


def _responses(source: Path | str, span: Range | None) -> dict[str, Any]:
    is_address = str(source).startswith(("http://", "https://"))
    if is_address and span is None:
        raise InputError(f"{source}: a server needs a start and an end; give the range to ask for")
    if not is_address and span is not None:
        raise InputError(f"{source}: a range is for a server's address (http://…), a file has its own; leave it out")
    return from_server(str(source), span) if span is not None else from_file(Path(source))


def _requests(series: list[Series], inputs: TokenHistory, grid: Grid) -> Increases:
    if not series:
        total = inputs.requests.sum(axis=1, keepdims=True)
        return Increases(total, inputs.mended.restarts, inputs.mended.gap_steps, inputs.mended.born)
    counted = increases(series[0].time_s, series[0].values[:, None], grid)
    for one in series[1:]:
        counted = counted + increases(one.time_s, one.values[:, None], grid)
    return counted


def _rebuilt(
    source: str,
    counted: Increases,
    inputs: TokenHistory,
    outputs: TokenHistory,
    found: Histories,
    grid: Grid,
    seed: int,
    spacing: str,
    name: str,
) -> FromMetrics:
    requests = whole(counted.values[:, 0])
    problems = [
        f"{what} shows no request over {grid.steps} steps of {grid.step_s:g} s; choose a range with traffic"
        for what, total in (
            ("the request counter", requests.sum()),
            (INPUT_BUCKETS, inputs.requests.sum()),
            (OUTPUT_BUCKETS, outputs.requests.sum()),
        )
        if not total > 0
    ]
    if problems:
        raise InputError.gathered(source, problems)
    for_arrivals, for_inputs, for_outputs = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    step: Tokens = np.repeat(np.arange(grid.steps), requests)
    arrival_s = np.sort((step + for_arrivals.random(len(step))) * grid.step_s)
    input_tokens, input_buckets = lengths_of(for_inputs, requests, step, inputs, spacing)
    output_tokens, output_buckets = lengths_of(for_outputs, requests, step, outputs, spacing)
    product_lo, product_hi = product_range(input_tokens, output_tokens, step)
    loss = InformationLoss(
        step_s=grid.step_s,
        steps=grid.steps,
        requests=len(step),
        input=token_loss(input_tokens, input_buckets, inputs),
        output=token_loss(output_tokens, output_buckets, outputs),
        product_lo=product_lo,
        product_hi=product_hi,
        dispersion=float(requests.var() / requests.mean()),
        requests_per_step=float(requests.mean()),
        restarts=counted.restarts,
        gap_steps=counted.gap_steps,
        born_requests=counted.born,
    )
    notes = (f"rebuilt from metrics in steps of {grid.step_s:g} s from Unix time {grid.edges_s[0]:.0f}", f"seed {seed}")
    workload = Workload(arrival_s, input_tokens, output_tokens, name=name, notes=notes)
    return FromMetrics(workload, loss, power_of(found.get(GPU_POWER, []), found.get(GPU_ENERGY, []), grid))
