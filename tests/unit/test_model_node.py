"""Whole servers: what the wall sees is more than the GPUs, less than the maker's maximum, and says it is a prior."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattlane.cli.app import run
from wattlane.core.errors import UnknownNameError
from wattlane.core.facts.gpus import all_gpus, gpu
from wattlane.core.facts.nodes import all_nodes, node_of
from wattlane.model.node import server_w, wall
from wattlane.model.predict_table import predict_table


@pytest.mark.parametrize("board", all_gpus())
def test_every_gpu_has_a_server_and_full_load_is_within_its_stated_maximum(board: str) -> None:
    node, card = node_of(board), gpu(board)
    full = float(server_w(node, card, node.gpus_per_server * card.tdp_w))
    idle = float(server_w(node, card, node.gpus_per_server * card.idle_w))
    assert idle < full <= node.values["max_w"]
    if board in ("A100-80GB", "H100", "H200", "B200"):  # makers state a worst case with margin
        assert full > 0.7 * node.values["max_w"]


def test_facts_have_units_sources_dates_and_ranges_around_their_values() -> None:
    for node in all_nodes().values():
        assert set(node.values) <= set(node.sources)
        assert all(source.endswith("(2026-11-21)") for source in node.sources.values())
        for name, (low, high) in node.ranges.items():
            assert low <= node.values[name] <= high
        uncertain = {name for name, source in node.sources.items() if "prior" in source} - {"max_w", "psu_rated_w"}
        assert {name for name in uncertain if not name.startswith("psu_")} <= set(node.ranges)
    with pytest.raises(UnknownNameError):
        node_of("TPU")


watts = st.floats(60.0, 700.0)


@given(watts, watts, st.integers(1, 8))
def test_the_wall_draws_more_than_the_gpus_and_more_of_them_draw_more(one: float, two: float, gpus: int) -> None:
    node, card = node_of("H100"), gpu("H100")
    low, high = sorted((one, two))
    found = wall(node, card, gpus, gpus * low, gpus * low * 0.9, gpus * low * 1.1)
    more = wall(node, card, gpus, gpus * high, gpus * high * 0.9, gpus * high * 1.1)
    assert gpus * low < found.mean_w <= more.mean_w * (1 + 1e-12)
    assert found.lo_w < found.mean_w < found.hi_w
    assert found.alone_w >= found.mean_w * (1 - 1e-9)  # idle neighbours are not free


def test_a_full_server_is_charged_once_and_shares_add_up() -> None:
    node, card = node_of("H100"), gpu("H100")
    whole = wall(node, card, 8, 8 * 500.0, 8 * 450.0, 8 * 550.0)
    part = wall(node, card, 2, 2 * 500.0, 2 * 450.0, 2 * 550.0)
    assert whole.mean_w == pytest.approx(float(server_w(node, card, 4000.0)))
    assert whole.alone_w == pytest.approx(whole.mean_w)
    assert 4 * part.mean_w == pytest.approx(whole.mean_w)
    two = wall(node, card, 16, 16 * 500.0, 16 * 450.0, 16 * 550.0)
    assert two.mean_w == pytest.approx(2 * whole.mean_w)


def test_tables_and_one_case_print_the_wall_beside_the_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.DataFrame(
        {"model": ["Llama-3.1-8B"] * 3, "gpu": "H100", "batch": [64, 64, 0], "input_tokens": 512, "output_tokens": 256}
    ).with_columns(tp=pl.Series([1, 2, 1]))
    found = predict_table(table, scope="wall").table
    assert found["scope"].to_list() == ["gpu, wall"] * 3
    assert (found["wall_power_w"] > found["power_w"]).to_list() == [True, True, None]
    ratio = found["wall_power_w"] / found["power_w"]
    assert np.allclose((found["wall_energy_j_per_output_token"] / found["energy_j_per_output_token"])[:2], ratio[:2])
    assert "wall_power_w" not in predict_table(table).table.columns
    asked = [
        "predict",
        "--model",
        "Llama-3.1-8B",
        "--gpu",
        "H100",
        "--batch",
        "64",
        "--input",
        "512",
        "--output",
        "256",
    ]
    assert run([*asked, "--scope", "wall"]) == 0
    printed = capsys.readouterr()
    assert "wall_power_w" in printed.out
    assert "rests on priors" in printed.err
    assert run([*asked, "--scope", "wall", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["wall_power_w"]["mean"] == pytest.approx(found["wall_power_w"][0])
    assert run([*asked, "--scope", "rack"]) == 1
    assert run(["show", "node", "H100"]) == 0
    assert "cpu_busy_w" in capsys.readouterr().out
