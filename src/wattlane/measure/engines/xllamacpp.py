"""The embedded engine: llama.cpp's server from the `xllamacpp` wheel, serving a random-weight model made on the spot.

It needs no GPU, no compiler and no downloaded weights. The server is a process of its own, so that its CPU time can be
read apart from the client's and killing it harms nothing else.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from wattlane.core.errors import InputError
from wattlane.core.extras import require
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.spawned import SpawnedEngine
from wattlane.measure.gguf_model import random_gguf
from wattlane.measure.spec import Spec, Value

NAME = "xllamacpp"
DEFAULTS: dict[str, Value] = {
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


class XllamacppEngine(SpawnedEngine):
    """One server process. Options: precision, size, slots, threads, context_tokens, seed, cores, or model=FILE.gguf."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(NAME, spec, DEFAULTS, ("slots", "threads", "context_tokens"))

    @property
    def model(self) -> str:
        """Name to put into requests; the server answers to any."""
        return str(self.options["model"]) or f"random-{self.options['size']}-{self.options['precision']}"

    @property
    def habits(self) -> Habits:
        """Token-id prompts, fixed output length, no prefix cache, CPU only."""
        return Habits(
            request_fields={"ignore_eos": True, "cache_prompt": False},
            token_ids=None if self.options["model"] else (FIRST_PLAIN_TOKEN, self.vocabulary),
            runs_on_gpu=False,
        )

    def __enter__(self) -> Self:
        require("xllamacpp")
        given, size, precision = (str(self.options[name]) for name in ("model", "size", "precision"))
        if given and not Path(given).is_file():
            raise InputError(f"{NAME}: model is {given!r}; expected a GGUF file, or no model for a random one")
        path = given or str(random_gguf(size, precision, int(self.options["seed"])))
        port = self._free_port()
        command = [sys.executable, "-m", "wattlane.measure.engines.xllamacpp_server", "--model", path]
        command += ["--port", str(port)]
        for name in ("slots", "threads", "context_tokens"):
            command += [f"--{name.replace('_', '-')}", str(self.options[name])]
        self._server.start(command, {}, f"{self._base_url}/health", START_LIMIT_S)
        return self

    def describe(self) -> dict[str, Any]:
        """Return name, versions and options."""
        return {
            "name": NAME,
            "version": metadata.version("xllamacpp"),
            "model": self.model,
            "options": self._own_options(),
            "random_weights": not self.options["model"],
        }
