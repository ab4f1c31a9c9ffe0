"""The phase law: time and power of one engine iteration from the geometry of the model and the facts of the GPU.

The form is in `wattlane.model.iteration`. This file turns fitted parameters, all positive (`PARAMETERS`), into its
coefficients for one or many cases at once: every parameter may be one number or one a case.

Every case is a replica of `tensor_parallel` × `pipeline_parallel` GPUs. With experts on several GPUs the iteration
waits for the GPU that touches most. Of G = E / `expert_parallel` experts a GPU each is touched with probability q; the
fullest of n GPUs is about z(n) standard deviations above the mean, z the expected maximum of n normal variables, and
more where routing is uneven (`imbalance`). Its share is written as 1 − (1 − q)^g with g taken at q = 1/2, where it is
exact. Tokens a GPU spread alike (`skew`).

Marked extrapolated, because no measurement stands behind it: pipeline stages, experts split by tensor parallelism,
a quantised KV cache, and precisions other than those a profile names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import PRECISION_BYTES, Gpu
from wattlane.core.facts.models import Model
from wattlane.model import iteration as it
from wattlane.model.clock import ClockPrior, clock_scale

# Unit and meaning of every parameter; those that begin with eta_ are shares and never above 1.
MEANING = {
    "eta_weights": ("share of peak bandwidth", "streaming weights"),
    "eta_kv": ("share of peak bandwidth", "streaming the KV cache"),
    "eta_state": ("share of peak bandwidth", "reading and writing recurrent state"),
    "eta_experts": ("share of peak bandwidth", "streaming experts"),
    "eta_flop": ("share of dense peak", "matrix products in 16 bit"),
    "eta_flop_fp8": ("share of dense peak", "matrix products in 8 bit"),
    "eta_expert_flop": ("share of dense peak", "experts in 16 bit; in 8 bit less by eta_flop_fp8 / eta_flop"),
    "eta_attention": ("share of bf16 peak", "prefill attention"),
    "link_share": ("share of link rate", "all-reduces of long messages"),
    "host_s": ("s", "engine time of an iteration"),
    "host_per_seq_s": ("s/sequence", "scheduling"),
    "launch_per_layer_s": ("s/layer", "small kernels of a layer"),
    "route_per_layer_s": ("s/layer", "routing of a layer with experts"),
    "comm_per_layer_s": ("s/layer", "latency of all-reduces"),
    "sampling_passes": ("passes", "over the 32-bit logits of a sequence"),
    "pad_tokens": ("tokens", "padding of every expert touched"),
    "pad_block_tokens": ("tokens", "the same where weights are scaled in blocks"),
    "imbalance": ("standard deviations", "spread of experts touched, against even routing"),
    "skew": ("relative sd", "spread of tokens, for one expert a GPU"),
    "busy_share": ("share of the limit", "watts while kernels run, before traffic and arithmetic"),
    "host_share": ("share of the limit", "watts while the GPU waits for the engine"),
    "layer_share": ("share of the limit", "watts in small kernels, all-reduces and waiting"),
    "byte_j": ("J/byte", "HBM traffic"),
    "flop_j": ("J/FLOP", "arithmetic in 16 bit"),
    "flop_fp8": ("factor", "on joules per FLOP in 8 bit"),
    "flop_experts": ("factor", "on joules per FLOP in experts"),
}
PARAMETERS = tuple(MEANING)
SAMPLING_SHARE = 0.7  # of the bandwidth, in passes over logits
STATE_BYTES = 2 * 4.0  # recurrent state is kept in 32 bit, read and written
LOGIT_BYTES = 4.0
ACTIVATION_BYTES = 2.0
FULLEST = 0.97  # share of its experts the fullest GPU touches where half are touched on average, at most
# Expected maximum of n independent standard normal variables (Harter 1961).
EXPECTED_MAXIMUM = {1: 0.0, 2: 0.5642, 3: 0.8463, 4: 1.0294, 5: 1.1630, 6: 1.2672, 7: 1.3522, 8: 1.4236, 16: 1.7660}


@dataclass(frozen=True, slots=True)
class Case:
    """What a law is asked about: one replica of a model on some GPUs at a precision and clock (None = maximum).

    `expert_parallel` None places whole experts on the GPUs of the replica, as the calibrated deployments do; 1 splits
    every expert over them.
    """

    gpu: Gpu
    model: Model
    precision: str = "bf16"
    tensor_parallel: int = 1
    clock_hz: float | None = None
    idle_w: float | None = None
    pipeline_parallel: int = 1
    expert_parallel: int | None = None
    kv_precision: str = "bf16"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value!r}; expected one of {', '.join(PRECISION_BYTES)}"
            for name, value in (("precision", self.precision), ("kv_precision", self.kv_precision))
            if value not in PRECISION_BYTES
        ]
        problems += [
            f"{name} is {value}; expected at least 1"
            for name in ("tensor_parallel", "pipeline_parallel", "expert_parallel")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.clock_hz is not None and not self.gpu.clock_min_hz <= self.clock_hz <= self.gpu.clock_max_hz:
            problems.append(
                f"clock_hz is {self.clock_hz:.4g}; {self.gpu.name} runs between "
                f"{self.gpu.clock_min_hz:.4g} and {self.gpu.clock_max_hz:.4g}"
            )
        if problems:
            raise InputError("; ".join(problems))

    @property
    def num_gpus(self) -> int:
        """GPUs of the replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def expert_gpus(self) -> int:
        """GPUs that whole experts are spread over."""
        return self.tensor_parallel if self.expert_parallel is None else self.expert_parallel

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
        """Bytes the cache keeps for one token over all layers and GPUs.

        A GPU keeps at least one KV head, and the whole of a compressed cache: more GPUs than heads keep copies.
        """
        copies = self.tensor_parallel / min(self.tensor_parallel, self.model.kv_heads)
        if self.model.attention == "mla":
            copies = float(self.tensor_parallel)
        return self.model.kv_elements_per_token * PRECISION_BYTES[self.kv_precision] * copies

    def kv_capacity_tokens(self, gpu_memory_utilization: float, reserve_bytes: float = 3.0e9) -> int:
        """Return how many tokens fit beside the weights; `reserve_bytes` per GPU is for activations and graphs.

        Raises:
            InputError: the weights do not fit.
        """
        have = self.num_gpus * (self.gpu.memory_bytes * gpu_memory_utilization - reserve_bytes)
        left = have - self.weight_bytes
        if left < self.kv_bytes_per_token * 1024:
            raise InputError(
                f"{self.model.name} in {self.precision} needs {self.weight_bytes / 1e9:.1f} GB; found "
                f"{have / 1e9:.1f} GB on {self.num_gpus} x {self.gpu.name}; use more GPUs or a lower precision"
            )
        return int(left / self.kv_bytes_per_token)


