"""Measured serving points a phase law is fitted on, read from the ML.ENERGY tables (v3: H100, B200; v2: A100).

Steady, saturated decoding with a fixed number of sequences: mean batch, mean inter-token latency (batch ÷ output
throughput, prefill iterations included), watts of all GPUs, mean output length. Prompt lengths are not in the tables:
they are latent, one per task, with the priors of `wattlane.model.fit_phase`. Prompts of code completion are long and
varied: those rows tell of power, and little of time. Read with `window=True`, a row says how far its measuring window
was from steady serving (`wattlane.model.measuring_window`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from wattlane.core.errors import UnknownNameError
from wattlane.core.facts.gpus import Gpu, gpu
from wattlane.core.facts.models import Model, model
from wattlane.core.files import existing
from wattlane.model.laws.phase import Case
from wattlane.model.measuring_window import STEADY, Shares, shares

PRECISION_OF = {"bfloat16": "bf16", "fp8": "fp8", "mxfp4": "mxfp4"}
V2_GPUS = {"NVIDIA A100-SXM4-40GB": "A100-40GB", "NVIDIA H100 80GB HBM3": "H100"}


@dataclass(frozen=True, slots=True)
class Point:
    """One measured configuration. `group` is the architecture: precisions and post-trainings of it share it.

    `input_tokens` None: not recorded, a latent mean of the task. `slow_path`: run by an engine that needs 20 ms and
    more an iteration whatever the batch, which a fit gives a time of its own. `window`: how far it was from steady.
    """

    gpu: Gpu
    model: Model
    precision: str
    num_gpus: int
    batch: float
    output_tokens: float
    itl_s: float
    power_w: float
    task: str
    group: str
    input_tokens: float | None = None
    slow_path: bool = False
    expert_parallel: int | None = None
    window: Shares = STEADY

    @property
    def case(self) -> Case:
        """The replica that was measured."""
        return Case(
            self.gpu,
            self.model,
            self.precision,
            self.num_gpus,
            expert_parallel=self.expert_parallel if self.model.is_moe else None,
        )


@dataclass(frozen=True, slots=True)
class Points:
    """The usable rows and why the others were left out (reason → rows)."""

    rows: tuple[Point, ...]
    left_out: dict[str, int]
    source: str


def _geometry(name: str) -> Model | None:
    try:
        return model(name)
    except UnknownNameError:
        return None


def architecture(m: Model) -> str:
    """Return a name that precisions and post-trainings of one architecture share."""
    kind = f"{m.experts}x{m.experts_per_token}" if m.is_moe else "hybrid" if m.state_layers else "dense"
    return f"{m.layers}L-{m.hidden}h-{kind}-{m.intermediate}"


def _slow_path(r: dict[str, Any]) -> bool:
    """Whether a row ran through another software path than the rest.

    On one B200, 16-bit models need 20 to 40 ms an iteration on GPQA from batch 8 on, at half the power; Qwen3-8B on
    chat needs 5 ms at the same batch, and the longer contexts account for less than 1 ms.
    """
    single = r["gpu_model"] == "B200" and r["num_gpus"] == 1
    return bool(single and r["task"] == "gpqa" and r["weight_precision"] == "bfloat16")


def read_v3(path: Path, gpu_name: str, *, window: bool = False) -> Points:
    """Return the rows of ML.ENERGY v3 for one GPU; data-parallel ones are left out, counted.

    `window` reads them as what they are, a stretch of a run that may not have come to rest; else as steady serving.
    """
    rows, left_out = [], dict[str, int]()
    for r in pl.read_csv(existing(path)).iter_rows(named=True):
        if r["gpu_model"] != gpu_name:
            continue
        m = _geometry(r["model_id"])
        reason = None
        if m is None:
            reason = "model not in the catalogue"
        elif r["data_parallel"] != 1:
            reason = "data parallel: per-replica batch is not recorded"
        if m is None or reason is not None:
            left_out[reason or ""] = left_out.get(reason or "", 0) + 1
            continue
        rows.append(
            Point(
                gpu=gpu(gpu_name),
                model=m,
                precision=PRECISION_OF[r["weight_precision"]],
                num_gpus=r["num_gpus"],
                batch=r["avg_batch_size"],
                output_tokens=r["avg_output_len"],
                itl_s=r["avg_batch_size"] / r["output_throughput_tokens_per_sec"],
                power_w=r["avg_power_watts"],
                task=r["task"],
                group=architecture(m),
                slow_path=_slow_path(r),
                window=shares(r["task"], r["max_num_seqs"]) if window else STEADY,
            )
        )
    return Points(tuple(rows), left_out, f"ML.ENERGY leaderboard v3, {gpu_name}, vLLM 0.11.1 (Apache-2.0)")


def read_v2(path: Path, gpu_name: str) -> Points:
    """Return the text rows of ML.ENERGY v2 for one GPU; power = J/request ÷ mean output tokens × tokens/s."""
    rows, left_out = [], dict[str, int]()
    for r in pl.read_csv(existing(path)).iter_rows(named=True):
        if V2_GPUS.get(r["GPU"]) != gpu_name:
            continue
        m = _geometry(r["Model"])
        reason = None
        if m is None:
            reason = "model not in the catalogue"
        elif not r["family"].startswith("llm"):
            reason = "image input"
        elif r["PP"] != 1:
            reason = "pipeline parallel"
        elif r["task"] != "chat":
            reason = "not chat: prompt lengths unknown"
        if m is None or reason is not None:
            left_out[reason or ""] = left_out.get(reason or "", 0) + 1
            continue
        throughput = r["Token tput (tok/s)"]
        rows.append(
            Point(
                gpu=gpu(gpu_name),
                model=m,
                precision="bf16",
                num_gpus=r["TP"],
                batch=r["Avg BS (reqs)"],
                output_tokens=r["Avg Output Tokens"],
                itl_s=r["Avg BS (reqs)"] / throughput,
                power_w=r["Energy/req (J)"] / r["Avg Output Tokens"] * throughput,
                task="lm-arena-chat",
                group=architecture(m),
                expert_parallel=1,
            )
        )
    return Points(tuple(rows), left_out, f"ML.ENERGY leaderboard v2, {gpu_name} (Apache-2.0)")
