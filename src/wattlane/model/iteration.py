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
    E(X)     = min(static·t − host_less·host − layer_less·layer + e_byte·bytes + e_flop·FLOPs + …, limit·t)

Power comes from what the GPU is busy with, less while it waits for the host or for small kernels, and is clipped at the
limit.

The energy is shared as C(X) = C0 + C1(X): C0 = C(0), what an iteration costs before it does anything for anyone
(weight streaming, host), equally over the active requests; C1 by the Aumann-Shapley price ∫₀¹ ∂C1/∂X_j(sX) ds, split
at the kink of the roofline and at the power clip, so that C0 + Σ price_j·X_j = C(X). (Aumann & Shapley 1974, Values of
Non-Atomic Games; Billera & Heath 1982 for the cost-sharing form.)

With experts the joules above the limit are a line and two curves along the ray; they turn at most three times, between
turns a root is found by bisection. Between bends every term integrates in closed form, so the prices close to rounding.

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

ALL_TOUCHED_LOG = -50.0  # stands for log(0) where a token passes through every expert
HALVINGS = 52


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
        decay = _decay(law) * tokens
        u, v = 1.0 - np.exp(decay), 1.0 - np.exp(max(1.0, law[EXPERT_SPREAD]) * decay)
        busy += law[EXPERT_S] * u + law[EXPERT_TOKEN_S] * tokens
        layer += law[EXPERT_S] * (v - u)
        e += law[EXPERT_J] * u + law[EXPERT_TOKEN_J] * tokens
    t = host + layer + busy
    e += law[STATIC_W] * t - law[HOST_LESS_W] * host - law[LAYER_LESS_W] * layer
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
def _lines(law: np.ndarray, p: float, pc: float, d: float, k: float) -> tuple[float, float, float, float, float]:
    """Return (kink, seconds of the weights, of the products; joules above the limit at 0, per unit of the ray).

    The joules are those outside the matrix products and the experts.
    """
    gemm_flop = p * law[FLOP_PER_PREFILL_TOKEN] + d * law[FLOP_PER_DECODE_TOKEN]
    t_weights, t_flop = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S], gemm_flop / law[FLOP_PER_S]
    kink = 1.0 if t_flop <= t_weights else t_weights / t_flop
    head = law[STATIC_W] - law[LIMIT_W]
    host, layer = head - law[HOST_LESS_W], head - law[LAYER_LESS_W]
    start = host * law[HOST_S] + layer * (law[COMM_S] + law[LAYER_S]) + law[BYTE_J] * law[WEIGHT_BYTES]
    rest = d * law[SEQ_S] + k * law[KV_BYTES_PER_TOKEN] / law[KV_BYTES_PER_S]
    rest += pc * law[FLOP_PER_CONTEXT] / law[ATTENTION_FLOP_PER_S]
    slope = head * rest + host * law[HOST_PER_SEQ_S] * d + layer * law[COMM_PER_TOKEN_S] * (p + d)
    slope += law[BYTE_J] * k * law[KV_BYTES_PER_TOKEN] + law[SEQ_J] * d
    slope += law[FLOP_J] * (gemm_flop + (pc + k) * law[FLOP_PER_CONTEXT])
    return kink, t_weights, t_flop, start, slope


@kernel
def _dense_measures(
    law: np.ndarray, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float]:
    """Return the lengths of s in [0, 1] that are (memory, memory clipped, compute, compute clipped) along sX, and 0."""
    kink, t_weights, t_flop, start, slope = _lines(law, p, pc, d, k)
    head = law[STATIC_W] - law[LIMIT_W]
    at0 = start + head * t_weights
    at_kink = at0 + kink * slope
    at1 = start + slope + head * max(t_weights, t_flop)
    clipped_memory = kink * _clipped_share(at0, at_kink)
    clipped_compute = (1.0 - kink) * _clipped_share(at_kink, at1)
    return kink - clipped_memory, clipped_memory, 1.0 - kink - clipped_compute, clipped_compute, 0.0


