"""What ends a command early comes out as one sentence: an interruption, a refusal of the operating system."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from wattlane import measure
from wattlane.cli.app import INTERRUPTED, run
from wattlane.measure import trial


def ending(error: BaseException) -> Callable[..., None]:
    def instead(*_: object, **__: object) -> None:
        raise error

    return instead


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/served.parquet"),
            "run/served.parquet: No space left on",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "run"), "run: Permission denied"),
        (TimeoutError("the disk did not answer"), "error: the disk did not answer"),
    ],
)
def test_what_the_operating_system_refuses_is_a_sentence_and_no_trace(
    error: OSError, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "compare", ending(error), raising=False)
    assert run(["compare", "a", "b"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "check the path" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "run the same command again to resume"),
        (KeyboardInterrupt("interrupted; run holds what was recorded"), "run holds what was recorded"),
    ],
)
def test_an_interruption_says_what_is_kept(
    error: KeyboardInterrupt, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "compare", ending(error), raising=False)
    assert run(["compare", "a", "b"]) == INTERRUPTED
    assert words in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_the_engine_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(trial, "open_engine", ending(AssertionError("the engine was opened")))
    for out in ("/proc/nowhere", str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        assert run(["measure", "xllamacpp", "burst:n=1,input=1,output=1", "-o", out]) == 1
        assert "another" in capsys.readouterr().err