@dataclass(frozen=True, eq=False, slots=True)
class Geometry:
    """What the law needs of n cases, whatever its parameters: columns of shape (n,), totals over a replica's GPUs."""

    gpus: NDArray[np.float64]
    stages: NDArray[np.float64]
    bandwidth_bytes_per_s: NDArray[np.float64]  # of one stage
    flop_per_s: NDArray[np.float64]  # of one stage, at the precision
    bf16_flop_per_s: NDArray[np.float64]
    link_bytes_per_s: NDArray[np.float64]
    tdp_w: NDArray[np.float64]  # of one GPU, as idle_w
    idle_w: NDArray[np.float64]
    layers: NDArray[np.float64]
    moe_layers: NDArray[np.float64]
    dense_bytes: NDArray[np.float64]
    expert_bytes: NDArray[np.float64]
    expert_flop: NDArray[np.float64]  # for one token through every expert
    experts: NDArray[np.float64]
    experts_per_token: NDArray[np.float64]
    flop_per_prefill_token: NDArray[np.float64]
    flop_per_decode_token: NDArray[np.float64]
    expert_flop_per_token: NDArray[np.float64]
    flop_per_context: NDArray[np.float64]
    kv_bytes_per_token: NDArray[np.float64]
    state_bytes: NDArray[np.float64]
    logit_bytes: NDArray[np.float64]
    reduced_bytes: NDArray[np.float64]  # a GPU sends for one token
    parallel: NDArray[np.float64]  # 1 where there are all-reduces
    eight_bit: NDArray[np.float64]  # 1 where products run at a rate above that of 16 bit
    blocks: NDArray[np.float64]  # 1 where experts are padded to blocks
    spread: NDArray[np.float64]  # z / sqrt(experts a GPU)
    compute: NDArray[np.float64]  # factors of the clock
    bandwidth: NDArray[np.float64]
    static: NDArray[np.float64]
    byte: NDArray[np.float64]
    flop: NDArray[np.float64]


