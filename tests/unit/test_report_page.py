from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from report_fixture import BASELINE_J, REQUESTS, account, frontier, power, summary, write_run
from typer.testing import CliRunner

from wattlane.cli.app import app
from wattlane.core.errors import FileFormatError, InputError, UnknownNameError
from wattlane.core.files import write_json, write_parquet
from wattlane.report import figure, page
from wattlane.report.pages import render
from wattlane.report.run import load

VOID = {"meta", "link", "br", "img", "input", "hr", "col", "wbr"}


class Reader(HTMLParser):
    """Balance of tags, visible text, references and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.words: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def saving_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("saving")
    return page([write_run(folder / "run")], folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tie_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tie")
    return page([write_run(folder / "run", saving=False)], folder / "page.html").read_text(encoding="utf-8")


def bare(folder: Path, **fields: Any) -> Path:
    write_json(folder / "summary.json", "summary", fields)
    return folder


def test_page_is_well_formed_and_its_ids_are_unique(saving_page: str) -> None:
    read = Reader(saving_page)
    assert read.problems == []
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


def test_page_asks_nothing_of_the_network(saving_page: str) -> None:
    read = Reader(saving_page)
    assert all(reference.startswith("#") for reference in read.references)
    assert not read.tags & {"script", "link", "img", "iframe", "object"}
    assert "@import" not in saving_page
    assert set(re.findall(r"https?://[\w./]+", saving_page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_every_reference_inside_a_figure_leads_to_its_own_page(saving_page: str) -> None:
    ids = set(Reader(saving_page).ids)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', saving_page))
    assert used
    assert used <= ids


def test_answer_comes_first_and_names_saving_interval_attainment_and_baseline(saving_page: str) -> None:
    text = Reader(saving_page).text
    lead = text[text.index("31.3 % less energy, 99.45 %") : text.index("Energies are modelled")]
    for part in (
        "31.3 %",
        "24.1 % to 37.2 %",
        "99.45 %",
        "vLLM 0.11.0 defaults",
        "modelled",
        "240 draws",
        "19.7 %",
        "replicas 3 → 2",
    ):
        assert part in lead
    assert text.index("less energy than the baseline") < text.index("per request")


def test_no_saving_is_the_headline_when_none_is_shown(tie_page: str) -> None:
    text = Reader(tie_page).text
    assert '<h2 class="headline">No saving shown</h2>' in tie_page
    assert "−2.1 % to 4.4 % over 240 draws contains 0" in text
    assert "less energy than" not in text
    assert "Not claimed" in text


def test_a_verdict_cannot_overrule_an_interval_that_contains_zero(tmp_path: Path) -> None:
    body = {**summary(), "saving_interval": [-0.01, 0.4]}
    text = render([load(bare(tmp_path, **body))])
    assert '<h2 class="headline">No saving shown</h2>' in text


def test_an_attainment_below_the_target_is_in_the_headline(tmp_path: Path) -> None:
    body = summary()
    body["plan"]["slo_attainment"] = 0.98999
    text = Reader(render([load(bare(tmp_path, **body))])).text
    assert "but only 98.99 % within the SLO" in text
    assert "which is below the target" in text


def test_absent_fields_are_said_to_be_absent(tmp_path: Path) -> None:
    read = Reader(render([load(bare(tmp_path))]))
    assert read.problems == []
    assert "The answer is absent" in read.text
    assert "absent: this run has no frontier.parquet" in read.text
    assert read.text.count("absent") > 60
    assert "None" not in read.text
    assert "nan" not in read.text.split()


def test_null_fields_are_like_missing_ones(tmp_path: Path) -> None:
    nulls = dict.fromkeys(summary())
    assert render([load(bare(tmp_path / "x", **nulls))]) == render([load(bare(tmp_path / "y" / ".." / "x"))])
    assert "absent" in render([load(bare(tmp_path / "z", plan={"energy_j": None}, ledger={"plan": None}))])


def test_an_absent_energy_of_a_case_is_not_zero(tmp_path: Path) -> None:
    body = summary()
    body["plan"]["energy_j_per_request"] = None
    text = render([load(bare(tmp_path, **body))])
    row = text[text.index(">per request</th>") :]
    assert row[: row.index("</tr>")].count('class="absent"') == 2  # the plan's value and the change


def test_modelled_energy_is_never_called_measured(saving_page: str, tie_page: str) -> None:
    for text in (Reader(saving_page).text, Reader(tie_page).text):
        start, end = text.find("A real engine on this machine"), text.find("What this rests on")
        study = text if start < 0 else text[:start] + text[end:]
        assert "measured" not in study.replace("modelled, not measured", "")
        assert study.count("modelled") > 8
        assert "GPU only" in study


def test_an_engine_without_a_sensor_has_absent_energy(saving_page: str) -> None:
    text = Reader(saving_page).text
    part = text[text.index("A real engine on this machine") : text.index("What this rests on")]
    assert "100 requests, 0 failed" in part
    assert "no energy sensor can be read" in part
    assert not re.search(r"\d (J|kJ|mJ)\b", part)


def test_energies_of_the_table_are_those_of_the_files(saving_page: str) -> None:
    text = Reader(saving_page).text.replace("\u00a0", " ")
    per_request = f"{BASELINE_J / REQUESTS:,.0f} J"
    assert f"per request {per_request} 708 J −31.3 %" in text
    assert "per output token, prefill and idle included 4.88 J 3.35 J −31.3 %" in text


def test_commands_mark_what_needs_administrator_rights(saving_page: str) -> None:
    text = Reader(saving_page).text
    assert re.search(r"Set the clock needs administrator rights\s+sudo nvidia-smi --lock-gpu-clocks 1200,1200", text)
    assert text.count("needs administrator rights") == 2  # the tag, and the note in the answer


def test_what_comes_from_files_cannot_inject_markup(tmp_path: Path) -> None:
    body = summary(name="<script>alert(1)</script>")
    body["assumptions"] = ["a < b & c"]
    body["knobs"][0]["knob"] = "<b>bold</b>"
    text = render([load(bare(tmp_path, **body))])
    assert "<script" not in text
    assert "<b>" not in text
    assert "a &lt; b &amp; c" in text
    assert Reader(text).problems == []


@pytest.mark.slow
def test_several_runs_are_compared_first(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", saving=False, name="azure-code", measured=False)]
    text = page(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert read.problems == []
    assert len(read.ids) == len(set(read.ids))
    assert text.count("<article") == 2
    assert text.index("Comparison of 2 studies") < text.index("<table") < text.index("<article")
    compared = text[text.index("<table") : text.index("</table>")]
    assert "31.3" in compared
    assert "No saving shown" in compared


@pytest.mark.slow
def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert render([load(run)]) == render([load(run)])


@pytest.mark.slow
def test_page_of_a_long_trace_stays_small(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", requests=19_366)
    write_parquet(run / "frontier.parquet", "frontier", frontier(20_000, 1))
    write_parquet(run / "power.parquet", "power", power(60_480, 2))
    assert page([run], tmp_path / "page.html").stat().st_size < 500_000


def test_a_folder_without_a_study_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        page([tmp_path / "nothing"], tmp_path / "page.html")
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError, match=r"no summary\.json.*run wattlane study again"):
        page([tmp_path / "half"], tmp_path / "page.html")
    with pytest.raises(InputError, match="at least one"):
        page([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_all_fields_of_another_type_are_named_together(tmp_path: Path) -> None:
    run = bare(tmp_path, plan={"energy_j": "much"}, saving_interval=[0.1], knobs="none")
    with pytest.raises(FileFormatError, match=r"plan\.energy_j") as raised:
        load(run)
    assert "saving_interval" in str(raised.value)
    assert "knobs" in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99, "kind": "summary"}', '{"schema": 1, "kind": "served"}'])
def test_a_summary_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(FileFormatError):
        load(tmp_path)


@pytest.mark.parametrize("name", ["power", "frontier", "draws", "served"])
def test_a_table_without_its_columns_is_refused(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run")
    pl.DataFrame({"other": [1]}).write_parquet(run / f"{name}.parquet")
    with pytest.raises(FileFormatError, match="missing columns"):
        page([run], tmp_path / "page.html")


def test_a_histogram_of_another_form_is_refused(tmp_path: Path) -> None:
    run = bare(tmp_path, **summary())
    for histogram in ({"input_edges": [1, 2], "input_counts": [1, 2]}, [1, 2], {"input_edges": "many"}):
        write_json(run / "workload.json", "workload", {"histogram": histogram})
        with pytest.raises(FileFormatError, match="histogram"):
            render([load(run)])


def test_a_ledger_that_does_not_close_shows_its_residual(tmp_path: Path) -> None:
    body = {**summary(), "ledger": {"baseline": {**account(1000.0), "residual_j": 37.0}, "plan": account(900.0)}}
    text = Reader(render([load(bare(tmp_path, **body))])).text
    assert "3.7e−02" in text


def test_figure_is_written_as_a_picture(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert figure(run, "frontier", tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UnknownNameError, match="Supported: draws, frontier, knobs, lengths, phases, power"):
        figure(run, "pie", tmp_path / "f.png")
    with pytest.raises(InputError, match=r"cannot draw power; expected power\.parquet"):
        figure(bare(tmp_path / "bare"), "power", tmp_path / "f.png")


@pytest.mark.slow
def test_verb_prints_the_path_of_the_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").stat().st_size < 500_000
    result = CliRunner().invoke(app, ["report", str(run), str(run), "-o", str(tmp_path / "p.html"), "--json"])
    assert f'"page": "{tmp_path / "p.html"}"' in result.stdout
