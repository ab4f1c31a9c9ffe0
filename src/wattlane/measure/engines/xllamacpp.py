"""The embedded engine: llama.cpp's server from the `xllamacpp` wheel, serving a random-weight model made on the spot.

It needs no GPU, no compiler and no downloaded weights. The server is a process of its own, so that its CPU time can be
read apart from the client's and killing it harms nothing else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from wattlane.core.errors import InputError, MeasurementError, UnknownNameError
from wattlane.core.extras import require
from wattlane.measure.engines.ask import get
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.process import core_set
from wattlane.measure.gguf_model import SHAPES, random_gguf
from wattlane.measure.spec import Spec

NAME = "xllamacpp"
DEFAULTS: dict[str, int | float | str] = {
    "precision": "F16",
    "size": "tiny",
    "slots": 8,
    "threads": 1,
    "context_tokens": 2048,
    "seed": 0,
    "model": "",
    "cores": "",
}
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0
POLL_S = 0.02
HEALTH_LIMIT_S = 1.0
FIRST_PLAIN_TOKEN = 261  # after the special tokens and the 256 single bytes
TAIL_LINES = 12


class XllamacppEngine:
    """One server process. Options: precision, size, slots, threads, context_tokens, seed, cores, or model=FILE.gguf."""

    def __init__(self, spec: Spec) -> None:
        self.options = spec.options_as(DEFAULTS)
        small = [name for name in ("slots", "threads", "context_tokens") if int(self.options[name]) < 1]
        if small:
            raise InputError.gathered(
                NAME, [f"{name} is {self.options[name]}; expected an integer of at least 1" for name in small]
            )
        if self.options["size"] not in SHAPES:
            raise UnknownNameError("model size", str(self.options["size"]), SHAPES)
        self._cores = core_set(str(self.options["cores"]))
        self._process: subprocess.Popen[bytes] | None = None
        self._logs: tempfile.TemporaryDirectory[str] | None = None
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """Address in front of `/v1`."""
        return self._base_url

    @property
    def model(self) -> str:
        """Name to put into requests; the server answers to any."""
        return str(self.options["model"]) or f"random-{self.options['size']}-{self.options['precision']}"

    @property
    def pid(self) -> int | None:
        """Process id of the server."""
        return self._process.pid if self._process else None

    @property
    def habits(self) -> Habits:
        """Token-id prompts, fixed output length, no prefix cache, CPU only."""
        high = SHAPES[str(self.options["size"])].vocabulary_tokens
        return Habits(
            request_fields={"ignore_eos": True, "cache_prompt": False},
            token_ids=None if self.options["model"] else (FIRST_PLAIN_TOKEN, high),
            runs_on_gpu=False,
        )

    def __enter__(self) -> Self:
        require("xllamacpp")
        given = str(self.options["model"])
        path = (
            Path(given)
            if given
            else random_gguf(str(self.options["size"]), str(self.options["precision"]), int(self.options["seed"]))
        )
        self._logs = tempfile.TemporaryDirectory(prefix="wattlane-engine-")
        try:
            self._start(path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._logs is not None:
            self._logs.cleanup()
            self._logs = None

    def exit_reason(self) -> str | None:
        """Return None while the server runs, else how it ended and the end of its log."""
        if self._process is None:
            return "the engine was never started"
        code = self._process.poll()
        if code is None:
            return None
        return f"the engine process {self._process.pid} ended with {_code_name(code)}"

    def describe(self) -> dict[str, Any]:
        """Return name, versions and options."""
        return {
            "name": NAME,
            "version": metadata.version("xllamacpp"),
            "model": self.model,
            "options": {key: value for key, value in self.options.items() if key != "model"},
            "random_weights": not self.options["model"],
        }

    def _start(self, path: Path) -> None:
        assert self._logs is not None
        out, err = (Path(self._logs.name) / name for name in ("stdout", "stderr"))
        command = [sys.executable, "-m", "wattlane.measure.engines.xllamacpp_server", "--model", str(path)]
        for name in ("slots", "threads", "context_tokens"):
            command += [f"--{name.replace('_', '-')}", str(self.options[name])]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            # A session of its own: Ctrl-C reaches us alone, and we stop the server in order.
            self._process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, start_new_session=True
            )
        if self._cores is not None:
            os.sched_setaffinity(self._process.pid, self._cores)
        deadline_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline_s:
            ended = self.exit_reason()
            if ended:
                raise MeasurementError(f"{ended} while starting; its last words:\n{_tail(err)}")
            self._base_url = _announced(out)
            if self._base_url and _healthy(self._base_url):
                return
            time.sleep(POLL_S)
        raise MeasurementError(
            f"the xllamacpp server was not ready after {START_LIMIT_S:.0f} s; expected /health to answer; "
            f"its last words:\n{_tail(err)}"
        )


def _announced(out: Path) -> str:
    words = out.read_text(encoding="utf-8", errors="replace").split()
    return words[1] if len(words) >= 2 and words[0] == "listening" else ""


def _healthy(base_url: str) -> bool:
    try:
        get(f"{base_url}/health", HEALTH_LIMIT_S)
    except OSError:
        return False
    return True


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (it wrote nothing)"


def _code_name(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
