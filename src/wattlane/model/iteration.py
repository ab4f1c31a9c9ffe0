"""What one engine iteration costs, and whose it is.

An iteration processes X = (prefill tokens P, their token·context products PC, decode sequences D, their KV tokens K):

    t(X) = host + host_seq·D + comm + comm_tok·(P+D)
         + max(weight bytes / bandwidth, F(X) / rate)            matrix products, a roofline with one kink
         + KV bytes·K / kv bandwidth + attention FLOPs·PC / attention rate
    E(X) = min(static·t + e_byte·bytes + e_flop·FLOPs, limit·t)   power from traffic and FLOP rate, clipped at the limit

The energy is shared as C(X) = C0 + C1(X): C0 = C(0), what an iteration costs before it does anything for anyone
(weight streaming, host), equally over the active requests; C1 by the Aumann-Shapley price ∫₀¹ ∂C1/∂X_j(sX) ds, split
at the kink of the roofline and at the power clip, so that C0 + Σ price_j·X_j = C(X). (Aumann & Shapley 1974, Values of
Non-Atomic Games; Billera & Heath 1982 for the cost-sharing form.)

With mixture-of-experts weights the bytes touched grow with the tokens, experts·(1 − (1 − k/E)^tokens): the kink is then
found by bisection, and so is the clip, on each side of the point where the watts above the limit turn. Between bends
every term integrates in closed form, so the prices close to rounding.

A law is a flat vector of the `N` numbers named below, per replica (all its GPUs together).
"""

from __future__ import annotations

import numpy as np

from wattlane.model.jit import kernel

HOST_S, HOST_PER_SEQ_S, COMM_S, COMM_PER_TOKEN_S = 0, 1, 2, 3
WEIGHT_BYTES, EXPERT_BYTES, EXPERTS, EXPERTS_PER_TOKEN = 4, 5, 6, 7
FLOP_PER_PREFILL_TOKEN, FLOP_PER_DECODE_TOKEN, FLOP_PER_CONTEXT, KV_BYTES_PER_TOKEN = 8, 9, 10, 11
WEIGHT_BYTES_PER_S, KV_BYTES_PER_S, FLOP_PER_S, ATTENTION_FLOP_PER_S = 12, 13, 14, 15
STATIC_W, BYTE_J, FLOP_J, LIMIT_W, IDLE_W = 16, 17, 18, 19, 20
N = 21

ALL_TOUCHED_LOG = -50.0  # stands for log(0) where a token passes through every expert
HALVINGS = 52


@kernel
def touched_bytes(law: np.ndarray, tokens: float) -> float:
    """Return the weight bytes an iteration over `tokens` tokens streams: all dense ones, and the experts it hits."""
    if law[EXPERTS] == 0.0:
        return law[WEIGHT_BYTES]
    miss = 1.0 - law[EXPERTS_PER_TOKEN] / law[EXPERTS]
    return law[WEIGHT_BYTES] + law[EXPERT_BYTES] * (1.0 - miss**tokens)


@kernel
def cost(law: np.ndarray, p: float, pc: float, d: float, k: float) -> tuple[float, float]:
    """Return (seconds, joules) of one iteration over X = (p, pc, d, k)."""
    tokens = p + d
    gemm_flop = p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]
    weights = touched_bytes(law, tokens)
    kv_bytes = k * law[KV_BYTES_PER_TOKEN]
    t = law[HOST_S] + law[HOST_PER_SEQ_S] * d + law[COMM_S] + law[COMM_PER_TOKEN_S] * tokens
    t += max(weights / law[WEIGHT_BYTES_PER_S], gemm_flop / law[FLOP_PER_S])
    t += kv_bytes / law[KV_BYTES_PER_S] + pc * law[FLOP_PER_CONTEXT] / law[ATTENTION_FLOP_PER_S]
    flop = gemm_flop + (pc + k) * law[FLOP_PER_CONTEXT]
    e = law[STATIC_W] * t + law[BYTE_J] * (weights + kv_bytes) + law[FLOP_J] * flop
    return t, min(e, law[LIMIT_W] * t)


@kernel
def _clipped_share(g0: float, g1: float) -> float:
    """Return the share of a segment on which a linear function from g0 to g1 is above zero."""
    if g0 > 0.0 and g1 > 0.0:
        return 1.0
    if g0 <= 0.0 and g1 <= 0.0:
        return 0.0
    if g1 > 0.0:
        return g1 / (g1 - g0)
    return g0 / (g0 - g1)


