"""Grids: cells from factors, problems told together, the shipped presets against what the papers print."""

from __future__ import annotations

import numpy as np
import pytest

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.measure.batches import Order
from wattlane.measure.campaigns.cells import expand
from wattlane.measure.campaigns.grid import Grid, parse_grid, preset_names, read_grid, read_preset
from wattlane.measure.campaigns.order import round_order
from wattlane.measure.campaigns.plan import plan_campaign
from wattlane.measure.campaigns.static_trial import OWN
from wattlane.measure.engines import transformers_inprocess, transformers_serve, vllm
from wattlane.measure.spec import parse_spec

TWO_BY_TWO = """
name = "g"
target = "xllamacpp:precision={precision},slots={slots}"
[workload]
text = "burst:n=2,input=4,output=2"
[factors]
precision = ["F16", "Q8_0"]
slots = [1, 4]
"""


def lengths_of(cell):
    parts = dict(part.split("=") for part in cell.load.lengths.split(","))
    return int(parts["input_tokens"]), int(parts["output_tokens"])


def test_cells_are_the_cross_product_with_every_text_filled_in():
    cells = expand(parse_grid("g", TWO_BY_TWO))
    assert [cell.target for cell in cells] == [
        f"xllamacpp:precision={p},slots={s}" for p in ("F16", "Q8_0") for s in (1, 4)
    ]
    assert len({cell.key for cell in cells}) == 4


def test_a_cells_key_depends_on_its_configuration_alone():
    keys = {cell.name: cell.key for cell in expand(parse_grid("g", TWO_BY_TWO))}
    more = {cell.name: cell.key for cell in expand(parse_grid("g", TWO_BY_TWO.replace("[1, 4]", "[1, 4, 8]")))}
    assert keys.items() < more.items()
    other = {cell.key for cell in expand(parse_grid("g", TWO_BY_TWO, {"seed": 1}))}
    assert not other & set(keys.values())


def test_a_named_meter_is_part_of_a_cell_and_an_unknown_one_is_refused_before_anything_runs():
    plain = expand(parse_grid("g", TWO_BY_TWO))
    metered = expand(parse_grid("g", TWO_BY_TWO, {"meter": "dcgm=http://node{slots}:9400/metrics,gpu=0"}))
    assert {cell.meter for cell in metered} == {f"dcgm=http://node{slots}:9400/metrics,gpu=0" for slots in (1, 4)}
    assert metered[0].as_dict()["meter"] == metered[0].meter
    assert plain[0].meter is None
    assert not {cell.key for cell in metered} & {cell.key for cell in plain}
    with pytest.raises(InputError, match="unknown meter 'dcgn'; did you mean 'dcgm'"):
        expand(parse_grid("g", TWO_BY_TWO, {"meter": "dcgn=http://x"}))


def test_a_changed_workload_file_is_another_cell(tmp_path):
    load = tmp_path / "load.csv"
    grid = tmp_path / "g.toml"
    grid.write_text('name = "g"\ntarget = "xllamacpp"\n[workload]\nfile = "load.csv"\n')
    load.write_text("arrival_s,input_tokens,output_tokens\n0.0,5,2\n")
    [one] = expand(read_grid(grid))
    load.write_text("arrival_s,input_tokens,output_tokens\n0.0,6,2\n")
    [other] = expand(read_grid(grid))
    assert one.key != other.key
    assert one.load.workload(0).input_tokens.tolist() == [6]


def test_all_problems_of_a_file_are_told_together():
    text = "name = 1\ncolour = 2\n[workload]\nn = 3\n[repeats]\nat_leest = 2\nrelative = 0.1\n"
    text += "[factors]\na = []\nb = [1, 1]\n"
    with pytest.raises(InputError) as caught:
        parse_grid("g.toml", text)
    said = str(caught.value)
    for part in (
        "name is 1",
        "unknown key 'colour'",
        "workload: give exactly one of text, file",
        "unknown key 'repeats.at_leest'; did you mean 'at_least'?",
        "a is []",
        "b holds 1 more than once",
    ):
        assert part in said


