"""Both ways to find the phases of a batch, on an engine whose phases have known lengths."""

from __future__ import annotations

import time
from typing import Self

import pytest

from wattlane.core.errors import InputError
from wattlane.measure.engines.inprocess import Generated, Prompts, Stretch
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.phases.in_process import two_ways
from wattlane.measure.tokens import count_static

PREFILL_S, STEP_S = 0.06, 0.02


class Sleeper:
    """An engine that takes `PREFILL_S` for a batch of prompts and `STEP_S` for a token."""

    pid = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def prefill(self, prompts: Prompts) -> Stretch:
        return stretch(PREFILL_S)

    def decode(self, steps: int) -> tuple[Stretch, ...]:
        return tuple(stretch(STEP_S) for _ in range(steps))

    def generate(
        self, prompts: Prompts, output_tokens: int, *, decoding: str = "greedy", batching: str = "static"
    ) -> Generated:
        outputs = tuple((1,) * output_tokens for _ in prompts)
        counted = count_static([len(p) for p in prompts], [output_tokens] * len(prompts))
        return Generated(stretch(PREFILL_S + (output_tokens - 1) * STEP_S), outputs, counted)

    def describe(self) -> dict[str, object]:
        return {}


def stretch(duration_s: float) -> Stretch:
    start_s = time.monotonic()
    time.sleep(duration_s)
    return Stretch(start_s, time.monotonic(), 0.0)


def test_both_ways_find_the_lengths_of_the_phases_and_no_energy_without_a_meter() -> None:
    found = two_ways(Sleeper(), [[5] * 8] * 2, 6, repeats=3)
    for prefill, decode in (found.boundary_s, found.difference_s):
        assert prefill.mean_s == pytest.approx(PREFILL_S, rel=0.3)
        assert decode.mean_s == pytest.approx(5 * STEP_S, rel=0.3)
    assert (found.boundary, found.difference, found.disagreement) == (None, None, None)
    assert found.as_dict()["boundary"] is None
    assert found.tokens.decode_tokens == 10


def test_energy_of_a_constant_card_is_its_power_times_the_phase() -> None:
    found = two_ways(Sleeper(), [[5] * 8], 6, repeats=3, meter=SimulatedMeter.constant(100.0))
    assert found.boundary is not None
    assert found.difference is not None
    assert found.disagreement is not None
    for split, (prefill, decode) in ((found.boundary, found.boundary_s), (found.difference, found.difference_s)):
        # the card counts in steps longer than these phases: the stated error has to hold the difference
        assert abs(split.prefill.energy_j - 100 * prefill.mean_s) <= 3 * split.prefill.se_j
        assert abs(split.decode.energy_j - 100 * decode.mean_s) <= 3 * split.decode.se_j


def test_one_token_or_one_repeat_is_refused() -> None:
    with pytest.raises(InputError, match="2 problems"):
        two_ways(Sleeper(), [[1]], 1, repeats=1)
