"""Facts: every value has unit, source and date; rates are dense; names are found however they are written."""

from __future__ import annotations

import csv
import datetime
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.engines import all_engines, engine_defaults
from wattlane.core.facts.factors import J_PER_KWH, all_factors, factor
from wattlane.core.facts.gpus import FALLBACK_PRECISION, PRECISION_BYTES, all_gpus, gpu
from wattlane.core.facts.models import all_models, model

GPUS = [
    "A100-40GB",
    "A100-80GB",
    "H100",
    "H200",
    "B200",
    "L40S",
    "L4",
    "RTX-A6000",
    "RTX-6000-Ada",
    "RTX-4090",
    "RTX-PRO-6000",
    "MI300X",
]


def tables(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("wattlane.core.facts") / name).read_text(encoding="utf-8"))


def facts(body: Any) -> list[dict[str, Any]]:
    """Return every inline table that holds a value, at any depth."""
    if isinstance(body, list):
        return [fact for part in body for fact in facts(part)]
    if not isinstance(body, dict):
        return []
    own = [body] if "value" in body else []
    return own + [fact for part in body.values() for fact in facts(part)]


@pytest.mark.parametrize("name", ["gpus.toml", "engines.toml", "factors.toml"])
def test_every_value_has_a_unit_a_source_and_a_date(name: str) -> None:
    found = facts(tables(name))
    assert len(found) >= 7
    for fact in found:
        assert fact["unit"], fact
        assert len(fact["source"]) > 10, fact
        assert datetime.date.fromisoformat(fact["date"]).year >= 2025, fact


def test_every_gpu_field_is_a_fact_and_every_model_has_a_source() -> None:
    for name, body in tables("gpus.toml").items():
        bare = {key for key, value in body.items() if not isinstance(value, dict)}
        assert bare == {"title", "aliases"}, name
        rates = body["flop_per_s"]
        assert {"unit", "source", "date"} <= set(rates)
        assert set(rates) - {"unit", "source", "date"} <= set(PRECISION_BYTES)
    for body in tables("models.toml").values():
        assert body["source"].startswith("config.json of ")
        datetime.date.fromisoformat(body["date"])


def test_catalogue_of_gpus_is_consistent() -> None:
    assert list(all_gpus()) == GPUS
    for board in all_gpus().values():
        assert board.idle_w <= board.idle_loaded_w_lo <= board.idle_loaded_w <= board.idle_loaded_w_hi < board.tdp_w
        assert 0 < board.clock_min_hz < board.clock_max_hz < 4e9
        assert 2e10 < board.memory_bytes < 3e11
        assert board.flop_per_s["bf16"] == board.flop_per_s["fp16"] >= 2 * board.flop_per_s["fp32"] * 0.99
        assert set(board.sources) == {
            field for field, value in tables("gpus.toml")[board.name].items() if isinstance(value, dict)
        }


