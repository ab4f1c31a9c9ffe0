"""The child of the in-process engine: runs under the interpreter that has torch, needs nothing of wattlane.

One JSON object a line on standard input, one on the former standard output; what libraries print goes to standard
error. A request that fails is answered with its error, and the child stays. Times are of the system's monotonic clock,
read after the device has finished.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sys
import time
from typing import Any

import torch
import transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_CACHE = {"num_blocks": 256, "page_size": 32, "max_batch_tokens": 512}
BEAMS = 4


class AbsentError(RuntimeError):
    """This machine does not have what was asked for."""


class Steps(transformers.StoppingCriteria):  # type: ignore[misc]
    """Stops nothing; stamps the time after each step of the library's loop, with the tokens written by then."""

    def __init__(self, prompt_tokens: int, now: Any) -> None:
        self.prompt_tokens = prompt_tokens
        self.now = now
        self.seen: list[tuple[int, float]] = []

    def __call__(self, ids: Any, _scores: Any, **_more: Any) -> Any:
        """Stamp."""
        self.seen.append((ids.shape[1] - self.prompt_tokens, self.now()))
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    def of(self, tokens: int, end_s: float) -> list[float]:
        """Return when each token was there; speculation writes several in one step."""
        return [next((at_s for many, at_s in self.seen if many > i), end_s) for i in range(tokens)]


