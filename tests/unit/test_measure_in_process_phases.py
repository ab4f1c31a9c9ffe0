"""Both ways to find the phases of a batch, on an engine whose phases have known lengths."""

from __future__ import annotations

import time
from statistics import fmean
from typing import Self

import pytest

from wattlane.core.errors import InputError
from wattlane.measure.engines.inprocess import Generated, Prompts, Stretch
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.phases.in_process import two_ways
from wattlane.measure.tokens import count_static

PREFILL_S, STEP_S = 0.03, 0.01


class Sleeper:
    """An engine that takes `PREFILL_S` for a batch of prompts and `STEP_S` for a token, and keeps how long it took."""

    pid = None

    def __init__(self) -> None:
        self.took_s: dict[str, list[float]] = {"prefill": [], "decode": [], "first": [], "whole": []}

    def _slept(self, what: str, duration_s: float) -> Stretch:
        found = stretch(duration_s)
        self.took_s[what].append(found.duration_s)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def prefill(self, prompts: Prompts) -> Stretch:
        return self._slept("prefill", PREFILL_S)

    def decode(self, steps: int) -> tuple[Stretch, ...]:
        return tuple(self._slept("decode", STEP_S) for _ in range(steps))

    def generate(
        self, prompts: Prompts, output_tokens: int, *, decoding: str = "greedy", batching: str = "static"
    ) -> Generated:
        outputs = tuple((1,) * output_tokens for _ in prompts)
        counted = count_static([len(p) for p in prompts], [output_tokens] * len(prompts))
        what = "first" if output_tokens == 1 else "whole"
        return Generated(self._slept(what, PREFILL_S + (output_tokens - 1) * STEP_S), outputs, counted)

    def describe(self) -> dict[str, object]:
        return {}


def stretch(duration_s: float) -> Stretch:
    start_s = time.monotonic()
    time.sleep(duration_s)
    return Stretch(start_s, time.monotonic(), 0.0)


def test_both_ways_find_the_lengths_of_the_phases_and_no_energy_without_a_meter() -> None:
    engine = Sleeper()
    found = two_ways(engine, [[5] * 8] * 2, 6, repeats=3)
    # the first round is before the clock; the five steps of a run follow each other with little between them
    took_s = {what: fmean(all_s[len(all_s) // 4 :]) for what, all_s in engine.took_s.items()}
    assert [len(all_s) for all_s in engine.took_s.values()] == [4, 20, 4, 4]
    assert found.boundary_s[0].mean_s == pytest.approx(took_s["prefill"])
    assert 5 * took_s["decode"] - 1e-9 <= found.boundary_s[1].mean_s
    assert found.boundary_s[1].mean_s == pytest.approx(5 * took_s["decode"], rel=0.3)
    assert found.difference_s[0].mean_s == pytest.approx(took_s["first"])
    assert found.difference_s[1].mean_s == pytest.approx(took_s["whole"] - took_s["first"])
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
