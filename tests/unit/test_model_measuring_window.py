"""A measuring window that has not come to rest had younger contexts and fewer prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phase_rows import KNOWN, TRUTH, synthetic

from wattlane.model.fit_phase import (
    errors,
    table,
)
from wattlane.model.measuring_window import STEADY, mean_age, shares, window_length


def test_slots_of_a_long_run_come_to_rest() -> None:
    assert window_length(100.0) == pytest.approx(100.25)
    assert mean_age(1e4) == pytest.approx(1.0, abs=1e-3)
    long = shares("lm-arena-chat", 8)
    assert long.context == pytest.approx(1.0, abs=0.01)
    assert long.prompt == pytest.approx(1.0, abs=0.01)
    assert shares("nobody's task", 8) == STEADY
    assert shares("gpqa", 5000) == STEADY


def test_window_ages_are_those_of_simulated_slots() -> None:
    rng = np.random.default_rng(0)
    slots, ended = 20000, 0.6
    ages, ends, age = 0.0, 0, np.zeros(slots)
    left, step, steps = rng.gamma(2.0, 0.5, slots), 0.01, 0
    while ends < ended * slots:
        age, left, steps = age + step, left - step, steps + 1
        done = left <= 0.0
        ends += int(done.sum())
        age[done], left[done] = 0.0, rng.gamma(2.0, 0.5, int(done.sum()))
        ages += float(age.mean())
    assert window_length(ended) == pytest.approx(steps * step, rel=0.03)
    assert mean_age(window_length(ended)) == pytest.approx(ages / steps / 0.75, rel=0.03)


def test_prompts_sent_again_are_not_prefilled_again_and_those_of_code_are() -> None:
    assert shares("lm-arena-chat", 1024).prompt == 0.0
    assert shares("gpqa", 256).prompt == 0.0
    assert 0.0 < shares("lm-arena-chat", 768).prompt < 0.25
    assert shares("sourcegraph-fim", 1024).prompt > 0.5
    younger = [shares("gpqa", n).context for n in (8, 32, 128, 512)]
    assert younger == sorted(younger, reverse=True)


def test_rows_of_a_young_window_had_less_context_and_less_prefill() -> None:
    row = synthetic(noise=0.0)[6]
    same, young, cached = (
        errors(TRUTH, KNOWN, table([[changed]]))[0][0]
        for changed in (
            row,
            replace(row, window=STEADY._replace(context=0.3)),
            replace(row, window=STEADY._replace(prompt=0.0)),
        )
    )
    assert same == pytest.approx(0.0, abs=1e-9)
    assert young < -0.01
    assert cached < -0.01
