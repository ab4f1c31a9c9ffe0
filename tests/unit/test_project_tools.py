"""The tools behind ./check find what they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name: str, *arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def python_file(folder: Path, body: str) -> Path:
    path = folder / "module.py"
    path.write_text(body, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "head", "budget"), [("function", "def long() -> None:", 60), ("class", "class Long:", 300)]
)
def test_size_budget_names_what_is_one_line_too_long(tmp_path: Path, kind: str, head: str, budget: int) -> None:
    body = f"{head}\n" + "    x = 1\n" * (budget - 1)
    assert run_tool("size_budget.py", python_file(tmp_path, body)).returncode == 0
    over = run_tool("size_budget.py", python_file(tmp_path, body + "    x = 1\n"))
    assert over.returncode == 1
    assert f"{kind} {head.split()[1].strip('()->:')} has {budget + 1} lines" in over.stdout


@pytest.mark.parametrize(("lines", "message"), [(401, "the budget is 400"), (601, "the hard stop is 600")])
def test_size_budget_names_a_file_that_is_too_long(tmp_path: Path, lines: int, message: str) -> None:
    over = run_tool("size_budget.py", python_file(tmp_path, "x = 1\n" * lines))
    assert over.returncode == 1
    assert message in over.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"read /{'work'}/main/file.csv", "a machine's path"),
        (f"saved in /{'home'}/someone/results", "a machine's path"),
        (f"install from {'pypi'}.org", "a package registry"),
        (f"a {'seam' + 'less'} experience", "praise"),
    ],
)
def test_wording_names_file_line_and_word(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "page.md").write_text(f"fine\n{text}\n", encoding="utf-8")
    found = run_tool("wording.py", "page.md", cwd=tmp_path)
    assert found.returncode == 1
    assert f"page.md:2: {message}" in found.stdout


def test_wording_lets_plain_text_and_device_paths_pass(tmp_path: Path) -> None:
    plain = "the network/working set, /sys/class/powercap, a power of 700 W, src/work/x.py\n"
    (tmp_path / "page.md").write_text(plain, encoding="utf-8")
    assert run_tool("wording.py", ".", cwd=tmp_path).stdout == ""


def documentation(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_examples_fail_on_wrong_output(tmp_path: Path) -> None:
    page = documentation(tmp_path, "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    done = run_tool("run_docs.py", page)
    assert done.returncode == 1
    assert "page.md:1: another output" in done.stdout
    assert "-3\n+2" in done.stdout


def test_examples_fail_on_a_failing_command_in_the_middle(tmp_path: Path) -> None:
    page = documentation(tmp_path, "Text.\n\n```bash run\nfalse\ntrue\n```\n")
    done = run_tool("run_docs.py", page)
    assert done.returncode == 1
    assert "page.md:3: exit code 1" in done.stdout


def test_examples_run_in_order_in_one_folder_and_skip_what_says_so(tmp_path: Path) -> None:
    page = documentation(
        tmp_path,
        "```bash run\necho kept > file\n```\n\n```python\nprint(open('file').read())\n```\n```text\nke...\n```\n"
        "```bash\nfalse\n```\n```python skip\nraise SystemExit(1)\n```\n```bash run slow\nfalse\n```\n",
    )
    fast = run_tool("run_docs.py", "--fast", page)
    assert (fast.returncode, fast.stdout) == (0, "2 examples in 1 files, 0 failed\n")
    assert "3 examples in 1 files, 1 failed" in run_tool("run_docs.py", page).stdout


def test_command_line_page_is_refused_when_stale(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = shutil.copy(ROOT / "tools" / "cli_reference.py", tmp_path / "tools")
    page = tmp_path / "docs" / "reference" / "cli.md"
    assert run_tool(tool, "--check").returncode == 1
    assert run_tool(tool).returncode == 0
    assert run_tool(tool, "--check").returncode == 0
    page.write_text(page.read_text(encoding="utf-8") + "and more\n", encoding="utf-8")
    assert run_tool(tool, "--check").returncode == 1


def test_bootstrap_without_a_suitable_python_says_what_to_do(tmp_path: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tools").mkdir()
    tool = shutil.copy(ROOT / "tools" / "bootstrap", tmp_path / "tools")
    done = subprocess.run(
        [tool], env={**os.environ, "WATTLANE_PYTHON": "no-such-python"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "found no Python that is 3.11 or newer" in done.stderr
    assert "WATTLANE_PYTHON=PATH" in done.stderr
    assert not (tmp_path / ".venv" / "wattlane-stamp").exists()