def test_what_the_texts_and_factors_get_wrong_is_told_together():
    text = (
        TWO_BY_TWO.replace("{slots}", "2")
        + '[repeats]\nmetric = "joules"\n[[skip]]\nwhere = {gpu = ["a"]}\nreason = "r"\n'
    )
    with pytest.raises(InputError) as caught:
        expand(parse_grid("g", text))
    for part in ("no text holds the factor 'slots'", "repeats.metric is 'joules'", "skip.0.where names 'gpu'"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match=r"\{slotz\}.*names no value; expected one of \{precision\}, \{slots\}"):
        expand(parse_grid("g", TWO_BY_TWO.replace("slots={slots}", "slots={slots},x={slotz}")))
    with pytest.raises(InputError, match=r"missing table 'workload'[\s\S]*missing key 'target'"):
        expand(Grid(name="empty"))
    with pytest.raises(InputError, match="rate_rpz"):
        plan_campaign(parse_grid("g", TWO_BY_TWO.replace("burst:n=2", "poisson:rate_rpz=2")))


def test_an_interval_without_a_cap_and_a_ladder_of_words_are_refused():
    with pytest.raises(InputError, match="at_most is missing"):
        parse_grid("g", TWO_BY_TWO + "[repeats]\nrelative = 0.1\n")
    with pytest.raises(InputError, match=r"ladder 'precision' has the values \['F16', 'Q8_0'\]; expected numbers"):
        expand(parse_grid("g", 'ladder = "precision"\n' + TWO_BY_TWO))


def test_every_round_visits_every_cell_once_and_the_seed_decides_the_order():
    cells = list(range(9))
    rounds = [round_order(cells, "shuffled", 7, number) for number in range(4)]
    assert all(sorted(order) == cells for order in rounds)
    assert len({tuple(order) for order in rounds}) == 4
    assert rounds == [round_order(cells, "shuffled", 7, number) for number in range(4)]
    assert round_order(cells, "shuffled", 8, 0) != rounds[0]


def test_interleaving_turns_back_each_round_and_the_seed_decides_the_first_way():
    ways = set()
    for seed in range(8):
        there, back, again = (round_order("ab", "interleaved", seed, number) for number in range(3))
        assert there == back[::-1] == again
        ways.add(tuple(there))
    assert ways == {("a", "b"), ("b", "a")}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_grid_with_its_source(name):
    grid = read_preset(name)
    assert grid.name == name
    assert len(grid.note) > 80
    assert expand(grid)


def test_the_presets_are_those_of_the_papers_and_an_unknown_one_lists_them():
    assert preset_names() == [
        "delavande-arrival",
        "delavande-batching",
        "delavande-precision",
        "fernandez-controlled",
        "fernandez-tasks",
        "h200-wishlist",
        "stojkovic-knobs",
        "wilkins-grid",
    ]
    with pytest.raises(UnknownNameError, match="did you mean 'wilkins-grid'"):
        read_preset("wilkins-grd")


def test_f8_the_controlled_sweep_is_the_printed_one():
    cells = expand(read_preset("fernandez-controlled"))
    inputs = [2**k for k in range(5, 16)]
    outputs = [2**k for k in range(3, 13)]
    wanted = {(i, o) for i in inputs for o in (64, 8)} | {(i, o) for i in (512, 64) for o in outputs}
    assert {lengths_of(cell) for cell in cells} == wanted
    assert len(cells) == len(wanted)
    assert (max(inputs), max(outputs)) == (32768, 4096)


def test_f6_f8_the_tasks_are_those_of_table_3_with_their_counts():
    grid = read_preset("fernandez-tasks")
    assert grid.warmup.batches <= 20
    assert grid.repeats.at_least >= 3
    table = {(t["label"], t["mean"], t["sd"], t["max"], t["output"]) for t in grid.factors["task"]}
    assert table == {
        ("wmt14", 49.96, 39.39, 550, 64),
        ("wikitext2", 136.89, 93.13, 547, 64),
        ("imdb", 292.48, 239.94, 3112, 1),
        ("cnn-dailymail", 838.49, 400.70, 2386, 64),
    }
    counts = {(cell.factors["batch"] > 256, cell.load.n) for cell in expand(grid)}
    assert counts == {(False, 1024), (True, 4096)}
    assert grid.per_requests == 1024