@kernel
def _dense_measures(
    law: np.ndarray, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float]:
    """Return the lengths of s in [0, 1] that are (memory, memory clipped, compute, compute clipped) along sX, and 0."""
    gemm_flop = p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]
    t_weights = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S]
    t_flop = gemm_flop / law[FLOP_PER_S]
    kink = 1.0 if t_flop <= t_weights else t_weights / t_flop
    t_rest0 = law[HOST_S] + law[COMM_S]
    t_rest1 = law[HOST_PER_SEQ_S] * d + law[COMM_PER_TOKEN_S] * (p + d)
    t_rest1 += k * law[KV_BYTES_PER_TOKEN] / law[KV_BYTES_PER_S]
    t_rest1 += pc * law[FLOP_PER_CONTEXT] / law[ATTENTION_FLOP_PER_S]
    dynamic0 = law[BYTE_J] * law[WEIGHT_BYTES]
    dynamic1 = law[BYTE_J] * k * law[KV_BYTES_PER_TOKEN]
    dynamic1 += law[FLOP_J] * (gemm_flop + (pc + k) * law[FLOP_PER_CONTEXT])
    head = law[STATIC_W] - law[LIMIT_W]
    at0 = head * (t_rest0 + t_weights) + dynamic0
    at_kink = head * (t_rest0 + kink * t_rest1 + t_weights) + dynamic0 + kink * dynamic1
    at1 = head * (t_rest0 + t_rest1 + max(t_weights, t_flop)) + dynamic0 + dynamic1
    clipped_memory = kink * _clipped_share(at0, at_kink)
    clipped_compute = (1.0 - kink) * _clipped_share(at_kink, at1)
    return kink - clipped_memory, clipped_memory, 1.0 - kink - clipped_compute, clipped_compute, 0.0


@kernel
def _above_limit(line0: float, line1: float, curve: float, decay: float, s: float) -> float:
    """Return the joules above the power limit at s: a line, and a curve that levels off."""
    return line0 + line1 * s + curve * (1.0 - np.exp(decay * s))


@kernel
def _turn(line1: float, curve: float, decay: float, a: float, b: float) -> float:
    """Return where in [a, b] the joules above the limit stop rising or falling; b if nowhere."""
    if curve * decay == 0.0:
        return b
    level = line1 / (curve * decay)
    if level <= 0.0:
        return b
    return min(max(np.log(level) / decay, a), b)


@kernel
def _crossing(line0: float, line1: float, curve: float, decay: float, a: float, b: float) -> float:
    """Return where in [a, b] a function of opposite signs at both ends is zero."""
    above = _above_limit(line0, line1, curve, decay, a) > 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (a + b)
        if (_above_limit(line0, line1, curve, decay, middle) > 0.0) == above:
            a = middle
        else:
            b = middle
    return 0.5 * (a + b)


@kernel
def _clipped(line0: float, line1: float, curve: float, decay: float, a: float, b: float) -> tuple[float, float]:
    """Return of [a, b] the length that is above the limit, and the share of all experts first touched in it."""
    turn = _turn(line1, curve, decay, a, b)
    length = touched = 0.0
    for part in range(2):
        u, v = (a, turn) if part == 0 else (turn, b)
        at_u = _above_limit(line0, line1, curve, decay, u) > 0.0
        at_v = _above_limit(line0, line1, curve, decay, v) > 0.0
        if at_u != at_v:
            root = _crossing(line0, line1, curve, decay, u, v)
            u, v = (u, root) if at_u else (root, v)
        if at_u or at_v:
            length += v - u
            touched += np.exp(decay * u) - np.exp(decay * v)
    return length, touched


@kernel
def _expert_measures(
    law: np.ndarray, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float]:
    """Return what `_dense_measures` does, and the joules a token pays for the experts it makes the iteration touch."""
    tokens = p + d
    some = law[EXPERTS] > law[EXPERTS_PER_TOKEN]
    decay = tokens * (np.log(1.0 - law[EXPERTS_PER_TOKEN] / law[EXPERTS]) if some else ALL_TOUCHED_LOG)
    gemm_flop = p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]
    t_weights, t_experts = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S], law[EXPERT_BYTES] / law[WEIGHT_BYTES_PER_S]
    t_flop = gemm_flop / law[FLOP_PER_S]
    kink = 1.0
    if _above_limit(t_weights, -t_flop, t_experts, decay, 1.0) < 0.0:
        kink = _crossing(t_weights, -t_flop, t_experts, decay, 0.0, 1.0)
    t_rest = law[HOST_PER_SEQ_S] * d + law[COMM_PER_TOKEN_S] * tokens
    t_rest += k * law[KV_BYTES_PER_TOKEN] / law[KV_BYTES_PER_S]
    t_rest += pc * law[FLOP_PER_CONTEXT] / law[ATTENTION_FLOP_PER_S]
    dynamic = law[BYTE_J] * k * law[KV_BYTES_PER_TOKEN]
    dynamic += law[FLOP_J] * (gemm_flop + (pc + k) * law[FLOP_PER_CONTEXT])
    head, expert_j = law[STATIC_W] - law[LIMIT_W], law[BYTE_J] * law[EXPERT_BYTES]
    start = head * (law[HOST_S] + law[COMM_S]) + law[BYTE_J] * law[WEIGHT_BYTES]
    clip_m, touched_m = _clipped(
        start + head * t_weights, head * t_rest + dynamic, head * t_experts + expert_j, decay, 0.0, kink
    )
    clip_c, touched_c = _clipped(start, head * (t_rest + t_flop) + dynamic, expert_j, decay, kink, 1.0)
    free_m = 1.0 - np.exp(decay * kink) - touched_m
    free_c = np.exp(decay * kink) - np.exp(decay) - touched_c
    token_j = t_experts * (law[STATIC_W] * free_m + law[LIMIT_W] * touched_m) + expert_j * (free_m + free_c)
    return kink - clip_m, clip_m, 1.0 - kink - clip_c, clip_c, token_j / tokens if tokens > 0.0 else 0.0