def _expected_maximum(n: int) -> float:
    return float(np.interp(n, list(EXPECTED_MAXIMUM), list(EXPECTED_MAXIMUM.values())))


def _facts(case: Case, clock_prior: ClockPrior | None) -> tuple[float, ...]:
    gpu, model, tp, stages = case.gpu, case.model, case.tensor_parallel, case.pipeline_parallel
    scale = clock_scale(case.clock_ratio, clock_prior or ClockPrior())
    width = PRECISION_BYTES[case.precision]
    head = model.vocab * model.hidden
    expert_params = model.moe_layers * model.experts * model.expert_params
    peak, bf16 = gpu.peak_flop_per_s(case.precision), gpu.peak_flop_per_s("bf16")
    grouped = case.expert_gpus if model.is_moe else 1
    return (
        tp * stages,
        stages,
        tp * gpu.bandwidth_bytes_per_s,
        tp * peak,
        tp * bf16,
        gpu.link_bytes_per_s,
        gpu.tdp_w,
        gpu.idle_loaded_w if case.idle_w is None else case.idle_w,
        model.layers,
        model.moe_layers,
        (model.dense_params - head) * width + head * 2.0,
        expert_params * width,
        2.0 * expert_params,
        model.experts,
        model.experts_per_token,
        2.0 * (model.dense_params - head),  # only the last prompt token meets the head
        2.0 * model.dense_params,
        2.0 * (model.active_params - model.dense_params),
        model.attention_flop_per_token_context,
        case.kv_bytes_per_token,
        model.state_elements * STATE_BYTES,
        model.vocab * LOGIT_BYTES,
        model.layers * 2 * model.hidden * ACTIVATION_BYTES * 2 * (tp - 1) / tp,
        float(tp > 1),
        float(peak > bf16),
        float(model.scale_block > 0 and peak > bf16),
        _expected_maximum(grouped) / np.sqrt(max(1.0, model.experts / grouped)) if grouped > 1 else 0.0,
        scale.compute,
        scale.bandwidth,
        scale.static,
        scale.byte,
        scale.flop,
    )


def geometry(cases: Sequence[Case], clock_prior: ClockPrior | None = None) -> Geometry:
    """Return the columns of `cases`, shape (n,) each."""
    rows = np.array([_facts(case, clock_prior) for case in cases], dtype=np.float64)
    return Geometry(*np.ascontiguousarray(rows.T))


def taken(g: Geometry, rows: NDArray[np.intp]) -> Geometry:
    """Return the geometry of some of its cases, in the order of `rows`."""
    return Geometry(**{f.name: getattr(g, f.name)[rows] for f in fields(Geometry)})


def _fill_watts(law: NDArray[np.float64], p: Mapping[str, NDArray[np.float64] | float], g: Geometry) -> None:
    """Write watts and joules; a busy card never draws less than a waiting one."""

    def watts(name: str) -> NDArray[np.float64]:
        return g.gpus * (g.idle_w + np.maximum(p[name] * g.tdp_w - g.idle_w, 0.0) * g.static)

    byte_j, flop_j = p["byte_j"] * g.byte, p["flop_j"] * g.flop * np.where(g.eight_bit > 0, p["flop_fp8"], 1.0)
    law[:, it.STATIC_W] = watts("busy_share")
    law[:, it.HOST_LESS_W] = law[:, it.STATIC_W] - np.minimum(watts("host_share"), law[:, it.STATIC_W])
    law[:, it.LAYER_LESS_W] = law[:, it.STATIC_W] - np.minimum(watts("layer_share"), law[:, it.STATIC_W])
    law[:, it.LIMIT_W], law[:, it.IDLE_W] = g.gpus * g.tdp_w, g.gpus * g.idle_w
    law[:, it.BYTE_J], law[:, it.FLOP_J] = byte_j, flop_j
    padding = g.expert_flop * np.where(g.blocks > 0, p["pad_block_tokens"], p["pad_tokens"])
    expert_flop_j = flop_j * p["flop_experts"]
    law[:, it.EXPERT_J] = g.stages * (byte_j * g.expert_bytes + expert_flop_j * padding)
    law[:, it.EXPERT_TOKEN_J] = expert_flop_j * g.expert_flop_per_token
    law[:, it.SEQ_J] = byte_j * (g.state_bytes + g.logit_bytes * p["sampling_passes"])


