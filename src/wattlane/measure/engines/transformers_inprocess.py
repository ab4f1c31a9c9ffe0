"""transformers called directly, in a child process: `dtype=bfloat16,quantization=bnb_nf4,python=PATH`.

The child runs under the interpreter that has torch. It reads static batches with left padding, or hands the prompts to
the library's continuous batching. A quantisation whose library is absent is refused with the reason: it is never
replaced by another precision.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import AbsentBackendError, InputError, MeasurementError, UnknownNameError
from wattlane.measure.engines.inprocess import Generated, Prompts, Stretch
from wattlane.measure.engines.installed import Installed, look_into
from wattlane.measure.engines.process import code_name, core_set
from wattlane.measure.hf_model import random_checkpoint
from wattlane.measure.spec import Spec
from wattlane.measure.tokens import TokenCount, count_static

NAME = "transformers-inprocess"
DEFAULTS: dict[str, int | float | str] = {
    "model": "",
    "size": "tiny",
    "seed": 0,
    "dtype": "float32",
    "quantization": "",
    "assistant": "",
    "compile": 0,
    "device": "",
    "threads": 1,
    "cores": "",
    "python": "",
}
DTYPES = ("float32", "bfloat16", "float16")
# what each quantisation needs beside torch and transformers
QUANTIZATIONS = {
    "": (),
    "torch_int8": (),
    "bnb_int8": ("bitsandbytes",),
    "bnb_int4": ("bitsandbytes",),
    "bnb_nf4": ("bitsandbytes",),
    "bnb_fp4": ("bitsandbytes",),
    "ao_int8": ("torchao",),
    "ao_int4": ("torchao",),
}
DECODINGS = ("greedy", "sample", "beam", "assisted")
BATCHINGS = ("static", "continuous")
WORKER = Path(__file__).with_name("transformers_worker.py")
STOP_LIMIT_S = 10.0


class TransformersInProcess:
    """One child process with one model; `assistant` is the draft model of assisted decoding."""

    def __init__(self, spec: Spec) -> None:
        self.options = spec.options_as(DEFAULTS)
        for option, known in (("dtype", DTYPES), ("quantization", QUANTIZATIONS)):
            if self.options[option] not in known:
                raise UnknownNameError(option, str(self.options[option]), [name for name in known if name])
        self._cores = core_set(str(self.options["cores"]))
        self._installed: Installed | None = None
        self._process: subprocess.Popen[str] | None = None
        self._log: Any = None
        self._found: dict[str, Any] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the child."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        self._installed = look_into(str(self.options["python"]))
        self._installed.need("torch", "transformers", "accelerate", *QUANTIZATIONS[str(self.options["quantization"])])
        size, seed = str(self.options["size"]), int(self.options["seed"])
        model = str(self.options["model"]) or str(random_checkpoint(size, seed))
        try:
            self._start(self._installed.python)
            asked = {name: self.options[name] for name in ("dtype", "quantization", "assistant", "compile", "device")}
            self._found = self._ask("load", {**asked, "model": model})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def prefill(self, prompts: Prompts) -> Stretch:
        """Read a batch of prompts and choose the first token of each."""
        return Stretch(*self._ask("prefill", {"prompts": _plain(prompts)})["stretch"])

    def decode(self, steps: int) -> tuple[Stretch, ...]:
        """Write `steps` more tokens for every row of the batch last read."""
        return tuple(Stretch(*stretch) for stretch in self._ask("decode", {"steps": steps})["stretches"])

    def generate(
        self,
        prompts: Prompts,
        output_tokens: int | Sequence[int],
        *,
        decoding: str = "greedy",
        batching: str = "static",
        batch: int = 0,
    ) -> Generated:
        """Answer the prompts with exactly `output_tokens` tokens, one number for all or one each.

        Raises:
            UnknownNameError: the decoding or the batching is not one of `DECODINGS`, `BATCHINGS`.
            MeasurementError: the library cannot do it; the message holds its words.
        """
        for kind, name, known in (("decoding", decoding, DECODINGS), ("batching", batching, BATCHINGS)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if batching == "continuous" and decoding != "greedy":
            raise InputError(f"{NAME}: found {decoding} decoding with continuous batching; expected greedy")
        if decoding == "assisted" and not self.options["assistant"]:
            raise InputError(f"{NAME}: assisted decoding needs a draft model; give assistant=FOLDER")
        counts = [output_tokens] * len(prompts) if isinstance(output_tokens, int) else list(output_tokens)
        if len(counts) != len(prompts) or min(counts, default=0) < 1:
            raise InputError(f"{NAME}: output_tokens is {output_tokens}; expected at least 1 for each prompt")
        asked = {"prompts": _plain(prompts), "output_tokens": counts, "decoding": decoding, "batch": batch}
        answer = self._ask("generate", {**asked, "batching": batching, "seed": int(self.options["seed"])})
        outputs = tuple(tuple(row) for row in answer["outputs"])
        times = tuple(tuple(row) for row in answer["token_s"])
        return Generated(Stretch(*answer["stretch"]), outputs, _counted(prompts, outputs, batching), times)

    def logits(self, prompts: Prompts) -> NDArray[np.float32]:
        """Return the logits of every position of the prompts, shape (tokens, vocabulary), for `measure.quality`."""
        with tempfile.TemporaryDirectory(prefix="wattlane-logits-") as folder:
            file = Path(folder) / "logits.npy"
            self._ask("logits", {"prompts": _plain(prompts), "file": str(file)})
            found: NDArray[np.float32] = np.load(file)
        return found

    def describe(self) -> dict[str, Any]:
        """Return versions, the stored number type of the weights and the dtype of products."""
        given = str(self.options["model"])
        return {
            "name": NAME,
            "version": self._installed.versions.get("transformers") if self._installed else None,
            "versions": dict(self._installed.versions) if self._installed else {},
            "model": Path(given).name if given else f"random-{self.options['size']}",
            "options": {key: value for key, value in self.options.items() if key not in {"model", "python"}},
            "random_weights": not given,
            **self._found,
        }

    def _start(self, python: str) -> None:
        self._log = tempfile.NamedTemporaryFile("w+", prefix="wattlane-engine-", suffix=".log")  # noqa: SIM115
        threads = str(self.options["threads"])
        self._process = subprocess.Popen(
            # isolated: the folder of this file must not be on the child's path, its names are those of libraries
            [python, "-I", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"},
        )
        if self._cores is not None:
            os.sched_setaffinity(self._process.pid, self._cores)
        self._answer("start")

    def _ask(self, do: str, what: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.stdin is None or self._process.poll() is not None:
            raise MeasurementError(f"{NAME}: {do} was asked while no child is running; use it inside a with block")
        try:
            self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer below says how it ended
        return self._answer(do)

    def _answer(self, do: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            tail = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
            raise MeasurementError(f"{NAME}: the child ended with {code_name(code)} during {do}:\n" + "\n".join(tail))
        answer: dict[str, Any] = json.loads(line)
        if answer.get("absent"):
            raise AbsentBackendError(f"{NAME}: {answer['error']}")
        if "error" in answer:
            raise MeasurementError(f"{NAME}: {do} failed: {answer['error']}")
        return answer


def _plain(prompts: Prompts) -> list[list[int]]:
    if not prompts or not all(prompts):
        raise InputError(f"{NAME}: found an empty batch or an empty prompt; expected at least one token in each")
    return [[int(token) for token in prompt] for prompt in prompts]


def _counted(prompts: Prompts, outputs: tuple[tuple[int, ...], ...], batching: str) -> TokenCount:
    """Return the counts; continuous batching computes no padding."""
    inputs, answers = [len(prompt) for prompt in prompts], [len(row) for row in outputs]
    if batching == "static":
        return count_static(inputs, answers)
    return TokenCount(len(inputs), sum(inputs), sum(inputs), sum(answers), sum(answers))