@pytest.mark.parametrize("name", preset_names())
def test_d7_a_grid_round_trips_through_its_plain_values(name):
    grid = read_preset(name)
    again = Grid.model_validate(grid.model_dump(mode="json"))
    assert [cell.key for cell in expand(again)] == [cell.key for cell in expand(grid)]


def test_w2_the_grid_has_81_cells_a_model_and_the_published_stop():
    grid = read_preset("wilkins-grid")
    cells = expand(grid)
    powers = {2**k for k in range(3, 12)}
    for model in grid.factors["model"]:
        own = [cell for cell in cells if cell.factors["model"] == model]
        assert len(own) == 81
        assert (
            {cell.factors["input_tokens"] for cell in own} == {cell.factors["output_tokens"] for cell in own} == powers
        )
    assert (grid.repeats.half_width, grid.repeats.at_most, grid.order) == (0.5, 25, "shuffled")


def test_d7_d9_d12_the_published_conditions_are_there():
    precision = read_preset("delavande-precision")
    assert len(expand(precision)) == 7 * 5
    assert any(value["label"] == "fp4" and "fp4" in value["options"] for value in precision.factors["precision"])
    batching = expand(read_preset("delavande-batching"))
    plain = {cell.factors["batch"] for cell in batching if cell.factors["padding"] == "data_set"}
    assert plain == {1, 2, 4, 8, 16, 32}
    arrival = expand(read_preset("delavande-arrival"))
    assert sum(cell.sweep == "8B, published" for cell in arrival) == 7
    assert sum(cell.sweep == "70B, published" for cell in arrival) == 4


@pytest.mark.parametrize("name", ["delavande-arrival", "h200-wishlist"])
def test_d12_windowed_release_stands_beside_the_same_arrivals_let_through_at_once(name):
    loads = {cell.load.arrival: cell.load for cell in expand(read_preset(name)) if cell.load.arrival}
    held = [arrival for arrival in loads if arrival.startswith("kind=windowed")]
    assert held
    for arrival in held:
        window, _, base = arrival.partition(",base=")
        load = loads[f"kind={base}"]
        shown, plain = loads[arrival].workload(0), load.workload(0)
        assert np.array_equal(shown.arrival_s, plain.arrival_s), window
        assert (shown.release_s > plain.release_s).mean() > 0.9


def test_clock_cells_are_left_out_with_the_reason_and_counted():
    plan = plan_campaign(read_preset("stojkovic-knobs"))
    assert len(plan.runs) == 4 * 3 * 3 * 3
    left_out = [planned.cell for planned in plan.cells if planned.cell.skip]
    assert {cell.factors["clock"] for cell in left_out} == {"1.6 GHz", "2.0 GHz"}
    assert "modelled" in left_out[0].skip
    assert plan.as_dict()["trials_least"] == 5 * len(plan.runs)


def test_the_time_of_a_plan_counts_arrivals_and_rests_of_every_trial():
    changes = {
        "workload.text": "deterministic:n=20,rate_rps=2,input=4,output=2",
        "cooldown_s": 3,
        "repeats.at_least": 2,
    }
    quiet = plan_campaign(parse_grid("g", TWO_BY_TWO, changes | {"cooldown_s": 0}))
    rested = plan_campaign(parse_grid("g", TWO_BY_TWO, changes))
    assert quiet.estimate_s >= 4 * 2 * 10
    assert rested.estimate_s - quiet.estimate_s == pytest.approx(4 * 2 * 3)


@pytest.mark.parametrize("name", preset_names())
def test_f7_every_factor_of_a_preset_is_an_option_of_its_engine(name):
    known = {"vllm": vllm.DEFAULTS, "transformers": transformers_serve.DEFAULTS}
    known["transformers-inprocess"] = transformers_inprocess.DEFAULTS | OWN
    for cell in expand(read_preset(name)):
        spec = parse_spec(cell.target)
        assert not set(spec.options) - set(known[spec.name]), cell.target
        if spec.name == "transformers-inprocess":
            quantization = spec.options.get("quantization", "")
            assert quantization in transformers_inprocess.QUANTIZATIONS
            assert spec.options.get("dtype") in transformers_inprocess.DTYPES
            assert spec.options.get("order", "data_set") in list(Order)