# Constants of an iteration that only decodes and is bound by memory, below the power limit: the common case.
EMPTY_J, EMPTY_S, PER_SEQ_S, PER_KV_S, PER_SEQ_J, PER_KV_J, IS_LINEAR = 0, 1, 2, 3, 4, 5, 6


@kernel
def decode_constants(law: np.ndarray) -> np.ndarray:
    """Return C0 and the coefficients of a decode iteration where it is linear; `IS_LINEAR` says whether it ever is."""
    out = np.zeros(7)
    out[EMPTY_S], out[EMPTY_J] = cost(law, 0.0, 0.0, 0.0, 0.0)
    out[PER_SEQ_S] = law[COMM_PER_TOKEN_S] + law[HOST_PER_SEQ_S]
    out[PER_KV_S] = law[KV_BYTES_PER_TOKEN] / law[KV_BYTES_PER_S]
    out[PER_SEQ_J] = law[STATIC_W] * out[PER_SEQ_S] + law[FLOP_J] * law[FLOP_PER_DECODE_TOKEN]
    out[PER_KV_J] = law[STATIC_W] * out[PER_KV_S] + law[BYTE_J] * law[KV_BYTES_PER_TOKEN]
    out[PER_KV_J] += law[FLOP_J] * law[FLOP_PER_CONTEXT]
    # experts touched grow concavely with the tokens: watts above the limit are convex along the ray only if this holds
    convex = (law[STATIC_W] - law[LIMIT_W]) / law[WEIGHT_BYTES_PER_S] + law[BYTE_J] <= 0.0
    if out[EMPTY_J] < law[LIMIT_W] * out[EMPTY_S] and (law[EXPERTS] == 0.0 or convex):
        out[IS_LINEAR] = 1.0
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
    weights = law[WEIGHT_BYTES]
    if law[EXPERTS] != 0.0 and d > 0.0:
        weights = touched_bytes(law, d)
        more = weights - touched_bytes(law, 0.0)
        more_j = more * (law[STATIC_W] / law[WEIGHT_BYTES_PER_S] + law[BYTE_J])
        t += more / law[WEIGHT_BYTES_PER_S]
        e += more_j
        price += more_j / d
    streams = weights / law[WEIGHT_BYTES_PER_S] >= d * law[FLOP_PER_DECODE_TOKEN] / law[FLOP_PER_S]
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
        # below the limit at both ends of the ray and convex between them: nowhere clipped
        if holds and e < law[LIMIT_W] * t:
            return t, e, c0, 0.0, 0.0, price_d, constants[PER_KV_J]
    return priced(law, c0, p, pc, d, k)


@kernel
def priced(
    law: np.ndarray, c0: float, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return what `shares` returns, for any iteration; `c0` is the cost of an empty one."""
    t, e = cost(law, p, pc, d, k)
    if law[EXPERTS] == 0.0:
        memory, memory_clipped, compute, compute_clipped, token_j = _dense_measures(law, p, pc, d, k)
    else:
        memory, memory_clipped, compute, compute_clipped, token_j = _expert_measures(law, p, pc, d, k)
    free = memory + compute
    time_w = law[STATIC_W] * free + law[LIMIT_W] * (memory_clipped + compute_clipped)
    gemm_w = (law[STATIC_W] * compute + law[LIMIT_W] * compute_clipped) / law[FLOP_PER_S]
    flop_j = law[FLOP_J] * free
    price_p = token_j + time_w * law[COMM_PER_TOKEN_S] + (gemm_w + flop_j) * law[FLOP_PER_PREFILL_TOKEN]
    price_d = token_j + time_w * (law[COMM_PER_TOKEN_S] + law[HOST_PER_SEQ_S])
    price_d += (gemm_w + flop_j) * law[FLOP_PER_DECODE_TOKEN]
    price_pc = (time_w / law[ATTENTION_FLOP_PER_S] + flop_j) * law[FLOP_PER_CONTEXT]
    price_k = (time_w / law[KV_BYTES_PER_S] + law[BYTE_J] * free) * law[KV_BYTES_PER_TOKEN]
    price_k += flop_j * law[FLOP_PER_CONTEXT]
    return t, e, c0, price_p, price_pc, price_d, price_k
