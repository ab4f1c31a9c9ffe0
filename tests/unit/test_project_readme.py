"""README and docs: shell and Python examples are the same call, links lead somewhere, every variable is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_shell_and_python_examples_are_twins() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = re.findall(r"^wattlane (\w+) (\S+) -o (\S+)$", text, re.M)
    python = re.findall(r'^wattlane\.(\w+)\.run\("([^"]+)", "([^"]+)"\)$', text, re.M)
    assert len(shell) == 1
    assert shell == python


def test_readme_fits_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_environment_variable_read_is_listed() -> None:
    scripts = [ROOT / "tools" / "bootstrap", ROOT / "tools" / "bootstrap-engines"]
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests" / "engines").glob("*.py"), *scripts]
    read = {name for path in sources for name in re.findall(r"WATTLANE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    page = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(WATTLANE_[A-Z_]+)`", page)) == read
