"""Errors: one tree, fixed exit codes, problems gathered; optional dependencies and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattlane.core import env, errors, extras


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.WattlaneError, 1),
        (errors.InputError, 1),
        (errors.FileFormatError, 1),
        (errors.UnknownNameError, 1),
        (errors.MissingExtraError, 1),
        (errors.InfeasibleError, 3),
        (errors.MeasurementError, 4),
        (errors.OutOfRangeError, 5),
    ],
)
def test_exit_codes_are_those_of_the_command_line(kind: type[errors.WattlaneError], code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, errors.WattlaneError)


def test_problems_are_gathered_into_one_message() -> None:
    assert str(errors.InputError.gathered("slo", ["a is 0"])) == "slo: a is 0"
    many = errors.FileFormatError.gathered("law.json", (f"key {i} is missing" for i in range(3)))
    assert isinstance(many, errors.FileFormatError)
    assert str(many).splitlines() == ["law.json: 3 problems", *(f"  - key {i} is missing" for i in range(3))]


def test_unknown_name_lists_the_catalogue_and_the_nearest() -> None:
    near = str(errors.UnknownNameError("GPU", "H10O", ["H200", "H100"], "See the list."))
    assert "did you mean 'H100'?" in near
    assert "Supported: H100, H200. See the list." in near
    assert "did you mean" not in str(errors.UnknownNameError("GPU", "zzzz", ["H100"]))


def test_missing_extra_is_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.require("json").__name__ == "json"

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'wattlane\[plan\]'"):
        extras.require("highspy")
    with pytest.raises(errors.MissingExtraError, match=r"scipy is not installed.*wattlane\[plan\]"):
        extras.require("scipy.optimize")


def test_error_inside_an_installed_extra_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'llvmlite'", name="llvmlite")

    monkeypatch.setattr(extras.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="llvmlite"):
        extras.require("numba")


def test_environment_is_read_when_asked_and_absent_when_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WATTLANE_DATA", str(tmp_path))
    monkeypatch.setenv("WATTLANE_CACHE", str(tmp_path / "cache"))
    assert env.data_dir() == tmp_path
    assert env.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("WATTLANE_DATA")
    monkeypatch.delenv("WATTLANE_CACHE")
    assert env.data_dir() is None
    assert env.cache_dir().parts[-2:] == (".cache", "wattlane")
    monkeypatch.setenv("WATTLANE_API_KEY", "")
    assert env.api_key() is None
    monkeypatch.setenv("WATTLANE_API_KEY", "key")
    assert env.api_key() == "key"