def _fill_seconds(law: NDArray[np.float64], p: Mapping[str, NDArray[np.float64] | float], g: Geometry) -> None:
    """Write times; every stage streams its weights once a round, and works on its share of the batch."""
    bandwidth = g.bandwidth_bytes_per_s * g.bandwidth
    flop_per_s = g.flop_per_s * g.compute
    eta_flop = np.where(g.eight_bit > 0, p["eta_flop_fp8"], p["eta_flop"])
    expert_flop_per_s = flop_per_s * p["eta_expert_flop"] * eta_flop / p["eta_flop"]
    law[:, it.HOST_S] = p["host_s"] * g.stages
    law[:, it.HOST_PER_SEQ_S] = p["host_per_seq_s"]
    law[:, it.LAYER_S] = p["launch_per_layer_s"] * g.layers + p["route_per_layer_s"] * g.moe_layers
    law[:, it.COMM_S] = p["comm_per_layer_s"] * g.layers * g.parallel
    law[:, it.WEIGHT_BYTES_PER_S] = p["eta_weights"] * bandwidth * g.stages
    law[:, it.KV_BYTES_PER_S] = p["eta_kv"] * bandwidth * g.stages
    law[:, it.FLOP_PER_S] = eta_flop * flop_per_s * g.stages
    law[:, it.ATTENTION_FLOP_PER_S] = p["eta_attention"] * g.bf16_flop_per_s * g.compute * g.stages
    padding = g.expert_flop * np.where(g.blocks > 0, p["pad_block_tokens"], p["pad_tokens"])
    law[:, it.EXPERT_S] = g.expert_bytes / (bandwidth * p["eta_experts"]) + padding / expert_flop_per_s
    law[:, it.EXPERT_TOKEN_S] = g.expert_flop_per_token / (expert_flop_per_s * g.stages)
    late = law[:, it.EXPERT_TOKEN_S] * p["skew"] * g.spread
    law[:, it.COMM_PER_TOKEN_S] = g.reduced_bytes / (g.link_bytes_per_s * p["link_share"]) / g.stages + late
    fullest = np.minimum(0.5 + 0.5 * p["imbalance"] * g.spread, FULLEST)
    law[:, it.EXPERT_SPREAD] = np.log(1.0 - fullest) / np.log(0.5)
    law[:, it.SEQ_S] = g.state_bytes / (bandwidth * p["eta_state"] * g.stages)
    law[:, it.SEQ_S] += g.logit_bytes * p["sampling_passes"] / (bandwidth * SAMPLING_SHARE)


def law_rows(parameters: Mapping[str, NDArray[np.float64] | float], g: Geometry) -> NDArray[np.float64]:
    """Return the coefficients of `wattlane.model.iteration` for n cases, shape (n, N).

    Args:
        parameters: a number, or one for each case, under every name of `PARAMETERS`.
        g: the n cases.
    """
    law = np.zeros((len(g.gpus), it.N))
    law[:, it.WEIGHT_BYTES], law[:, it.EXPERT_BYTES] = g.dense_bytes * g.stages, g.expert_bytes * g.stages
    law[:, it.EXPERTS], law[:, it.EXPERTS_PER_TOKEN] = g.experts, g.experts_per_token / g.stages
    law[:, it.FLOP_PER_PREFILL_TOKEN] = g.flop_per_prefill_token
    law[:, it.FLOP_PER_DECODE_TOKEN] = g.flop_per_decode_token
    law[:, it.FLOP_PER_CONTEXT] = g.flop_per_context
    law[:, it.KV_BYTES_PER_TOKEN] = g.kv_bytes_per_token
    _fill_seconds(law, parameters, g)
    _fill_watts(law, parameters, g)
    return law


def law_vector(
    parameters: Mapping[str, float], case: Case, clock_prior: ClockPrior | None = None
) -> NDArray[np.float64]:
    """Return the coefficients of `wattlane.model.iteration` for one replica of `case`, shape (N,)."""
    return law_rows(parameters, geometry((case,), clock_prior))[0]
