"""Cards show every value with its source, for people and as JSON; `wattlane show` prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wattlane.cli.app import run
from wattlane.core.facts import cards
from wattlane.core.facts.gpus import all_gpus
from wattlane.core.facts.models import all_models


def test_gpu_card_has_a_source_on_every_line_and_si_values_in_its_body() -> None:
    for name in all_gpus():
        card = cards.gpu_card(name)
        assert all(row.source and row.value for row in card.rows)
        assert card.body["memory_bytes"] == all_gpus()[name].memory_bytes
    assert "prior" in str(cards.gpu_card("L4"))


def test_cards_that_list_hold_the_whole_catalogue() -> None:
    assert [row.label for row in cards.gpus_card().rows] == list(all_gpus())
    assert [row.label for row in cards.models_card().rows] == list(all_models())
    assert len(cards.factors_card().rows) == len(cards.factors_card().body["factors"])
    assert set(cards.engine_card("vllm").body["defaults"]) == set(all_gpus())


def test_model_card_ends_with_its_source_and_leaves_out_what_does_not_apply() -> None:
    card = cards.model_card("Llama-3.1-8B")
    assert card.rows[-1].label == "source"
    assert "experts" not in {row.label for row in card.rows}
    assert "experts" in {row.label for row in cards.model_card("gpt-oss-20b").rows}


def test_card_without_rows_is_its_title() -> None:
    assert str(cards.Card("empty", (), {})) == "empty"


@pytest.mark.parametrize(
    "arguments", [["gpus"], ["gpu", "h100"], ["models"], ["model", "Qwen3-8B"], ["engine", "vllm"], ["factors"]]
)
def test_show_prints_text_and_one_json_object(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", *arguments]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
    assert run(["show", *arguments, "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_show_reads_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "llama"}')
    assert run(["show", "model", str(path)]) == 1
    assert "problems" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpu", "H1000"], "did you mean 'H100'"),
        (["gpu"], "found no name"),
        (["gpuz"], "unknown kind of card 'gpuz'"),
    ],
)
def test_show_says_what_is_wrong_in_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", *arguments]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
