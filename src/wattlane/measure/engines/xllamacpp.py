"""The embedded engine: llama.cpp's server from the `xllamacpp` wheel, serving a random-weight model made on the spot.

It needs no GPU, no compiler and no downloaded weights. The server is a process of its own, so that its CPU time can be
read apart from the client's and killing it harms nothing else.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any, Self

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.extras import require
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.process import ServerProcess, core_set, free_port
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
FIRST_PLAIN_TOKEN = 261  # after the special tokens and the 256 single bytes


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
        self._server = ServerProcess(NAME, core_set(str(self.options["cores"])))
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
        return self._server.pid

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
        given, size, precision = (str(self.options[name]) for name in ("model", "size", "precision"))
        path = given or str(random_gguf(size, precision, int(self.options["seed"])))
        port = free_port()
        command = [sys.executable, "-m", "wattlane.measure.engines.xllamacpp_server", "--model", path]
        command += ["--port", str(port)]
        for name in ("slots", "threads", "context_tokens"):
            command += [f"--{name.replace('_', '-')}", str(self.options[name])]
        self._base_url = f"http://127.0.0.1:{port}"
        self._server.start(command, {}, f"{self._base_url}/health", START_LIMIT_S)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop()

    def exit_reason(self) -> str | None:
        """Return None while the server runs, else how it ended."""
        return self._server.exit_reason()

    def describe(self) -> dict[str, Any]:
        """Return name, versions and options."""
        return {
            "name": NAME,
            "version": metadata.version("xllamacpp"),
            "model": self.model,
            "options": {key: value for key, value in self.options.items() if key != "model"},
            "random_weights": not self.options["model"],
        }
