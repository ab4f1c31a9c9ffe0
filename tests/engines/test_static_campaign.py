"""Campaigns on transformers in process: two orders, counted without padding; every factor as a config value."""

from __future__ import annotations

import pytest
from engine_targets import PIN, python_with

from wattlane.core.files import read_parquet
from wattlane.measure import campaign
from wattlane.measure.campaigns.grid import parse_grid
from wattlane.measure.hf_model import random_checkpoint

pytestmark = [pytest.mark.engine, pytest.mark.slow]

GRID = """
name = "padding"
target = "transformers-inprocess:PIN,python=PYTHON,dtype=float32,batch=4,order={order}"
cpu_watts = 10.0
[workload]
arrival = "kind=burst"
lengths = "kind=lognormal,input_mean_tokens=60,input_sd_tokens=40,output_mean_tokens=6,output_sd_tokens=2"
n = 8
[factors]
order = ["data_set", "sorted"]
[repeats]
at_least = 1
"""


def test_static_batches_are_measured_with_their_own_tokens_only(tmp_path):
    python = str(python_with("torch", "transformers", "accelerate"))
    grid = parse_grid("padding", GRID.replace("PIN", PIN).replace("PYTHON", python))
    result = campaign(grid, tmp_path)
    assert result.summary["trials"] == {"measured": 2}
    table = read_parquet(tmp_path / "campaign.parquet", "campaign")
    load = grid_load(grid)
    assert set(table["input_tokens"]) == {int(load.input_tokens.sum())}
    assert set(table["output_tokens"]) == {int(load.output_tokens.sum())}
    assert (table["batch_max"] <= 4).all()
    assert set(table["energy_status"]) == {"modelled"}
    assert table["kv_cache"].all()


FACTORS = """
name = "factors"
target = "transformers-inprocess:PIN,python=PYTHON,{how.options}"
cpu_watts = 10.0
[workload]
arrival = "kind=burst"
lengths = "kind=lognormal,input_mean_tokens=20,input_sd_tokens=10,output_mean_tokens=6,output_sd_tokens=2"
n = 4
[repeats]
at_least = 1
[factors]
how = [
  { label = "compile, CUDA graphs", options = "dtype=float32,compile=1,batch=4" },
  { label = "continuous", options = "dtype=float32,batching=continuous,batch=2" },
  { label = "sampling", options = "dtype=float32,decoding=sample,batch=4" },
  { label = "beam", options = "dtype=float32,decoding=beam,batch=2" },
  { label = "speculative", options = "dtype=float32,decoding=assisted,assistant=DRAFT" },
  { label = "speculative without a draft", options = "dtype=float32,decoding=assisted" },
  { label = "int8, torchao", options = "dtype=bfloat16,quantization=ao_int8,batch=4" },
  { label = "int4, torchao", options = "dtype=bfloat16,quantization=ao_int4,batch=4" },
]
"""


def test_f7_every_factor_is_a_config_value_and_an_absent_backend_is_skipped_with_its_reason(tmp_path):
    python = str(python_with("torch", "transformers", "accelerate"))
    text = FACTORS.replace("PIN", PIN).replace("PYTHON", python).replace("DRAFT", str(random_checkpoint("tiny", 1)))
    result = campaign(parse_grid("factors", text), tmp_path)
    table = read_parquet(tmp_path / "campaign.parquet", "campaign")
    by_name = {row["factor_how"]: row for row in table.iter_rows(named=True)}
    for name in ("continuous", "sampling", "beam", "speculative"):
        assert by_name[name]["status"] == "measured", by_name[name]["reasons"]
        assert by_name[name]["energy_status"] == "modelled"
        assert by_name[name]["ttft_mean_s"] < by_name[name]["e2e_mean_s"]
    # without a CUDA device and torchao
    for name, word in (("compile, CUDA graphs", "CUDA"), ("int8, torchao", "torchao"), ("int4, torchao", "torchao")):
        assert by_name[name]["status"] == "skipped"
        assert word in by_name[name]["reasons"]
    assert "draft model" in by_name["speculative without a draft"]["reasons"]
    assert len({row["target"] for row in by_name.values()}) == len(result.summary["cells"]) == 8


def grid_load(grid):
    from wattlane.measure.campaigns.cells import expand

    return expand(grid)[0].load.workload(grid.seed)