@kernel
def _above_limit(line0: float, line1: float, c1: float, c2: float, d1: float, d2: float, s: float) -> float:
    """Return the joules above the power limit at s: a line, and two curves that level off."""
    return line0 + line1 * s + c1 * (1.0 - np.exp(d1 * s)) + c2 * (1.0 - np.exp(d2 * s))


@kernel
def _crossing(line0: float, line1: float, c1: float, c2: float, d1: float, d2: float, a: float, b: float) -> float:
    """Return where in [a, b] a function of opposite signs at both ends is zero."""
    above = _above_limit(line0, line1, c1, c2, d1, d2, a) > 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (a + b)
        if (_above_limit(line0, line1, c1, c2, d1, d2, middle) > 0.0) == above:
            a = middle
        else:
            b = middle
    return 0.5 * (a + b)


@kernel
def _slope(line1: float, c1: float, c2: float, d1: float, d2: float, s: float) -> float:
    """Return the derivative of `_above_limit`."""
    return line1 - c1 * d1 * np.exp(d1 * s) - c2 * d2 * np.exp(d2 * s)


@kernel
def _turn(line1: float, c1: float, c2: float, d1: float, d2: float, a: float, b: float) -> float:
    """Return where in [a, b] the joules above the limit stop rising or falling, their slope being monotone; else b."""
    rises = _slope(line1, c1, c2, d1, d2, a) > 0.0
    if (_slope(line1, c1, c2, d1, d2, b) > 0.0) == rises:
        return b
    for _ in range(HALVINGS):
        middle = 0.5 * (a + b)
        if (_slope(line1, c1, c2, d1, d2, middle) > 0.0) == rises:
            a = middle
        else:
            b = middle
    return 0.5 * (a + b)


@kernel
def _inflection(c1: float, c2: float, d1: float, d2: float, a: float, b: float) -> float:
    """Return where in [a, b] the slope of `_above_limit` turns; b if nowhere."""
    level = -c2 * d2 * d2 / (c1 * d1 * d1) if c1 * d1 != 0.0 else 0.0
    if level <= 0.0 or d1 == d2:
        return b
    return min(max(np.log(level) / (d1 - d2), a), b)


@kernel
def _clipped(
    line0: float, line1: float, c1: float, c2: float, d1: float, d2: float, a: float, b: float
) -> tuple[float, float, float]:
    """Return of [a, b] the length above the limit, and the shares of all experts first touched in it (u, v)."""
    length = mean = fullest = 0.0
    middle = _inflection(c1, c2, d1, d2, a, b)
    for half in range(2):
        lo, hi = (a, middle) if half == 0 else (middle, b)
        turn = _turn(line1, c1, c2, d1, d2, lo, hi)
        for part in range(2):
            x, y = (lo, turn) if part == 0 else (turn, hi)
            at_x = _above_limit(line0, line1, c1, c2, d1, d2, x) > 0.0
            at_y = _above_limit(line0, line1, c1, c2, d1, d2, y) > 0.0
            if at_x != at_y:
                root = _crossing(line0, line1, c1, c2, d1, d2, x, y)
                x, y = (x, root) if at_x else (root, y)
            if at_x or at_y:
                length += y - x
                mean += np.exp(d1 * x) - np.exp(d1 * y)
                fullest += np.exp(d2 * x) - np.exp(d2 * y)
    return length, mean, fullest


