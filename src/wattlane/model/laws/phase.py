"""The phase law: time and power of one engine iteration from the geometry of the model and the facts of the GPU.

The form is in `wattlane.model.iteration`. This file turns a handful of fitted parameters into its coefficients for one
(GPU, model, precision, tensor parallelism, clock). The parameters, all positive:

    eta_weights, eta_kv        share of peak bandwidth reached when streaming weights, KV cache
    eta_flop, eta_flop_fp8     share of the dense peak reached by matrix products
    eta_attention              share of the bf16 peak reached by prefill attention
    eta_experts                further factor on bandwidth when streaming mixture-of-experts weights
    host_s, host_per_layer_s, host_per_seq_s     engine and launch time of an iteration
    comm_per_layer_s           latency of one layer's all-reduces under tensor parallelism
    static_w                   watts per GPU while busy, before traffic and arithmetic
    byte_j, flop_j             joules per byte of HBM traffic, per FLOP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import PRECISION_BYTES, Gpu
from wattlane.core.facts.models import Model
from wattlane.model import iteration as it
from wattlane.model.clock import ClockPrior, clock_scale

PARAMETERS = (
    "eta_weights",
    "eta_kv",
    "eta_flop",
    "eta_flop_fp8",
    "eta_attention",
    "eta_experts",
    "host_s",
    "host_per_layer_s",
    "host_per_seq_s",
    "comm_per_layer_s",
    "static_w",
    "byte_j",
    "flop_j",
)
KV_BYTES = 2.0  # the KV cache is kept in 16 bit unless an engine is told otherwise
LINK_EFFICIENCY = 0.5  # all-reduces reach about half the one-way link rate at the sizes of a prefill chunk
FP8_PRECISIONS = frozenset({"fp8", "int8"})


@dataclass(frozen=True, slots=True)
class Case:
    """What a law is asked about: one replica of a model on some GPUs at a precision and clock (None = maximum)."""

    gpu: Gpu
    model: Model
    precision: str = "bf16"
    tensor_parallel: int = 1
    clock_hz: float | None = None
    idle_w: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISION_BYTES:
            raise InputError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISION_BYTES)}")
        if self.clock_hz is not None and not self.gpu.clock_min_hz <= self.clock_hz <= self.gpu.clock_max_hz:
            raise InputError(
                f"clock_hz is {self.clock_hz:.4g}; {self.gpu.name} runs between "
                f"{self.gpu.clock_min_hz:.4g} and {self.gpu.clock_max_hz:.4g}"
            )

    @property
    def clock_ratio(self) -> float:
        """Clock as a share of the maximum."""
        return 1.0 if self.clock_hz is None else self.clock_hz / self.gpu.clock_max_hz

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights; embeddings stay in 16 bit, as quantised checkpoints keep them."""
        embedding = 2 * self.model.vocab * self.model.hidden
        body = self.model.total_params - embedding / (2 if self.model.tied_embeddings else 1)
        return body * PRECISION_BYTES[self.precision] + (self.model.total_params - body) * 2.0

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes the cache keeps for one token, over all layers and GPUs."""
        return self.model.kv_elements_per_token * KV_BYTES

    def kv_capacity_tokens(self, gpu_memory_utilization: float, reserve_bytes: float = 3.0e9) -> int:
        """Return how many tokens fit beside the weights; `reserve_bytes` per GPU is for activations and graphs.

        Raises:
            InputError: the weights do not fit.
        """
        have = self.tensor_parallel * (self.gpu.memory_bytes * gpu_memory_utilization - reserve_bytes)
        left = have - self.weight_bytes
        if left < self.kv_bytes_per_token * 1024:
            raise InputError(
                f"{self.model.name} in {self.precision} needs {self.weight_bytes / 1e9:.1f} GB; found "
                f"{have / 1e9:.1f} GB on {self.tensor_parallel} x {self.gpu.name}; use more GPUs or a lower precision"
            )
        return int(left / self.kv_bytes_per_token)


def law_vector(
    parameters: Mapping[str, float], case: Case, clock_prior: ClockPrior | None = None
) -> NDArray[np.float64]:
    """Return the coefficients of `wattlane.model.iteration` for one replica of `case`, shape (N,)."""
    gpu, model, tp = case.gpu, case.model, case.tensor_parallel
    scale = clock_scale(case.clock_ratio, clock_prior or ClockPrior())
    width = PRECISION_BYTES[case.precision]
    idle_w = gpu.idle_loaded_w if case.idle_w is None else case.idle_w
    head = model.vocab * model.hidden
    # A static power below idle would let a busy card draw less than a waiting one.
    busy_w = max(parameters["static_w"] - idle_w, 0.0)
    eta_flop = parameters["eta_flop_fp8" if case.precision in FP8_PRECISIONS else "eta_flop"]
    eta_stream = parameters["eta_weights"] * (parameters["eta_experts"] if model.is_moe else 1.0)
    bandwidth = tp * gpu.bandwidth_bytes_per_s * scale.bandwidth
    law = np.zeros(it.N)
    law[it.HOST_S] = parameters["host_s"] + parameters["host_per_layer_s"] * model.layers
    law[it.HOST_PER_SEQ_S] = parameters["host_per_seq_s"]
    if tp > 1:
        law[it.COMM_S] = parameters["comm_per_layer_s"] * model.layers
        moved = model.layers * 2 * model.hidden * KV_BYTES * 2 * (tp - 1) / tp
        law[it.COMM_PER_TOKEN_S] = moved / (gpu.link_bytes_per_s * LINK_EFFICIENCY)
    law[it.WEIGHT_BYTES] = (model.dense_params - head) * width + head * 2.0
    if model.is_moe:
        law[it.EXPERT_BYTES] = model.moe_layers * model.experts * model.expert_params * width
        law[it.EXPERTS], law[it.EXPERTS_PER_TOKEN] = model.experts, model.experts_per_token
    law[it.FLOP_PER_DECODE_TOKEN] = 2.0 * model.active_params
    law[it.FLOP_PER_PREFILL_TOKEN] = 2.0 * (model.active_params - head)  # only the last prompt token meets the head
    law[it.FLOP_PER_CONTEXT] = model.attention_flop_per_token_context
    law[it.KV_BYTES_PER_TOKEN] = case.kv_bytes_per_token
    law[it.WEIGHT_BYTES_PER_S] = eta_stream * bandwidth
    law[it.KV_BYTES_PER_S] = parameters["eta_kv"] * bandwidth
    law[it.FLOP_PER_S] = eta_flop * tp * gpu.peak_flop_per_s(case.precision) * scale.compute
    law[it.ATTENTION_FLOP_PER_S] = parameters["eta_attention"] * tp * gpu.peak_flop_per_s("bf16") * scale.compute
    law[it.STATIC_W] = tp * (idle_w + busy_w * scale.static)
    law[it.BYTE_J] = parameters["byte_j"] * scale.byte
    law[it.FLOP_J] = parameters["flop_j"] * scale.flop * (0.5 if case.precision in FP8_PRECISIONS else 1.0)
    law[it.LIMIT_W] = tp * gpu.tdp_w
    law[it.IDLE_W] = tp * idle_w
    return law
