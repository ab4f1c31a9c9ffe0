"""Energy and latency by length: one row a bucket of input (and output) tokens, from served rows.

    energy of a bucket  = e_prefill · Σ (input − cached) + e_decode · Σ (output − 1)    over its completed requests
    per request         = energy of the bucket / completed requests in it

e_prefill and e_decode are the phase energies of the run over its tokens, so the buckets sum to the energy of the
phases and the joules of failed requests stay in it; idle energy belongs to no bucket. That each token of a phase costs
the same is an assumption: the column is modelled. Failed requests are counted beside, never in a denominator. Edges
are [lo, hi).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattlane.core.errors import InputError
from wattlane.core.served import latency
from wattlane.core.types import Origin, Outcome, Slo

if TYPE_CHECKING:
    import polars as pl

DEFAULT_EDGES_TOKENS = (128, 512, 2048)
ALL = "all"


@dataclass(frozen=True, slots=True)
class PhaseCosts:
    """Energies of the run's phases, J, None where absent, and what they include."""

    prefill_j: float | None = None
    decode_j: float | None = None
    boundary: str | None = None

    @classmethod
    def of(cls, measurement: Mapping[str, Any]) -> PhaseCosts:
        """Return the costs that a `measurement.json` states."""
        phases = measurement["phases"]
        return cls(phases["prefill"]["energy_j"], phases["decode"]["energy_j"], measurement["energy"]["boundary"])


def by_length(
    table: pl.DataFrame,
    costs: PhaseCosts | None = None,
    input_edges_tokens: Sequence[int] = DEFAULT_EDGES_TOKENS,
    output_edges_tokens: Sequence[int] = (),
    slo: Slo | None = None,
) -> list[dict[str, Any]]:
    """Return one row a bucket that holds requests, shortest first, and one for all of them.

    Args:
        table: served rows; a request without token counts falls into the bucket of what was asked for.
        costs: phase energies of the run; without them energies are absent.
        input_edges_tokens: where buckets of prompt length meet.
        output_edges_tokens: where buckets of answer length meet; none makes no difference between answers.
        slo: latency targets of the attainment.

    Raises:
        InputError: no rows, or edges that do not ascend or are below 1.
    """
    problems = [
        f"{name} is {list(edges)}; expected ascending lengths of at least 1"
        for name, edges in (("input edges", input_edges_tokens), ("output edges", output_edges_tokens))
        if list(edges) != sorted(set(edges)) or (edges and edges[0] < 1)
    ]
    if not len(table):
        problems.append("found no requests; expected at least 1")
    if problems:
        raise InputError.gathered("buckets", problems)
    rates = _rates(table, costs or PhaseCosts())
    rows = [
        _row(name, part, rates, costs, slo or Slo())
        for name, part in _parts(table, input_edges_tokens, output_edges_tokens)
    ]
    return [*rows, _row(ALL, table, rates, costs, slo or Slo())]


def _parts(
    table: pl.DataFrame, input_edges: Sequence[int], output_edges: Sequence[int]
) -> Iterator[tuple[str, pl.DataFrame]]:
    inputs, outputs = _lengths(table, "input_tokens"), _lengths(table, "output_tokens")
    for low, high in _ranges(input_edges):
        for least, most in _ranges(output_edges):
            inside = (inputs >= low) & (outputs >= least)
            inside = inside & (inputs < high) if high is not None else inside
            inside = inside & (outputs < most) if most is not None else inside
            part = table.filter(inside)
            if len(part):
                answer = f", {_name(least, most)} out" if output_edges else ""
                yield f"{_name(low, high)} in{answer}", part


def _ranges(edges: Sequence[int]) -> list[tuple[int, int | None]]:
    return list(zip([0, *edges], [*edges, None], strict=True))


def _name(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else f"{low}-{high - 1}"


def _lengths(table: pl.DataFrame, name: str) -> pl.Series:
    asked = f"asked_{name}"
    known = table[name].fill_null(table[asked]) if asked in table.columns else table[name]
    return known.fill_null(0)


def _rates(table: pl.DataFrame, costs: PhaseCosts) -> tuple[float | None, float | None]:
    """Return joules per computed prompt token and per later token; None where the energy or its tokens are absent."""
    prompts, _, later = _tokens(table)
    if not later and costs.prefill_j is not None and costs.decode_j is not None and prompts:
        return (costs.prefill_j + costs.decode_j) / prompts, 0.0  # no request wrote a second token
    return (
        costs.prefill_j / prompts if costs.prefill_j is not None and prompts else None,
        costs.decode_j / later if costs.decode_j is not None and later else None,
    )


def _tokens(table: pl.DataFrame) -> tuple[int, int, int]:
    """Return prompt tokens that were computed, output tokens, and those after the first of each request."""
    done = table.filter(table["outcome"] == Outcome.COMPLETED.value)
    prompts = int(done["input_tokens"].fill_null(0).sum()) - int(done["cached_tokens"].fill_null(0).sum())
    answers = done["output_tokens"].fill_null(0)
    return prompts, int(answers.sum()), int((answers - 1).clip(0).sum())


def _row(
    name: str, part: pl.DataFrame, rates: tuple[float | None, float | None], costs: PhaseCosts | None, slo: Slo
) -> dict[str, Any]:
    found = latency(part, slo)
    completed = found.requests - found.failed
    prompts, answers, later = _tokens(part)
    prefill_j = None if rates[0] is None else rates[0] * prompts
    decode_j = None if rates[1] is None else rates[1] * later
    energy_j = None if prefill_j is None or decode_j is None else prefill_j + decode_j
    each_j = None if energy_j is None or completed == 0 else energy_j / completed
    return {
        "bucket": name,
        "requests": found.requests,
        "completed": completed,
        "failed": found.failed,
        "input_tokens": prompts,
        "output_tokens": answers,
        "prefill_j": prefill_j,
        "decode_j": decode_j,
        "energy_j_per_request": each_j,
        "energy_j_per_output_token_with_prefill": energy_j / answers if energy_j is not None and answers else None,
        "energy_status": (Origin.ABSENT if energy_j is None else Origin.MODELLED).value,
        "boundary": None if energy_j is None or costs is None else costs.boundary,
        "ttft_p50_s": found.ttft_p50_s,
        "ttft_p99_s": found.ttft_p99_s,
        "tbt_p50_s": found.tbt_p50_s,
        "tbt_p99_s": found.tbt_p99_s,
        "e2e_p50_s": found.e2e_p50_s,
        "e2e_p99_s": found.e2e_p99_s,
        "slo_attainment": found.slo_attainment,
    }
