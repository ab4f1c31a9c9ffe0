"""F10: outputs state their scope, and a saving always stands beside what it is against."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_fixture import summary, write_run

from wattlane.cli.buckets import bucket_table
from wattlane.cli.tables import headline, study_table
from wattlane.core.types import Boundary, Origin
from wattlane.measure.account import Energy
from wattlane.measure.energy.budget import Budget
from wattlane.report import page

LABEL = "vLLM 0.11.0 defaults"
SAVING = re.compile(r"\bsav(ing|ings|ed|es)\b")
FIGURE = re.compile(r"\d+(\.\d+)?\s?(%|kWh)")
AGAINST = re.compile(r"baseline|" + re.escape(LABEL))


class Blocks(HTMLParser):
    """Visible text of a page, one string a paragraph, heading, item, tile, caption or table."""

    BLOCK = ("p", "h1", "h2", "h3", "h4", "li", "figcaption", "section", "dl", "div", "table", "figure", "main")
    SILENT = ("style", "script", "svg", "pre", "title")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks, self.hidden = [""], 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.hidden += tag in self.SILENT
        if tag in self.BLOCK:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.blocks[-1] += f" {data}"


def claims(blocks: list[str]) -> list[str]:
    """Return the blocks that put a figure to a saving."""
    return [" ".join(b.split()) for b in blocks if SAVING.search(b) and FIGURE.search(b)]


def body(saving: bool, **changes: Any) -> dict[str, Any]:
    return summary(saving) | changes


@pytest.fixture(scope="module", params=[True, False])
def blocks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("page")
    path = page([write_run(folder / "run", saving=request.param)], folder / "page.html")
    return Blocks(path.read_text(encoding="utf-8")).blocks


def test_f10_every_saving_with_a_figure_on_the_page_names_its_baseline(blocks: list[str]) -> None:
    found = claims(blocks)
    assert len(found) >= 5
    assert [text for text in found if not AGAINST.search(text)] == []


def test_f10_the_page_states_origin_and_boundary_of_its_energies(blocks: list[str]) -> None:
    text = " ".join(blocks)
    assert "boundary GPU only" in text.replace("Boundary: ", "boundary ")
    assert "modelled" in text
    tables = [b for b in blocks if "Energy:" in b]
    assert len(tables) >= 2
    assert all("modelled" in b and "boundary" in b for b in tables)


@pytest.mark.parametrize(
    "found",
    [body(True), body(False), body(False, saving_fraction=-0.4, saving_interval=[-0.5, -0.3])],
    ids=["saving", "tie", "worse"],
)
def test_f10_the_first_sentence_names_baseline_and_scope(found: dict[str, Any]) -> None:
    text = headline(found)
    assert LABEL in text
    assert "modelled" in text
    assert "GPU" in text


def test_f10_every_saving_in_the_terminal_names_its_baseline_and_the_table_its_scope(capsys: Any) -> None:
    study_table(body(True))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if SAVING.search(line)]
    assert lines
    assert all(AGAINST.search(line) for line in lines)
    assert "modelled, GPU boards" in out


def test_f10_keys_of_a_summary_carry_the_baseline_beside_each_saving() -> None:
    found = body(True)
    assert {key for key in found if key.startswith("saving")} == {
        "saving_fraction",
        "saving_interval",
        "saving_without_clocks",
        "saving_without_clocks_interval",
        "saving_against_tuned",
        "saving_against_tuned_interval",
    }
    assert found["baseline"]["label"] == LABEL
    assert found["tuned_baseline"]["label"]
    assert all({"origin", "boundary"} <= set(found[case]) for case in ("baseline", "plan", "tuned_baseline"))


def test_f10_a_measured_energy_says_measured_or_modelled_and_what_it_includes() -> None:
    joules = Budget(5.0, bounds={"lag": 1.0})
    for boundary in Boundary:
        for status in (Origin.MEASURED, Origin.MODELLED):
            text = str(Energy(joules, source="x", boundary=boundary, status=status))
            assert text.endswith(f"{status.value}, {boundary.value}")


def test_f10_bucket_tables_state_their_scope(capsys: Any) -> None:
    latency = dict.fromkeys(("ttft_p50_s", "ttft_p99_s", "tbt_p99_s"), 0.1)
    row = {"bucket": "all", "completed": 1, "requests": 1, "slo_attainment": 1.0, "energy_j_per_request": 2.0}
    bucket_table([row | latency | {"energy_status": "modelled", "boundary": "gpu"}])
    out = capsys.readouterr().out
    assert "Energy by bucket: modelled, gpu" in out
    assert "100 ms" in out


def test_f10_the_readme_puts_no_figure_to_a_saving_without_its_baseline() -> None:
    root = Path(__file__).resolve().parents[2]
    paragraphs = re.split(r"\n\s*\n", (root / "README.md").read_text(encoding="utf-8"))
    wrong = [p for p in claims(paragraphs) if not re.search(r"baseline|default|against|than", p)]
    assert wrong == []
