"""`transformers serve`, started, awaited and stopped: `transformers:model=DIR,dtype=bfloat16,python=PATH`.

Continuous batching with paged attention unless `continuous_batching=0`. Without `model=DIR` it serves the random
checkpoint of `size`. It has no metrics endpoint and takes text prompts only; its streams end without `[DONE]`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

from wattlane.core.errors import InputError
from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.installed import Installed, look_into
from wattlane.measure.engines.spawned import SpawnedEngine
from wattlane.measure.hf_model import random_checkpoint
from wattlane.measure.spec import Spec, Value

NAME = "transformers"
DEFAULTS: dict[str, Value] = {
    "model": "",
    "size": "tiny",
    "seed": 0,
    "dtype": "bfloat16",
    "quantization": "",
    "device": "",
    "continuous_batching": 1,
    "num_blocks": 0,
    "block_size": 0,
    "max_batch_tokens": 0,
    "compile": 0,
    "threads": 1,
    "cores": "",
    "python": "",
    "start_limit_s": 600,
}
CPU_CACHE = {"num_blocks": 256, "block_size": 32, "max_batch_tokens": 512}  # on a GPU the server sizes its own
# what the library makes of a name (D7): the stored numbers, and the dtype that products are computed in
QUANTIZATION_TYPES = {"bnb-4bit": "NF4 or FP4 as the library's default says", "bnb-8bit": "INT8 (LLM.int8())"}


class TransformersServeEngine(SpawnedEngine):
    """One server process. Cache options (`num_blocks`, `block_size`, `max_batch_tokens`) of 0 are the server's."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(NAME, spec, DEFAULTS, ("threads",))
        quantization = str(self.options["quantization"])
        if quantization and quantization not in QUANTIZATION_TYPES:
            raise InputError(
                f"{NAME}: quantization is {quantization!r}; expected one of {', '.join(QUANTIZATION_TYPES)} or none"
            )
        self._installed: Installed | None = None
        self._model = str(self.options["model"])
        self._hub: tempfile.TemporaryDirectory[str] | None = None

    @property
    def model(self) -> str:
        """The served path, which requests must repeat."""
        return self._model

    @property
    def habits(self) -> Habits:
        """Text prompts; the output length is the request's limit, which a random model reaches."""
        return Habits(runs_on_gpu=None if self._installed is None else self._device != "cpu")

    @property
    def _device(self) -> str:
        given = str(self.options["device"])
        return given or ("cpu" if self._installed and self._installed.is_cpu_only else "auto")

    def __enter__(self) -> Self:
        self._installed = look_into(str(self.options["python"]))
        self._installed.need("torch", "transformers", "accelerate")
        if self.options["quantization"]:
            self._installed.need("bitsandbytes")
        if not self._model:
            self._model = str(random_checkpoint(str(self.options["size"]), int(self.options["seed"])))
        port = self._free_port()
        # listing models fails where the hub's folder is missing
        self._hub = tempfile.TemporaryDirectory(prefix="wattlane-hub-")
        environment = {
            "OMP_NUM_THREADS": str(self.options["threads"]),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": self._hub.name,
        }
        try:
            self._server.start(
                self._command(port), environment, f"{self._base_url}/health", float(self.options["start_limit_s"])
            )
        except BaseException:
            self._hub.cleanup()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        if self._hub is not None:
            self._hub.cleanup()

    def describe(self) -> dict[str, Any]:
        """Return name, versions, options, and the numbers it computes with."""
        versions = dict(self._installed.versions) if self._installed else {}
        quantization = str(self.options["quantization"])
        given = str(self.options["model"])
        return {
            "name": NAME,
            "version": versions.get("transformers"),
            "versions": versions,
            "model": Path(given).name if given else f"random-{self.options['size']}",
            "options": self._own_options(),
            "random_weights": not given,
            "quantization": QUANTIZATION_TYPES.get(quantization),
            "compute_dtype": self.options["dtype"],
        }

    def _command(self, port: int) -> list[str]:
        assert self._installed is not None
        command = [
            *(str(Path(self._installed.python).parent / "transformers"), "serve", self._model),
            *("--host", "127.0.0.1", "--port", str(port), "--dtype", str(self.options["dtype"])),
            *("--device", self._device),
        ]
        if self.options["quantization"]:
            command += ["--quantization", str(self.options["quantization"])]
        if self.options["compile"]:
            command.append("--compile")
        if self.options["continuous_batching"]:
            command.append("--continuous-batching")
            for name, on_cpu in CPU_CACHE.items():
                value = int(self.options[name]) or (on_cpu if self._device == "cpu" else 0)
                if value:
                    command += [f"--cb-{name.replace('_', '-')}", str(value)]
        return command
