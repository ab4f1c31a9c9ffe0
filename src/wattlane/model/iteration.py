"""What one engine iteration costs, and whose it is.

An iteration processes X = (prefill tokens P, their token·context products PC, decode sequences D, their KV tokens K).
With T = P + D, u(T) = 1 − (1 − k/E)^T the share of the experts touched on the mean GPU, v(T) = u(g·T) that on the GPU
that touches most (g = `EXPERT_SPREAD`; experts on several GPUs wait for the slowest):

    host(X)  = host + host_seq·D                                         the engine between kernels
    layer(X) = launches + comm + comm_tok·T + expert_s·(v − u)           small kernels, all-reduces, waiting
    busy(X)  = max(weight bytes / bandwidth, F(X) / rate)                matrix products, a roofline with one kink
             + expert_s·u + expert_tok·T                                 experts: weights and padding, then arithmetic
             + KV bytes·K / kv bandwidth + seq_s·D + attention FLOPs·PC / attention rate
    t(X)     = host + layer + busy
    E(X)     = static·t − host_less·host − layer_less·layer + e_byte·bytes + e_flop·FLOPs + …

Power comes from what the GPU is busy with, less while it waits for the host or for small kernels. Where E / t is above
the limit by a factor f the GPU lowers its clock until it is not: with power ∝ clock² in the upper range of clocks (the
middle of `wattlane.model.clock`) and time ∝ 1 / clock, the iteration takes √f longer, at the limit.

The energy is shared as C(X) = C0 + C1(X): C0 = C(0), what an iteration costs before it does anything for anyone
(weight streaming, host), equally over the active requests; C1 by the Aumann-Shapley price ∫₀¹ ∂C1/∂X_j(sX) ds, split
at the kink of the roofline, so that C0 + Σ price_j·X_j = C(X). (Aumann & Shapley 1974, Values of Non-Atomic Games;
Billera & Heath 1982 for the cost-sharing form.) Every term integrates in closed form: the prices close to rounding. At
the power limit the prices of the free iteration are lowered in one proportion.

A law is a flat vector of the `N` numbers named below, per replica (all its GPUs together). Zero switches a term off,
except for the four rates that divide.
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel

HOST_S, HOST_PER_SEQ_S, COMM_S, COMM_PER_TOKEN_S = 0, 1, 2, 3
WEIGHT_BYTES, EXPERT_BYTES, EXPERTS, EXPERTS_PER_TOKEN = 4, 5, 6, 7
FLOP_PER_PREFILL_TOKEN, FLOP_PER_DECODE_TOKEN, FLOP_PER_CONTEXT, KV_BYTES_PER_TOKEN = 8, 9, 10, 11
WEIGHT_BYTES_PER_S, KV_BYTES_PER_S, FLOP_PER_S, ATTENTION_FLOP_PER_S = 12, 13, 14, 15
STATIC_W, BYTE_J, FLOP_J, LIMIT_W, IDLE_W = 16, 17, 18, 19, 20
# Watts below `STATIC_W` while the host works, and during launches, all-reduces and waiting.
LAYER_S, HOST_LESS_W, LAYER_LESS_W = 21, 22, 23
# Experts: busy seconds and joules if all were touched; per token; how much faster the fullest GPU fills.
EXPERT_S, EXPERT_J, EXPERT_TOKEN_S, EXPERT_TOKEN_J, EXPERT_SPREAD = 24, 25, 26, 27, 28
# Per decoding sequence on the GPU: recurrent state and sampling.
SEQ_S, SEQ_J = 29, 30
N = 31

ROUNDING = 1e-12
ALL_TOUCHED_LOG = -50.0  # stands for log(0) where a token passes through every expert


@kernel
def _decay(law: np.ndarray) -> float:
    """Return log(1 − k/E), per token."""
    if law[EXPERTS] > law[EXPERTS_PER_TOKEN]:
        return np.log(1.0 - law[EXPERTS_PER_TOKEN] / law[EXPERTS])
    return ALL_TOUCHED_LOG


@kernel
def touched_bytes(law: np.ndarray, tokens: float) -> float:
    """Return the weight bytes an iteration over `tokens` tokens streams: all dense ones, and the experts it hits."""
    if law[EXPERTS] == 0.0:
        return law[WEIGHT_BYTES]
    return law[WEIGHT_BYTES] + law[EXPERT_BYTES] * (1.0 - np.exp(_decay(law) * tokens))


@kernel
def _touched(law: np.ndarray, tokens: float) -> tuple[float, float]:
    """Return the shares of the experts that `tokens` tokens touch, on the mean GPU and on the fullest."""
    decay = _decay(law) * tokens
    return 1.0 - np.exp(decay), 1.0 - np.exp(max(1.0, law[EXPERT_SPREAD]) * decay)


@kernel
def _touched_j(law: np.ndarray, tokens: float) -> float:
    """Return the joules of the experts that `tokens` tokens touch, waiting for the fullest GPU included."""
    u, v = _touched(law, tokens)
    waiting_j = (law[STATIC_W] - law[LAYER_LESS_W]) * law[EXPERT_S] * (v - u)
    return (law[EXPERT_J] + law[STATIC_W] * law[EXPERT_S]) * u + waiting_j


@kernel
def _throttled(t: float, e: float, limit_w: float) -> tuple[float, float]:
    """Return (seconds, joules) of work that takes t seconds and e joules on a GPU without a power limit."""
    if e <= limit_w * t:
        return t, e
    longer = np.sqrt(e * t / limit_w)
    return longer, limit_w * longer


@kernel
def cost(law: np.ndarray, p: float, pc: float, d: float, k: float) -> tuple[float, float]:
    """Return (seconds, joules) of one iteration over X = (p, pc, d, k)."""
    tokens = p + d
    gemm_flop = p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]
    kv_bytes = k * law[KV_BYTES_PER_TOKEN]
    host = law[HOST_S] + law[HOST_PER_SEQ_S] * d
    layer = law[LAYER_S] + law[COMM_S] + law[COMM_PER_TOKEN_S] * tokens
    busy = max(law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S], gemm_flop / law[FLOP_PER_S]) + law[SEQ_S] * d
    busy += kv_bytes / law[KV_BYTES_PER_S] + pc * law[FLOP_PER_CONTEXT] / law[ATTENTION_FLOP_PER_S]
    e = law[BYTE_J] * (law[WEIGHT_BYTES] + kv_bytes) + law[SEQ_J] * d
    e += law[FLOP_J] * (gemm_flop + (pc + k) * law[FLOP_PER_CONTEXT])
    if law[EXPERTS] != 0.0:
        u, v = _touched(law, tokens)
        busy += law[EXPERT_S] * u + law[EXPERT_TOKEN_S] * tokens
        layer += law[EXPERT_S] * (v - u)
        e += law[EXPERT_J] * u + law[EXPERT_TOKEN_J] * tokens
    t = host + layer + busy
    e += law[STATIC_W] * t - law[HOST_LESS_W] * host - law[LAYER_LESS_W] * layer
    return _throttled(t, e, law[LIMIT_W])


# Constants of an iteration that only decodes and is bound by memory, below the power limit: the common case.
EMPTY_J, EMPTY_S, PER_SEQ_S, PER_KV_S, PER_SEQ_J, PER_KV_J, IS_LINEAR = 0, 1, 2, 3, 4, 5, 6


@kernel
def decode_constants(law: np.ndarray) -> np.ndarray:
    """Return C0 and the coefficients of a decode iteration where it is linear; `IS_LINEAR` says whether it ever is."""
    out = np.zeros(7)
    out[EMPTY_S], out[EMPTY_J] = cost(law, 0.0, 0.0, 0.0, 0.0)
    busy_s = law[SEQ_S]
    out[PER_SEQ_J] = law[FLOP_J] * law[FLOP_PER_DECODE_TOKEN] + law[SEQ_J]
    if law[EXPERTS] != 0.0:
        busy_s += law[EXPERT_TOKEN_S]
        out[PER_SEQ_J] += law[EXPERT_TOKEN_J]
    out[PER_SEQ_S] = busy_s + law[COMM_PER_TOKEN_S] + law[HOST_PER_SEQ_S]
    out[PER_SEQ_J] += law[STATIC_W] * out[PER_SEQ_S]
    out[PER_SEQ_J] -= law[HOST_LESS_W] * law[HOST_PER_SEQ_S] + law[LAYER_LESS_W] * law[COMM_PER_TOKEN_S]
    out[PER_KV_S] = law[KV_BYTES_PER_TOKEN] / law[KV_BYTES_PER_S]
    out[PER_KV_J] = law[STATIC_W] * out[PER_KV_S] + law[BYTE_J] * law[KV_BYTES_PER_TOKEN]
    out[PER_KV_J] += law[FLOP_J] * law[FLOP_PER_CONTEXT]
    out[IS_LINEAR] = 1.0 if out[EMPTY_J] < law[LIMIT_W] * out[EMPTY_S] else 0.0
    return out


@kernel
def decode_line(law: np.ndarray, constants: np.ndarray, d: float) -> tuple[float, float, float, bool]:
    """Return (seconds, joules, price per sequence) of d sequences without KV tokens, and whether they hold.

    They hold while the iteration streams its weights and stays below the power limit, which is for the caller to see:
    with k KV tokens it takes k·`PER_KV_S` longer and k·`PER_KV_J` more, the price of a KV token.
    """
    t = constants[EMPTY_S] + d * constants[PER_SEQ_S]
    e = constants[EMPTY_J] + d * constants[PER_SEQ_J]
    price = constants[PER_SEQ_J]
    if law[EXPERTS] != 0.0 and d > 0.0:
        more_j = _touched_j(law, d)
        t += law[EXPERT_S] * _touched(law, d)[1]
        e += more_j
        price += more_j / d
    streams = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S] >= d * law[FLOP_PER_DECODE_TOKEN] / law[FLOP_PER_S]
    return t, e, price, streams and constants[IS_LINEAR] == 1.0


@kernel
def shares(
    law: np.ndarray, constants: np.ndarray, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return (seconds, joules, C0, price per prefill token, per token·context, per decode sequence, per KV token).

    `constants` is `decode_constants(law)`. C0 + p·price_p + pc·price_pc + d·price_d + k·price_k equals the joules to
    rounding.
    """
    c0 = constants[EMPTY_J]
    if p == 0.0 and pc == 0.0:
        t, e, price_d, holds = decode_line(law, constants, d)
        t += k * constants[PER_KV_S]
        e += k * constants[PER_KV_J]
        if holds and e < law[LIMIT_W] * t:
            return t, e, c0, 0.0, 0.0, price_d, constants[PER_KV_J]
    return priced(law, c0, p, pc, d, k)


