"""A campaign of static batches on transformers: two orders, counted without padding."""

from __future__ import annotations

import pytest
from engine_targets import PIN, python_with

from wattlane.core.files import read_parquet
from wattlane.measure import campaign
from wattlane.measure.campaigns.grid import parse_grid

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


def grid_load(grid):
    from wattlane.measure.campaigns.cells import expand

    return expand(grid)[0].load.workload(grid.seed)
