"""The parts of a study: its setting, its checkpoint, a month in money, the histogram of the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tiny_study import MODEL, requests, write_study
from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.plan.uncertainty import Draws
from wattlane.study import read_study
from wattlane.study.checkpoint import Checkpoint, key_of
from wattlane.study.config import FactorsSection
from wattlane.study.histogram import histogram
from wattlane.study.money import MONTH_S, factors_used, month
from wattlane.study.setting import Setting, prepare
from wattlane.study.side import side
from wattlane.study.summary import warnings


def setting(folder: Path, baseline: str = "", **changes: tuple[str, str]) -> Setting:
    """Return the setting of the tiny study, with (old, new) replacements in its text."""
    path = write_study(folder, baseline=baseline, n=20)
    text = path.read_text(encoding="utf-8")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return prepare(read_study(path), path)


def test_without_a_command_the_baseline_has_the_engines_defaults(tmp_path: Path) -> None:
    found = setting(tmp_path)
    assert (found.template.max_num_seqs, found.template.max_num_batched_tokens) == (1024, 8192)
    assert found.template.clock_hz is None
    assert found.present is None
    assert set(found.inputs) == {"study", "workload"}
    assert found.source == "requests.csv (plain)"


def test_a_command_sets_the_baseline_and_wins_over_the_study(tmp_path: Path) -> None:
    line = f"vllm serve {MODEL} -tp 2 --max-num-seqs 64 --max-num-batched-tokens 1024 --dtype half"
    found = setting(tmp_path, f'command = "{line}"\nreplicas = 3')
    d = found.template
    assert (d.tensor_parallel, d.max_num_seqs, d.max_num_batched_tokens, d.precision, d.replicas) == (
        2,
        64,
        1024,
        "fp16",
        3,
    )
    assert found.scenario.case.tensor_parallel == 2


def test_a_default_cap_follows_a_smaller_budget(tmp_path: Path) -> None:
    found = setting(tmp_path, f'command = "vllm serve {MODEL} --max-num-batched-tokens 512"')
    assert (found.template.max_num_seqs, found.template.max_num_batched_tokens) == (512, 512)


def test_a_command_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"serves 'Qwen/Qwen3-8B'; serving.model is 'meta-llama/.*make them the same"):
        setting(tmp_path, 'command = "vllm serve Qwen/Qwen3-8B"')


def test_the_short_name_of_a_model_is_written_out_for_vllm(tmp_path: Path) -> None:
    found = setting(tmp_path, short=(f'"{MODEL}"', '"llama-3.1-8b-instruct"'))
    assert found.template.model == MODEL


def test_wrong_names_of_all_kinds_are_gathered(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        setting(
            tmp_path,
            'engine = "vlm"\ncommand = "python x"',
            file=('"requests.csv"', '"none.csv"'),
            model=(MODEL, MODEL + "x"),
        )
    message = str(caught.value)
    assert "4 problems" in message
    for part in ("none.csv: no such file", "did you mean", "unknown engine 'vlm'", "vllm serve MODEL"):
        assert part in message


def test_one_wrong_name_is_the_error_it_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'H100'"):
        setting(tmp_path, gpu=('"H100"', '"H10"'))


def test_a_model_that_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs 141\.\d GB"):
        setting(tmp_path, model=(MODEL, "meta-llama/Llama-3.1-70B-Instruct"))


def test_bad_rows_are_told(tmp_path: Path) -> None:
    path = write_study(tmp_path, n=240)
    with (tmp_path / "requests.csv").open("a", encoding="utf-8") as file:
        file.write("soon,3,4\n")
    notes = prepare(read_study(path), path).notes
    assert any("1 of 241 rows were left out as bad" in note for note in notes)


def test_a_shape_needs_no_file_and_follows_the_seed(tmp_path: Path) -> None:
    path = write_study(tmp_path, n=20)
    path.write_text(path.read_text(encoding="utf-8").replace('file = "requests.csv"', 'shape = "azure-conv"'), "utf-8")
    one, two = (prepare(read_study(path, {"seed": seed}), path) for seed in (1, 2))
    assert one.source == "shape azure-conv, seed 1"
    assert len(one.scenario.workload) > 10_000
    assert not np.array_equal(one.scenario.workload.arrival_s, two.scenario.workload.arrival_s)


def test_a_month_by_hand() -> None:
    factors = {
        "electricity_usd_per_kwh": {"value": 0.2},
        "carbon_gco2e_per_kwh": {"value": 400.0},
        "pue": {"value": 1.5},
    }
    # 7.2 MJ in an hour are 2 kWh at the board, 3 kWh at the wall, 730.5 times a month
    assert month(7.2e6, 3600.0, factors) == {
        "kwh": pytest.approx(2191.5),
        "money": pytest.approx(438.3),
        "currency": "USD",
        "kgco2e": pytest.approx(876.6),
    }
    assert MONTH_S / 3600 == 730.5


def test_a_factor_of_the_study_replaces_the_catalogues_and_says_so() -> None:
    used = factors_used(FactorsSection(pue=1.1))
    assert used["pue"] == {"value": 1.1, "unit": used["pue"]["unit"], "source": "the study file", "date": None}
    other = used["electricity_usd_per_kwh"]
    assert other["value"] > 0
    assert other["source"] != "the study file"
    assert other["date"]


def test_histogram_counts_every_request_in_powers_of_two() -> None:
    found = histogram(Workload(np.zeros(4), [1, 2, 3, 1024], [1, 1, 1, 1]))
    assert found["input_edges"][:3] == [1, 2, 4]
    assert found["input_counts"][:2] == [1, 2]
    assert sum(found["input_counts"]) == sum(found["output_counts"]) == 4
    assert len(found["input_edges"]) == len(found["input_counts"]) + 1


def test_histogram_keeps_the_largest_of_any_workload() -> None:
    whole = requests(500)
    found = histogram(whole)
    assert sum(found["input_counts"]) == 500
    assert found["input_edges"][-1] >= whole.input_tokens.max()


def test_a_checkpoint_gives_back_what_it_kept(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path, "k")
    assert not first.resumed
    assert list(first.lines("points")) == []
    first.keep("points", {"a": 0.1 + 0.2})
    again = Checkpoint(tmp_path, "k")
    assert again.resumed
    assert list(again.lines("points")) == [{"a": 0.1 + 0.2}]


def test_another_key_starts_anew(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "k").keep("points", 1)
    other = Checkpoint(tmp_path, "l")
    assert not other.resumed
    assert list(other.lines("points")) == []


def test_a_line_cut_off_is_ignored_and_the_next_one_stands_alone(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "k").keep("points", {"a": 1})
    path = tmp_path / ".progress" / "points.jsonl"
    path.write_bytes(path.read_bytes() + b'{"a": 2, "b\xff')
    again = Checkpoint(tmp_path, "k")
    again.keep("points", {"a": 3})
    assert list(again.lines("points")) == [{"a": 1}, {"a": 3}]


def test_keys_follow_content_not_order() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of(json.loads('{"b": 2, "a": 1}'))
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="expected a folder for the result"):
        Checkpoint(tmp_path / "taken", "k")


def test_what_a_reader_should_not_overlook_is_a_warning(tmp_path: Path) -> None:
    found = setting(tmp_path)
    score = found.scenario.score(found.template)
    both = side("x", found.scenario, score, score.last_end_s)
    ones = np.ones((20, 4))
    sure = Draws(ones, ones, np.zeros((20, 3)), np.ones((20, 6)))
    unsure = Draws(ones, np.where(np.arange(20)[:, None] < 5, 0.5, ones), np.zeros((20, 3)), np.ones((20, 6)))
    assert not any("keeps its SLO in" in line for line in warnings(found, sure, both, both))
    assert any("the plan keeps its SLO in 75% of the draws" in line for line in warnings(found, unsure, both, both))
    assert any(" min; a month is taken to be like it" in line for line in warnings(found, sure, both, both))


@pytest.mark.parametrize(("span_s", "said"), [(7200.0, "spans 2.0 h"), (90_000.0, None)])
def test_a_month_from_less_than_a_day_is_said_to_be(tmp_path: Path, span_s: float, said: str | None) -> None:
    path = write_study(tmp_path)
    rows = [f"{n * span_s / 9},100,10" for n in range(10)]
    (tmp_path / "requests.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows), encoding="utf-8")
    found = prepare(read_study(path), path)
    score = found.scenario.score(found.template)
    both, ones = side("x", found.scenario, score, score.last_end_s), np.ones((20, 4))
    lines = warnings(found, Draws(ones, ones, np.zeros((20, 3)), np.ones((20, 6))), both, both)
    assert [line for line in lines if "a month is taken" in line] == ([] if said is None else [lines[-1]])
    assert said is None or said in lines[-1]
