"""Regimes by the law: the published ranges (D8), one rule for measured and modelled times, and which knobs pay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.cli.app import run
from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.core.regime import Bound, classify
from wattlane.core.types import Phase
from wattlane.model.laws.phase import Case
from wattlane.model.profile import Profile, profile_for
from wattlane.model.regime import BATCHES, Regimes, Sample, Work, bound_by_law, floors, regimes, shares

H100, LLAMA = gpu("H100"), model("Llama-3.1-8B-Instruct")
PUBLISHED_DECODE_S, PUBLISHED_FLOOR_S = 24.6e-3, 9.6e-3


def slow_host(seconds: float) -> Profile:
    """The H100 with an engine that spends `seconds` an iteration launching: eager, no graphs."""
    known = profile_for(H100)
    families = {
        kind: replace(family, parameters={**family.parameters, "host_s": seconds})
        for kind, family in known.families.items()
    }
    return replace(known, families=families)


def of(found: Regimes, phase: Phase) -> Bound:
    return next(one.regime.bound for one in found.phases if one.phase is phase)


def test_d8_decode_at_24_6_ms_against_a_floor_of_9_6_ms_is_launch_bound_and_prefill_compute_bound() -> None:
    case = Case(H100, LLAMA, "fp32")
    decode = Work(sequences=1.0, context_tokens=1250.0)
    fast_s = decode.cost(slow_host(1e-6).law(case), LLAMA)[0]
    eager = slow_host(PUBLISHED_DECODE_S - fast_s)
    assert decode.cost(eager.law(case), LLAMA)[0] == pytest.approx(PUBLISHED_DECODE_S, rel=1e-3)
    found = regimes(case, batch=1, input_tokens=1190, output_tokens=52, profile=eager)
    regime = next(one.regime for one in found.phases if one.phase is Phase.DECODE)
    assert regime.byte_floor_s == pytest.approx(PUBLISHED_FLOOR_S, rel=0.07)  # 30 GB streamed; the look-up table is not
    assert regime.bound is Bound.LAUNCH
    assert of(found, Phase.PREFILL) is Bound.COMPUTE
    assert found.phases[1].shares["launches"] > 0.5


def test_d8_decode_of_a_lean_engine_is_bandwidth_bound_and_more_launches_make_it_launch_bound() -> None:
    case, bounds, part = Case(H100, LLAMA), [], []
    for seconds in (1e-4, 3e-3, 1e-2, 3e-2):
        profile = slow_host(seconds)
        bounds.append(of(regimes(case, batch=1, input_tokens=1024, output_tokens=256, profile=profile), Phase.DECODE))
        part.append(shares(profile, case, Work(sequences=1.0, context_tokens=1152.0))["launches"])
    assert (bounds[0], bounds[-1]) == (Bound.BANDWIDTH, Bound.LAUNCH)
    assert part == sorted(part)


def test_a_modelled_phase_is_bound_by_its_largest_share_and_has_the_floors_of_a_measured_one() -> None:
    case, profile = Case(H100, LLAMA), profile_for(H100)
    for works in (
        [Work(prompts=1.0, prompt_tokens=n) for n in (2048.0, 512.0)],
        # twice its floor, and hardly longer with the prompt: by floors alone this would be launches
        [Work(sequences=19.0, context_tokens=n) for n in (1260.0, 400.0)],
    ):
        samples = []
        for work in works:
            flop, moved = floors(case, work)
            tokens = int(work.prompt_tokens or work.context_tokens)
            samples.append(Sample(tokens, work.cost(profile.law(case), LLAMA)[0], flop, moved))
        by_floors = classify(samples, H100.peak_flop_per_s("bf16"), H100.bandwidth_bytes_per_s)
        found, part = bound_by_law(profile, case, works), shares(profile, case, works[0])
        assert replace(found, bound=by_floors.bound) == by_floors
        assert found.bound is {"arithmetic": Bound.COMPUTE, "memory": Bound.BANDWIDTH}[max(part, key=part.__getitem__)]


@pytest.mark.parametrize(("name", "tp"), [("Llama-3.1-8B-Instruct", 1), ("Qwen3-30B-A3B", 1), ("Llama-3.1-70B", 4)])
def test_shares_are_a_partition_of_the_time_and_batch_turns_memory_into_arithmetic(name: str, tp: int) -> None:
    case = Case(gpu("H100"), model(name), tensor_parallel=tp)
    profile = profile_for(H100)
    arithmetic = []
    for batch in BATCHES:
        part = shares(profile, case, Work(sequences=float(batch), context_tokens=100.0))
        assert sum(part.values()) == pytest.approx(1.0)
        assert all(value >= 0.0 for value in part.values())
        assert (part["links"] > 0.0) == (tp > 1)
        arithmetic.append(part["arithmetic"])
    assert arithmetic == sorted(arithmetic)
    assert arithmetic[-1] > 0.1 or case.model.is_moe


def test_time_at_the_power_limit_is_no_launch() -> None:
    case, work = Case(H100, LLAMA), Work(prompts=4.0, prompt_tokens=2048.0)
    part = shares(profile_for(H100), case, work)
    assert part["power limit"] > 0.05
    assert part["launches"] < 0.2
    small = shares(profile_for(H100), case, Work(sequences=1.0, context_tokens=100.0))
    assert small["power limit"] == 0.0


def test_floors_are_below_the_laws_times() -> None:
    for board in ("A100-40GB", "H100", "B200"):
        case, profile = Case(gpu(board), LLAMA), profile_for(gpu(board))
        for work in (Work(prompts=1.0, prompt_tokens=1000.0), Work(sequences=32.0, context_tokens=800.0)):
            flop, moved = floors(case, work)
            floor_s = max(flop / case.gpu.peak_flop_per_s("bf16"), moved / case.gpu.bandwidth_bytes_per_s)
            assert work.cost(profile.law(case), LLAMA)[0] > floor_s


def test_what_pays_follows_from_what_is_waited_for() -> None:
    found = regimes(Case(H100, LLAMA), batch=8, input_tokens=2048, output_tokens=256)
    effects = {(phase.phase, effect.knob, effect.change): effect for phase in found.phases for effect in phase.effects}
    larger = {phase: effects[phase, "batch", "x 4"] for phase in (Phase.PREFILL, Phase.DECODE)}
    assert larger[Phase.DECODE].energy[0] < 0.5 < 0.9 < larger[Phase.PREFILL].energy[0]
    assert larger[Phase.DECODE].verdict == "pays"
    slow = {phase: effects[phase, "clock", "1188 MHz"] for phase in (Phase.PREFILL, Phase.DECODE)}
    # memory-bound decode barely feels the clock, prefill does
    assert slow[Phase.DECODE].time[0] < 1.05 < 1.3 < slow[Phase.PREFILL].time[0]
    assert effects[Phase.DECODE, "precision", "fp8"].verdict == "pays"
    launches = regimes(Case(H100, LLAMA), batch=1, input_tokens=512, output_tokens=64, profile=slow_host(0.2))
    eager = next(e for e in launches.phases[1].effects if e.knob == "precision")
    assert eager.energy[0] > 0.9
    assert "launches and host, whatever the width" in eager.why


def test_effects_of_a_slower_clock_and_of_full_memory_are_not_asked_twice() -> None:
    found = regimes(Case(H100, LLAMA, clock_hz=1.3e9), batch=300, input_tokens=900, output_tokens=64)
    decode = found.phases[1]
    assert [effect.change for effect in decode.effects if effect.knob == "clock"] == ["1188 MHz"]
    assert not [effect for effect in decode.effects if effect.knob == "batch"]  # no room for four times as many


def test_counts_below_one_are_refused_together() -> None:
    with pytest.raises(InputError, match=r"batch is 0[\s\S]*output_tokens is 0"):
        regimes(Case(H100, LLAMA), batch=0, input_tokens=5, output_tokens=0)


def test_the_verb_prints_words_and_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "regimes.json"
    asked = ["predict", "--model", "Llama-3.1-8B", "--gpu", "H100", "--batch", "64", "--output", "256", "--regime"]
    assert run([*asked, "--input", "1024", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "prefill: compute-bound: " in printed
    assert "decode: bandwidth-bound: " in printed
    assert "precision fp8" in printed
    body = json.loads(out.read_text())
    assert body["kind"] == "regimes"
    assert np.allclose([sum(list(row.values())[1:]) for row in body["curves"]["decode"]], 1.0)
    assert run([*asked, "--input", "1024", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == body["phases"]
    assert run(asked) == 1
