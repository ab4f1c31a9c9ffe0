"""Phases from two kinds of run: one that stops after the first token, and the whole generation.

    prefill = E(first token only)
    decode  = E(generate) − E(first token only),   se² = se²(generate) + se²(first token only)

The prefill-only run makes the first token, so decode covers output − 1 tokens of each row. The difference of two noisy
runs may come out below zero; it then says so and is never clamped.
Source: Delavande et al. 2026, arXiv 2601.22362 (the method); that decode lacks the first token is a reviewer's point.
"""

from __future__ import annotations

from wattlane.core.errors import InputError
from wattlane.core.types import Origin
from wattlane.measure.phases.part import Part, Repeats, Split, minus
from wattlane.measure.tokens import TokenCount

METHOD = "difference of runs"


def by_difference(
    generate: Repeats, prefill_only: Repeats, counted: TokenCount, origin: Origin = Origin.MEASURED
) -> Split:
    """Return prefill and decode energy of a run with their errors.

    Args:
        generate: repeats of the whole generation.
        prefill_only: repeats of the same prompts stopped after the first token, made in separate runs.
        counted: tokens of one whole generation.
        origin: measured, or modelled when the readings were.

    Raises:
        InputError: no row has a second token, so nothing was decoded.
    """
    if counted.decode_tokens < 1:
        raise InputError(
            f"found {counted.output_effective_tokens} output tokens of {counted.requests} rows; expected at least 2 "
            "for one of them: the first token belongs to prefill; generate more"
        )
    whole = generate.part(counted.output_effective_tokens)
    prefill = prefill_only.part(counted.input_effective_tokens)
    decode = minus(whole, prefill, counted.decode_tokens)
    return Split(prefill, decode, whole, METHOD, tuple(_notes(counted, decode)), origin)


def _notes(counted: TokenCount, decode: Part) -> list[str]:
    notes = [
        f"decode_tokens: decode covers {counted.decode_tokens} of {counted.output_effective_tokens} output tokens; the "
        "first of each row is made in the prefill-only run"
    ]
    lo_j, _ = decode.interval_j()
    if decode.energy_j < 0:
        notes.append(
            f"decode_negative: the difference is {decode.energy_j:.4g} J; the runs vary more than decode costs; repeat "
            "more or generate longer"
        )
    elif lo_j <= 0:
        notes.append("decode_not_shown: the interval of the difference holds 0; repeat more or generate longer")
    return notes