@kernel
def priced(
    law: np.ndarray, c0: float, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return what `shares` returns, for any iteration; `c0` is the cost of an empty one."""
    t, e = cost(law, p, pc, d, k)
    tokens = p + d
    t_weights = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S]
    t_flop = (p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]) / law[FLOP_PER_S]
    compute = 1.0 - t_weights / t_flop if t_flop > t_weights else 0.0  # share of the ray beyond the kink
    token_j = (law[STATIC_W] - law[LAYER_LESS_W]) * law[COMM_PER_TOKEN_S]
    if law[EXPERTS] != 0.0:
        token_j += law[STATIC_W] * law[EXPERT_TOKEN_S] + law[EXPERT_TOKEN_J]
        if tokens > 0.0:
            token_j += _touched_j(law, tokens) / tokens
    flop_j = law[STATIC_W] * compute / law[FLOP_PER_S] + law[FLOP_J]
    price_p = token_j + flop_j * law[FLOP_PER_PREFILL_TOKEN]
    price_d = token_j + flop_j * law[FLOP_PER_DECODE_TOKEN] + law[STATIC_W] * law[SEQ_S] + law[SEQ_J]
    price_d += (law[STATIC_W] - law[HOST_LESS_W]) * law[HOST_PER_SEQ_S]
    price_pc = (law[STATIC_W] / law[ATTENTION_FLOP_PER_S] + law[FLOP_J]) * law[FLOP_PER_CONTEXT]
    price_k = (law[STATIC_W] / law[KV_BYTES_PER_S] + law[BYTE_J]) * law[KV_BYTES_PER_TOKEN]
    price_k += law[FLOP_J] * law[FLOP_PER_CONTEXT]
    empty_s = law[HOST_S] + law[LAYER_S] + law[COMM_S] + t_weights
    empty_j = law[BYTE_J] * law[WEIGHT_BYTES] + law[STATIC_W] * empty_s - law[HOST_LESS_W] * law[HOST_S]
    empty_j -= law[LAYER_LESS_W] * (law[LAYER_S] + law[COMM_S])
    # an empty iteration may be at the limit where a full one is not
    if e >= law[LIMIT_W] * t * (1.0 - ROUNDING) or c0 < empty_j * (1.0 - ROUNDING):
        free_j = p * price_p + pc * price_pc + d * price_d + k * price_k
        paid = (e - c0) / free_j if free_j > 0.0 else 0.0
        return t, e, c0, paid * price_p, paid * price_pc, paid * price_d, paid * price_k
    return t, e, c0, price_p, price_pc, price_d, price_k