def test_tensor_rates_are_dense() -> None:
    assert gpu("H100").flop_per_s["bf16"] == 989.4e12
    assert gpu("H100").flop_per_s["fp8"] == 1978.9e12
    assert gpu("A6000").flop_per_s["bf16"] == 154.8e12
    assert gpu("A100").flop_per_s["bf16"] == 312e12
    for board in all_gpus().values():
        if "fp8" in board.flop_per_s:
            assert board.flop_per_s["fp8"] == pytest.approx(2 * board.flop_per_s["bf16"], rel=0.02)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("h100", "H100"),
        ("H100-SXM", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("a100", "A100-80GB"),
        ("A100 40gb", "A100-40GB"),
        ("rtx 6000 ada", "RTX-6000-Ada"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_gpu_is_found_however_it_is_written(written: str, name: str) -> None:
    assert gpu(written).name == name


def test_no_two_gpus_share_a_name() -> None:
    labels = [
        "".join(c for c in label.lower() if c.isalnum())
        for name, body in tables("gpus.toml").items()
        for label in {name, body["title"], *body["aliases"]}
    ]
    repeated = {label for label in labels if labels.count(label) > 1}
    for label in repeated:
        owners = {name for name in GPUS if gpu(label).name == name}
        assert len(owners) == 1, label


def test_unknown_gpu_lists_the_catalogue() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'H100'") as raised:
        gpu("H1000")
    assert all(name in str(raised.value) for name in GPUS)


def test_precision_without_a_rate_falls_back_and_unknown_is_refused() -> None:
    assert gpu("A100").peak_flop_per_s("fp8") == gpu("A100").flop_per_s["bf16"]
    assert gpu("H100").peak_flop_per_s("mxfp4") == gpu("H100").flop_per_s["bf16"]
    assert gpu("B200").peak_flop_per_s("nvfp4") == 9e15
    with pytest.raises(InputError, match="H100 has no fp64 rate; expected one of bf16"):
        gpu("H100").peak_flop_per_s("fp64")
    assert set(FALLBACK_PRECISION) <= set(PRECISION_BYTES)


def test_vllm_defaults_depend_on_the_board() -> None:
    assert all_engines() == ("vllm",)
    large = engine_defaults("vLLM", gpu("H100"))
    assert (large.max_num_seqs, large.max_num_batched_tokens) == (1024, 8192)
    assert (large.gpu_memory_utilization, large.kv_block_tokens, large.prefix_caching) == (0.9, 16, True)
    assert large.version.startswith("0.11")
    for name in ("A100-80GB", "A100-40GB", "L40S", "L4", "RTX-4090"):
        small = engine_defaults("vllm", gpu(name))
        assert (small.max_num_seqs, small.max_num_batched_tokens) == (256, 2048), name
    for name in ("H200", "B200", "MI300X", "RTX-PRO-6000"):
        assert engine_defaults("vllm", gpu(name)).max_num_seqs == 1024, name
    with pytest.raises(UnknownNameError, match="unknown engine 'vlm'"):
        engine_defaults("vlm", gpu("H100"))


def test_factors_have_plausible_sizes_and_unknown_is_refused() -> None:
    assert J_PER_KWH == 3.6e6
    assert 0.01 < factor("electricity_usd_per_kwh").value < 1
    assert 1 < factor("pue").value < 3
    for name, one in all_factors().items():
        if name.startswith("carbon_gco2e_per_kwh"):
            assert 0 < one.value < 1000
    with pytest.raises(UnknownNameError, match="unknown factor 'price'"):
        factor("price")


def test_model_is_found_by_full_and_short_name_in_any_case() -> None:
    full = model("meta-llama/Llama-3.1-8B-Instruct")
    assert model("llama-3.1-8b-INSTRUCT") is full
    assert model(" meta-llama/llama-3.1-8b-instruct ") is full
    with pytest.raises(UnknownNameError, match=r"A path to a Hugging Face config\.json is also accepted") as raised:
        model("Llama-3.1-8B-Instrukt")
    assert "did you mean" in str(raised.value)


def test_short_names_are_unique() -> None:
    short = [name.partition("/")[2].lower() for name in all_models()]
    assert len(set(short)) == len(short)


def test_variant_shares_geometry_and_overrides_what_differs() -> None:
    base, fp8 = model("Llama-3.1-405B"), model("Llama-3.1-405B-Instruct-FP8")
    assert (base.native_precision, fp8.native_precision) == ("bf16", "fp8")
    assert base.total_params == fp8.total_params
    assert fp8.source == "config.json of meta-llama/Llama-3.1-405B-Instruct-FP8"


# Published counts in 10^9, from the model cards.
PUBLISHED = {
    "Llama-2-7b-hf": (6.74, 6.74),
    "Llama-2-70b-hf": (68.98, 68.98),
    "Llama-3.1-8B": (8.03, 8.03),
    "Llama-3.1-70B": (70.6, 70.6),
    "Llama-3.2-1B": (1.24, 1.24),
    "Llama-3.2-3B": (3.21, 3.21),
    "Qwen2.5-0.5B": (0.49, 0.49),
    "Qwen2.5-7B": (7.61, 7.61),
    "Qwen2.5-72B": (72.7, 72.7),
    "Qwen3-4B": (4.0, 4.0),
    "Qwen3-32B": (32.8, 32.8),
    "Qwen3-30B-A3B": (30.5, 3.3),
    "Qwen3-235B-A22B": (235.0, 22.0),
    "gemma-2-9b": (9.24, 9.24),
    "gemma-2-27b": (27.2, 27.2),
    "Mistral-7B-v0.3": (7.25, 7.25),
    "Mixtral-8x7B-v0.1": (46.7, 12.9),
    "Mixtral-8x22B-v0.1": (140.6, 39.1),
    "gpt-oss-20b": (20.9, 3.6),
    "gpt-oss-120b": (116.8, 5.1),
    "DeepSeek-V3": (671.0, 37.0),
    "Phi-3-mini-4k-instruct": (3.82, 3.82),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counted_parameters_agree_with_the_model_card(name: str) -> None:
    total, active = PUBLISHED[name]
    known = model(name)
    assert known.total_params / 1e9 == pytest.approx(total, rel=0.01)
    # Cards count the embedding table as active, `active_params` does not; gpt-oss's card leaves it out too.
    looked_up = 0 if known.tied_embeddings or "gpt-oss" in name else known.vocab * known.hidden
    assert (known.active_params + looked_up) / 1e9 == pytest.approx(active, rel=0.02)


def test_counts_follow_from_geometry() -> None:
    llama = model("Llama-3.1-8B")
    assert llama.kv_elements_per_token == 32 * 2 * 8 * 128
    assert llama.attention_flop_per_token_context == 4 * 32 * 32 * 128
    assert not llama.is_moe
    assert llama.total_params - llama.active_params == 128256 * 4096
    deepseek = model("DeepSeek-V3")
    assert deepseek.kv_elements_per_token == 61 * 576
    assert deepseek.attention_flop_per_token_context == 61 * 2 * 128 * (128 + 64 + 128)
    assert deepseek.moe_layers == 58
    assert model("Llama-4-Maverick-17B-128E-Instruct").moe_layers == 24


@pytest.mark.data
def test_catalogue_holds_the_measured_models_with_their_nominal_counts(data_dir: Path) -> None:
    path = data_dir / "energy" / "ml-energy-v3" / "configurations.csv"
    with path.open(encoding="utf-8") as file:
        rows = {row["model_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 23
    for name, row in rows.items():
        known = model(name)
        assert known.total_params / 1e9 == pytest.approx(float(row["total_params_billions"]), rel=0.06), name
        # The table rounds: gpt-oss-20b is named with 4 active, its card says 3.6; embeddings are not counted here.
        assert known.active_params / 1e9 == pytest.approx(float(row["activated_params_billions"]), rel=0.12), name
        assert known.native_precision == {"bfloat16": "bf16"}.get(row["weight_precision"], row["weight_precision"])