class Worker:
    """One loaded model and the batch last read."""

    def __init__(self) -> None:
        self.model: Any = None
        self.assistant: Any = None
        self.device = "cpu"
        self.past: Any = None
        self.mask: Any = None
        self.next: Any = None
        self.kept: Any = None
        self.kept_batch = 0
        self.closing = contextlib.ExitStack()

    def load(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Load the model as asked; return what it turned out to be."""
        self.device = asked["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
        if asked["compile"] and self.device != "cuda":
            raise AbsentError(f"torch.compile with CUDA graphs needs a CUDA device; this is {self.device}")
        torch.set_float32_matmul_precision("highest")  # float32 means float32: no TF32 in its products
        dtype, quantization = DTYPES[asked["dtype"]], asked["quantization"]
        extra = {"quantization_config": _config(quantization, dtype)} if quantization.startswith(("bnb", "ao")) else {}
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            asked["model"], dtype=dtype, device_map=self.device, **extra
        ).eval()
        if quantization == "torch_int8":
            self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, dtype=torch.qint8)
        if asked["assistant"]:
            self.assistant = transformers.AutoModelForCausalLM.from_pretrained(
                asked["assistant"], dtype=dtype, device_map=self.device
            ).eval()
        if asked["compile"]:
            self.model.forward = torch.compile(self.model.forward, mode="reduce-overhead")
        return {
            "device": self.device,
            "device_name": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "stored_type": _stored_type(self.model, quantization),
            "compute_dtype": _compute_dtype(self.model, quantization, dtype),
            "attention": self.model.config._attn_implementation,
            "float32_matmul": torch.get_float32_matmul_precision(),
            "quantization_config": _settings(self.model),
            "threads": torch.get_num_threads(),
        }

    def prefill(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Read the batch, left-padded; keep the cache for `decode`."""
        self.rest()
        ids, self.mask = self._padded(asked["prompts"])
        self.past = self.next = None
        began = self._now()
        self._step(ids, (self.mask.cumsum(-1) - 1).clamp(min=0))
        return {"stretch": self._since(began)}

    def decode(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Write one token for each row, `steps` times."""
        if self.past is None:
            raise RuntimeError("decode was asked before prefill")
        stretches = []
        for _ in range(asked["steps"]):
            began = self._now()
            self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], -1)
            self._step(self.next, self.mask.sum(-1, keepdim=True) - 1)
            stretches.append(self._since(began))
        return {"stretches": stretches}

    def generate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer the batch with the library's own loop."""
        if asked["batching"] == "continuous":
            return self._continuous(asked["prompts"], asked["output_tokens"], asked["batch"])
        self.rest()
        if asked["decoding"] == "assisted" and len(asked["prompts"]) > 1:
            raise RuntimeError("assisted decoding takes one prompt at a time")
        ids, mask = self._padded(asked["prompts"])
        count = max(asked["output_tokens"])
        choices: dict[str, dict[str, Any]] = {
            "greedy": {"do_sample": False},
            "sample": {"do_sample": True, "temperature": 1.0},
            "beam": {"do_sample": False, "num_beams": BEAMS},
            "assisted": {"do_sample": False},
        }
        config = transformers.GenerationConfig(
            max_new_tokens=count, min_new_tokens=count, pad_token_id=0, **choices[asked["decoding"]]
        )
        helper: dict[str, Any] = {"assistant_model": self.assistant} if asked["decoding"] == "assisted" else {}
        torch.manual_seed(asked["seed"])
        steps = Steps(ids.shape[1], lambda: self._now()[0])
        began = self._now()
        answer = self.model.generate(
            ids, attention_mask=mask, generation_config=config, stopping_criteria=[steps], **helper
        )
        stretch = self._since(began)
        written = answer[:, ids.shape[1] :].tolist()
        outputs = [row[:own] for row, own in zip(written, asked["output_tokens"], strict=True)]
        return {"stretch": stretch, "outputs": outputs, "token_s": [steps.of(len(row), stretch[1]) for row in outputs]}

    def _continuous(self, prompts: list[list[int]], counts: list[int], batch: int) -> dict[str, Any]:
        """Hand in all prompts at once; the library admits and retires them step by step, at most `batch` at a time."""
        manager = self._manager(batch)
        began = self._now()
        offset_s = time.monotonic() - time.perf_counter()  # the library stamps tokens with the latter
        ids = [
            manager.add_request(prompt, max_new_tokens=count, record_timestamps=True)
            for prompt, count in zip(prompts, counts, strict=True)
        ]
        answers: dict[str, Any] = {}
        while len(answers) < len(ids):
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                break
            if result is not None and result.is_finished():
                answers[result.request_id] = result
        stretch = self._since(began)
        wrong = [name for name in ids if name not in answers or answers[name].error is not None]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(prompts)} prompts were not answered: {wrong[:3]}")
        found = [answers[name] for name in ids]
        return {
            "stretch": stretch,
            "outputs": [list(answer.generated_tokens) for answer in found],
            "token_s": [[stamp + offset_s for stamp in answer.timestamps] for answer in found],
        }

    def _manager(self, batch: int) -> Any:
        """Return the library's manager, started once and kept, so that no trial pays for its cache."""
        if self.kept is not None and self.kept_batch == batch and self.kept.is_running():
            return self.kept
        self.rest()
        cache: dict[str, Any] = dict(CPU_CACHE) if self.device == "cpu" else {}
        if batch:
            cache["max_requests_per_batch"] = batch
        opened = self.model.continuous_batching_context_manager(
            generation_config=transformers.GenerationConfig(eos_token_id=-1, do_sample=False),
            continuous_batching_config=transformers.ContinuousBatchingConfig(**cache),
            block=True,
            timeout=5,
            warmup=False,
        )
        self.kept, self.kept_batch = self.closing.enter_context(opened), batch
        return self.kept

    def rest(self) -> None:
        """End the manager, whose paged attention no other call can use."""
        self.closing.close()
        self.kept = None

    def logits(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Write the logits of every position of the prompts, padding left out, into an array file."""
        import numpy

        self.rest()
        ids, mask = self._padded(asked["prompts"])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        numpy.save(asked["file"], out[mask.bool()].float().cpu().numpy())
        return {"positions": int(mask.sum())}

    def _padded(self, prompts: list[list[int]]) -> tuple[Any, Any]:
        longest = max(map(len, prompts))
        rows = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(rows, device=self.device), torch.tensor(mask, device=self.device)

    def _step(self, ids: Any, positions: Any) -> None:
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.past, self.next = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)

    def _now(self) -> tuple[float, float]:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic(), time.process_time()

    def _since(self, began: tuple[float, float]) -> list[float]:
        end_s, cpu_s = self._now()
        return [began[0], end_s, cpu_s - began[1]]


def _config(quantization: str, dtype: Any) -> Any:
    if quantization.startswith("ao"):
        from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig

        return transformers.TorchAoConfig(
            Int8WeightOnlyConfig() if quantization == "ao_int8" else Int4WeightOnlyConfig()
        )
    if quantization == "bnb_int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    # a bare int4 is left to the library's default, which is then read off the loaded weights
    kind = {"bnb_nf4": {"bnb_4bit_quant_type": "nf4"}, "bnb_fp4": {"bnb_4bit_quant_type": "fp4"}}.get(quantization, {})
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, **kind)


def _settings(model: Any) -> dict[str, Any] | None:
    """Return the library's own settings of a quantised model, thresholds included; None where it has none."""
    config = getattr(model.config, "quantization_config", None)
    if config is None:
        return None
    known: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return known


def _linears(model: Any) -> list[Any]:
    """Return the projections of the layers; the output head is often left unquantised."""
    return [part for name, part in model.named_modules() if name.endswith(("q_proj", "down_proj"))]


def _stored_type(model: Any, quantization: str) -> str:
    """Return the number type of the weights, read off a loaded layer and not off the request."""
    part = _linears(model)[0]
    if quantization == "torch_int8":
        return str(part.weight().dtype).removeprefix("torch.").upper()
    four_bit = getattr(getattr(part.weight, "quant_state", None), "quant_type", None)
    if four_bit:
        return str(four_bit).upper()
    if quantization.startswith("ao"):
        return f"{type(part.weight).__name__} ({quantization.removeprefix('ao_').upper()})"
    return str(part.weight.dtype).removeprefix("torch.").upper()


def _compute_dtype(model: Any, quantization: str, dtype: Any) -> str:
    part = _linears(model)[0]
    if quantization in {"torch_int8", "bnb_int8"}:
        return "int8"
    return str(getattr(part, "compute_dtype", None) or dtype).removeprefix("torch.")


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    transformers.logging.set_verbosity_error()
    worker = Worker()
    names = ("torch", "transformers", "accelerate", "bitsandbytes", "torchao")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    answers.write(json.dumps({"ready": versions}) + "\n")
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            with torch.inference_mode():
                answer = getattr(worker, asked.pop("do"))(asked)
            answer["peak_memory_bytes"] = _peak_bytes()
        except Exception as error:  # noqa: BLE001  whatever a library raises is an answer, not an end
            answer = {"error": f"{type(error).__name__}: {error}", "absent": isinstance(error, AbsentError)}
        answers.write(json.dumps(answer) + "\n")
    worker.rest()


if __name__ == "__main__":
    main()