@kernel
def _expert_measures(
    law: np.ndarray, p: float, pc: float, d: float, k: float
) -> tuple[float, float, float, float, float]:
    """Return what `_dense_measures` does, and the joules a token pays for the experts it makes the iteration touch."""
    tokens = p + d
    d1 = tokens * _decay(law)
    d2 = d1 * max(1.0, law[EXPERT_SPREAD])
    kink, t_weights, t_flop, start, slope = _lines(law, p, pc, d, k)
    head, less = law[STATIC_W] - law[LIMIT_W], law[LAYER_LESS_W] * law[EXPERT_S]
    slope += (head * law[EXPERT_TOKEN_S] + law[EXPERT_TOKEN_J]) * tokens
    c1, c2 = law[EXPERT_J] + less, head * law[EXPERT_S] - less
    clip_m, mean_m, full_m = _clipped(start + head * t_weights, slope, c1, c2, d1, d2, 0.0, kink)
    clip_c, mean_c, full_c = _clipped(start, slope + head * t_flop, c1, c2, d1, d2, kink, 1.0)
    mean, full = mean_m + mean_c, full_m + full_c
    token_j = c1 * (1.0 - np.exp(d1) - mean) + (law[STATIC_W] * law[EXPERT_S] - less) * (1.0 - np.exp(d2) - full)
    token_j += law[LIMIT_W] * law[EXPERT_S] * full
    return kink - clip_m, clip_m, 1.0 - kink - clip_c, clip_c, token_j / tokens if tokens > 0.0 else 0.0


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
    # the joules above the limit lie below a convex curve of the ray, and cache tokens only lower it
    convex = (law[STATIC_W] - law[LIMIT_W]) * law[EXPERT_S] + law[EXPERT_J] <= 0.0
    convex = convex and out[PER_KV_J] <= law[LIMIT_W] * out[PER_KV_S]
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
    below = True
    if law[EXPERTS] != 0.0 and d > 0.0:
        decay = _decay(law) * d
        u, v = 1.0 - np.exp(decay), 1.0 - np.exp(max(1.0, law[EXPERT_SPREAD]) * decay)
        less = law[LAYER_LESS_W] * law[EXPERT_S]
        more_j = (law[EXPERT_J] + less) * u + (law[STATIC_W] * law[EXPERT_S] - less) * v
        t += law[EXPERT_S] * v
        e += more_j
        price += more_j / d
        waiting = ((law[LIMIT_W] - law[STATIC_W]) * law[EXPERT_S] + less) * (v - u)
        below = e + waiting < law[LIMIT_W] * t
    streams = law[WEIGHT_BYTES] / law[WEIGHT_BYTES_PER_S] >= d * law[FLOP_PER_DECODE_TOKEN] / law[FLOP_PER_S]
    return t, e, price, streams and below and constants[IS_LINEAR] == 1.0


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
    free, clipped = memory + compute, memory_clipped + compute_clipped
    time_w = law[STATIC_W] * free + law[LIMIT_W] * clipped
    host_w, layer_w = time_w - law[HOST_LESS_W] * free, time_w - law[LAYER_LESS_W] * free
    gemm_w = (law[STATIC_W] * compute + law[LIMIT_W] * compute_clipped) / law[FLOP_PER_S]
    flop_j = law[FLOP_J] * free
    if law[EXPERTS] != 0.0:
        token_j += time_w * law[EXPERT_TOKEN_S] + free * law[EXPERT_TOKEN_J]
    token_j += layer_w * law[COMM_PER_TOKEN_S]
    price_p = token_j + (gemm_w + flop_j) * law[FLOP_PER_PREFILL_TOKEN]
    price_d = token_j + host_w * law[HOST_PER_SEQ_S] + time_w * law[SEQ_S] + free * law[SEQ_J]
    price_d += (gemm_w + flop_j) * law[FLOP_PER_DECODE_TOKEN]
    price_pc = (time_w / law[ATTENTION_FLOP_PER_S] + flop_j) * law[FLOP_PER_CONTEXT]
    price_k = (time_w / law[KV_BYTES_PER_S] + law[BYTE_J] * free) * law[KV_BYTES_PER_TOKEN]
    price_k += flop_j * law[FLOP_PER_CONTEXT]
    return t, e, c0, price_p, price_pc, price_d, price_k
