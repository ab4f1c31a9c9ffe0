"""The phase law obeys physics: memory is streamed, arithmetic is bounded, power stays below the limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import all_gpus, gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model.check_law import check_law
from wattlane.model.laws.bilinear import BilinearFit, Side, read_bilinear, write_bilinear
from wattlane.model.laws.phase import Case, geometry, law_rows, law_vector, taken
from wattlane.model.predict import PhaseRequests
from wattlane.model.profile import profile_for, read_profile, shipped_profiles, write_profile
from wattlane.model.steady import effective_context, steady

H100 = gpu("H100")
LLAMA_8B, LLAMA_70B = model("Llama-3.1-8B"), model("Llama-3.1-70B")
PARAMETERS = profile_for(H100).families["dense"].parameters


def test_decode_of_one_sequence_takes_no_less_than_streaming_the_weights() -> None:
    law = law_vector(PARAMETERS, Case(H100, LLAMA_8B))
    bound_s = law[it.WEIGHT_BYTES] / H100.bandwidth_bytes_per_s
    assert bound_s < it.cost(law, 0.0, 0.0, 1.0, 1.0)[0] < 3 * bound_s


def test_prefill_of_a_long_prompt_takes_no_less_than_its_arithmetic() -> None:
    law = law_vector(PARAMETERS, Case(H100, LLAMA_8B))
    flop = 4096 * law[it.FLOP_PER_PREFILL_TOKEN]
    assert it.cost(law, 4096.0, 4096.0**2 / 2, 0.0, 0.0)[0] > flop / H100.peak_flop_per_s("bf16")


def test_two_gpus_stream_the_weights_in_half_the_time_and_idle_at_twice_the_watts() -> None:
    one, two = (law_vector(PARAMETERS, Case(H100, LLAMA_70B, tensor_parallel=tp)) for tp in (2, 4))
    assert two[it.WEIGHT_BYTES_PER_S] == pytest.approx(2 * one[it.WEIGHT_BYTES_PER_S])
    assert two[it.FLOP_PER_S] == pytest.approx(2 * one[it.FLOP_PER_S])
    for name in (it.STATIC_W, it.IDLE_W, it.LIMIT_W):
        assert two[name] == pytest.approx(2 * one[name])
    assert law_vector(PARAMETERS, Case(H100, LLAMA_8B))[it.COMM_S] == 0.0
    assert one[it.LAYER_S] == two[it.LAYER_S] > 0.0
    assert one[it.COMM_S] > 0


def test_eight_bit_weights_take_half_the_bytes_but_for_the_embeddings() -> None:
    wide, narrow = (Case(H100, LLAMA_8B, precision) for precision in ("bf16", "fp8"))
    embedding = 2 * 2.0 * LLAMA_8B.vocab * LLAMA_8B.hidden
    assert narrow.weight_bytes - embedding == pytest.approx((wide.weight_bytes - embedding) / 2)
    assert law_vector(PARAMETERS, narrow)[it.FLOP_J] < law_vector(PARAMETERS, wide)[it.FLOP_J]
    tied = replace(LLAMA_8B, tied_embeddings=True)
    assert Case(H100, LLAMA_8B).weight_bytes - Case(H100, tied).weight_bytes == pytest.approx(embedding / 2)


def test_busy_card_never_draws_less_than_a_waiting_one() -> None:
    low = {**PARAMETERS, "busy_share": 0.01, "host_share": 0.01, "layer_share": 0.01}
    law = law_vector(low, Case(H100, LLAMA_8B, idle_w=100.0))
    assert law[it.STATIC_W] == law[it.IDLE_W] == 100.0
    assert law[it.HOST_LESS_W] == law[it.LAYER_LESS_W] == 0.0


def test_many_cases_at_once_give_the_laws_of_each() -> None:
    cases = [Case(H100, LLAMA_8B), Case(gpu("B200"), model("gpt-oss-20b"), "mxfp4", 2), Case(H100, LLAMA_70B, "fp8", 4)]
    together = law_rows(PARAMETERS, geometry(cases))
    for law, case in zip(together, cases, strict=True):
        assert (law == law_vector(PARAMETERS, case)).all()
    some = law_rows(PARAMETERS, taken(geometry(cases), np.array([2, 0])))
    assert (some == together[[2, 0]]).all()


def test_cache_copies_grow_with_gpus_beyond_the_heads_and_its_precision_halves_them() -> None:
    few = model("Qwen3-235B-A22B")  # 4 KV heads
    per_gpu = [Case(H100, few, tensor_parallel=tp).kv_bytes_per_token / tp for tp in (1, 4, 8)]
    assert per_gpu[0] / per_gpu[1] == 4
    assert per_gpu[1] == per_gpu[2]
    latent = model("DeepSeek-V3")
    assert Case(H100, latent, tensor_parallel=8).kv_bytes_per_token == 8 * Case(H100, latent).kv_bytes_per_token
    assert Case(H100, few, kv_precision="fp8").kv_bytes_per_token == Case(H100, few).kv_bytes_per_token / 2


def test_recurrent_state_costs_a_sequence_whatever_its_length() -> None:
    hybrid = law_vector(PARAMETERS, Case(H100, model("NVIDIA-Nemotron-Nano-9B-v2")))
    plain = law_vector(PARAMETERS, Case(H100, LLAMA_8B))
    assert hybrid[it.SEQ_S] > 2 * plain[it.SEQ_S]
    assert hybrid[it.KV_BYTES_PER_TOKEN] < 0.2 * plain[it.KV_BYTES_PER_TOKEN]


def test_pipeline_stages_stream_no_faster_and_compute_on_all_gpus() -> None:
    one, two = (law_vector(PARAMETERS, Case(H100, LLAMA_70B, tensor_parallel=4, pipeline_parallel=pp)) for pp in (1, 2))
    seconds = [law[it.WEIGHT_BYTES] / law[it.WEIGHT_BYTES_PER_S] for law in (one, two)]
    assert seconds[0] == pytest.approx(seconds[1])
    assert two[it.WEIGHT_BYTES] == 2 * one[it.WEIGHT_BYTES]  # every stage streams its part for every part of the batch
    for name in (it.FLOP_PER_S, it.KV_BYTES_PER_S, it.STATIC_W, it.LIMIT_W):
        assert two[name] == pytest.approx(2 * one[name])


def test_few_experts_a_gpu_are_more_uneven_than_many() -> None:
    few, many, split = (
        law_vector(PARAMETERS, Case(H100, model(name), tensor_parallel=8, expert_parallel=ep))[it.EXPERT_SPREAD]
        for name, ep in (("Llama-4-Scout-17B-16E", None), ("Qwen3-235B-A22B", None), ("Qwen3-235B-A22B", 1))
    )
    assert few > many > split == 1.0


@pytest.mark.parametrize("board", list(shipped_profiles()))
def test_power_stays_between_idle_and_limit_whatever_runs(board: str) -> None:
    profile, card = shipped_profiles()[board], gpu(board)
    for name, tp in (("Llama-3.1-8B", 1), ("Llama-3.1-70B", 4), ("Qwen3-30B-A3B", 2)):
        law = profile.law(Case(card, model(name), tensor_parallel=tp))
        for p in (0.0, 100.0, 8192.0):
            for d in (0.0, 1.0, 300.0, 4000.0):
                t, e = it.cost(law, p, p * p / 2, d, d * 1000.0)
                assert t > 0
                assert tp * card.idle_loaded_w * 0.85 <= e / t <= tp * card.tdp_w * (1 + 1e-12)


def test_cache_room_is_what_the_weights_leave() -> None:
    case = Case(H100, LLAMA_8B)
    tokens = case.kv_capacity_tokens(0.9)
    assert tokens * case.kv_bytes_per_token + case.weight_bytes < 0.9 * H100.memory_bytes
    assert 300_000 < tokens < 500_000
    with pytest.raises(InputError, match=r"needs 14\d\.\d GB; found 7\d\.\d GB on 1 x H100; use more GPUs"):
        Case(H100, LLAMA_70B).kv_capacity_tokens(0.9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"precision": "bf8"}, "precision is 'bf8'"),
        ({"kv_precision": "x"}, "kv_precision is 'x'"),
        ({"tensor_parallel": 0}, "at least 1"),
        ({"clock_hz": 5e9}, "runs between"),
        ({"clock_hz": 1e6}, "runs"),
    ],
)
def test_impossible_cases_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Case(H100, LLAMA_8B, **wrong)  # type: ignore[arg-type]


def test_sliding_window_layers_stop_reading_at_their_window() -> None:
    windowed = model("gpt-oss-20b")
    assert windowed.window_layers > 0
    assert effective_context(windowed, 100.0) == 100.0
    assert effective_context(windowed, 10_000.0) < 0.6 * 10_000
    assert effective_context(LLAMA_8B, 10_000.0) == 10_000.0


def test_steady_parts_close_to_the_whole_and_prompts_cost_time() -> None:
    law = law_vector(PARAMETERS, Case(H100, LLAMA_8B))
    for batch, tin, tout in ((8.0, 500.0, 200.0), (300.0, 1000.0, 20.0)):
        mean = steady(law, batch, tin, tout, tin + tout / 2)
        assert mean.decode_j + mean.prefill_j == pytest.approx(mean.iteration_j, rel=1e-12)
        assert mean.iteration_s > it.cost(law, 0.0, 0.0, batch, batch * (tin + tout / 2))[0]
        assert mean.power_w == mean.iteration_j / mean.iteration_s


def test_every_gpu_of_the_catalogue_gets_a_law_at_every_clock() -> None:
    for board in all_gpus().values():
        for clock_hz in (None, board.clock_min_hz, board.clock_max_hz):
            law = profile_for(board).law(Case(board, LLAMA_8B, clock_hz=clock_hz))
            assert np.isfinite(law).all()
            assert (law >= 0).all()


@pytest.mark.parametrize("board", list(shipped_profiles()))
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B"])
def test_phase_law_passes_the_battery_of_all_laws(tmp_path: Path, board: str, name: str) -> None:
    profile, path = shipped_profiles()[board], tmp_path / "profile.json"
    write_profile(profile, path)
    case = Case(gpu(board), model(name), tensor_parallel=2)
    law, again = (PhaseRequests(p, case, batch=32.0) for p in (profile, read_profile(path)))
    assert check_law(law, again, [16, 100, 1000, 8000], [8, 64, 500, 3000]) == []


def test_bilinear_law_with_non_negative_coefficients_passes_the_battery(tmp_path: Path) -> None:
    law = BilinearFit("m", Side((0.01, 3.0, 1e-4), 5.0), Side((1e-4, 0.02, 1e-6)))
    write_bilinear(law, tmp_path / "law.json")
    assert check_law(law, read_bilinear(tmp_path / "law.json"), [1, 30, 2000], [1, 50, 900]) == []


def test_battery_finds_what_a_wrong_law_breaks() -> None:
    class Falling:
        def request_cost(self, input_tokens: float, output_tokens: float) -> tuple[float, float]:
            return 1.0 / input_tokens, output_tokens**3

    published = BilinearFit("Llama-2 7B", Side((-3.894991, 31.522735, 0.042712)), Side((0.01, 0.08, 1e-4)))
    said = " ".join(check_law(published, published, [8, 2048], [8, 2048]))
    assert "non-negative: energy_j at (2048, 8)" in said
    assert "monotone: energy_j falls" in said
    assert "round trip" not in said
    wrong = " ".join(check_law(Falling(), published, [8, 16], [8, 16]))
    assert "monotone: runtime_s falls" in wrong
    assert "scale: energy_j" in wrong
    assert "round trip: energy_j" in wrong
