"""Pipelines and quantised caches in predictions: one stage changes nothing, waiting never shrinks, caches halve."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from wattlane.cli.app import run
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model.laws.phase import Case
from wattlane.model.predict import drawn_interval, predict
from wattlane.model.predict_bundle import waiting_share
from wattlane.model.predict_rows import PIPELINE_NOTE
from wattlane.model.predict_table import predict_table
from wattlane.model.profile import profile_for

H100, LLAMA, EXPERTS = gpu("H100"), "Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B-Instruct-2507"
ASK = {"input_tokens": 1024.0, "output_tokens": 256.0}


def cases(**columns: object) -> pl.DataFrame:
    base = {"model": LLAMA, "gpu": "H100", "batch": 64, **ASK}
    size = max((len(v) for v in columns.values() if isinstance(v, list)), default=1)
    return pl.DataFrame({k: v if isinstance(v, list) else [v] * size for k, v in {**base, **columns}.items()})


def of_stages(stages: int, **more: object) -> Case:
    return Case(H100, model(LLAMA), pipeline_parallel=stages, **more)  # type: ignore[arg-type]


def test_one_stage_and_a_16_bit_cache_give_the_same_bytes_as_none_named() -> None:
    plain = cases(model=[LLAMA, EXPERTS], batch=[1, 64], power_cap_w=[None, 500.0])
    named = plain.with_columns(pl.lit(1).alias("pp"), pl.lit("bf16").alias("kv_precision"))
    found = predict_table(named).table.select(pl.exclude("pp", "kv_precision"))
    assert_frame_equal(found, predict_table(plain).table, check_exact=True)


def test_an_8_bit_cache_halves_its_bytes_and_holds_twice_the_tokens() -> None:
    wide, narrow = of_stages(1), of_stages(1, kv_precision="fp8")
    assert narrow.kv_bytes_per_token == wide.kv_bytes_per_token / 2
    seconds, joules = [], []
    for case in (wide, narrow):
        law = profile_for(H100).law(case)
        (long_s, long_j), (none_s, none_j) = it.cost(law, 0.0, 0.0, 8.0, 8e4), it.cost(law, 0.0, 0.0, 8.0, 0.0)
        seconds.append(long_s - none_s)
        joules.append(long_j - none_j)
    assert seconds[1] == pytest.approx(seconds[0] / 2)
    assert joules[1] < joules[0]
    assert narrow.kv_capacity_tokens(0.9) == pytest.approx(2 * wide.kv_capacity_tokens(0.9), rel=1e-4)
    found = predict_table(cases(kv_precision=["bf16", "fp8"], batch=256, input_tokens=2500.0)).table
    refused, taken = found.iter_rows(named=True)
    assert "tokens in the cache" in refused["refused"]
    assert taken["extrapolated"]
    assert "KV cache in fp8" in taken["extrapolated_why"]


def test_an_unknown_cache_or_count_is_named_in_its_row() -> None:
    found = predict_table(cases(kv_precision=["int3", "bf16", "bf16"], pp=[1, 0, 2], num_gpus=[1, 1, 3])).table
    said = found["refused"].to_list()
    assert "kv_precision is 'int3'" in said[0]
    assert "pp is 0; expected a whole number of at least 1" in said[1]
    assert said[2] == "num_gpus is 3; expected tp x pp x dp = 1 x 2 x 1 = 2"
    (row,) = predict_table(cases(pp=2, num_gpus=8)).table.iter_rows(named=True)
    assert row["power_w"] > 4 * profile_for(H100).law(of_stages(1))[it.IDLE_W]


@given(st.floats(1.0, 1000.0), st.integers(1, 63))
def test_more_stages_never_wait_less(batch: float, stages: int) -> None:
    assert 0.0 <= waiting_share(batch, float(stages)) <= waiting_share(batch, stages + 1.0) < 1.0
    assert waiting_share(batch, 1.0) == 0.0


def test_a_pipeline_with_fewer_sequences_than_stages_waits_at_idle_watts() -> None:
    found = [predict(of_stages(4), batch=b, **ASK) for b in (1, 2, 3, 4)]
    assert len({one.itl_s.mean for one in found}) == 1  # a token passes the same stages
    assert [one.tokens_per_s.mean for one in found] == pytest.approx(
        [found[0].tokens_per_s.mean * b for b in (1, 2, 3, 4)]
    )
    idle = profile_for(H100).law(of_stages(4))[it.IDLE_W]
    waits, works = idle, found[3].power_w.mean
    for b, one in zip((1, 2, 3), found, strict=False):
        assert one.power_w.mean == pytest.approx(waits + (works - waits) * b / 4, rel=1e-9)
        whole = one.decode_j_per_token.mean + one.prefill_j_per_token.mean * 1024 / 256
        assert one.energy_j_per_output_token.mean == pytest.approx(whole, rel=1e-9)
        assert one.energy_j_per_output_token.mean > found[3].energy_j_per_output_token.mean
        assert PIPELINE_NOTE in one.notes
        assert one.extrapolated


def test_stages_multiply_throughput_at_most_and_never_shorten_a_lone_prompt() -> None:
    one, two, four = (predict(of_stages(n), batch=256, **ASK) for n in (1, 2, 4))
    assert one.tokens_per_s.mean < two.tokens_per_s.mean < 2 * one.tokens_per_s.mean
    assert two.tokens_per_s.mean < four.tokens_per_s.mean < 2 * two.tokens_per_s.mean
    assert one.ttft_s.mean <= two.ttft_s.mean <= four.ttft_s.mean
    assert one.power_w.mean < two.power_w.mean <= 2 * 700.0 * 1.001


def test_draws_and_directions_agree_on_a_pipeline() -> None:
    case, asked = of_stages(2), (1.0, 1024.0, 256.0)
    found = predict(case, batch=1, **ASK)
    lo, hi = drawn_interval(profile_for(H100), case, *asked, draws=400)
    wide = (found.power_w.hi / found.power_w.lo) ** 0.5
    assert (hi[0] / lo[0]) ** 0.5 - 1 == pytest.approx(wide - 1, rel=0.25)


def test_verb_takes_stages_experts_and_cache(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "--model", EXPERTS, "--gpu", "H100", "--batch", "64", "--input", "1024", "--output", "256"]
    assert run([*words, "--tp", "2", "--pp", "2", "--ep", "1", "--kv-precision", "fp8", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    said = " ".join(body["reasons"])
    for part in ("pipeline parallel", "experts split by tensor parallelism", "KV cache in fp8"):
        assert part in said
    assert run([*words, "--tp", "2", "--ep", "3"]) == 1
    assert "--ep is 3; expected 1 or --tp, 2" in capsys.readouterr().err
