"""The figures of a trial that a campaign summarises, and that repeats may be counted by."""

from __future__ import annotations

ENERGY_UNITS = ("_j", "_w", "_j_per_request", "_j_per_output_token")
METRICS = (
    "window_s",
    "energy_j",
    "energy_j_per_request",
    "energy_j_per_output_token",
    "prefill_j",
    "decode_j",
    "power_w",
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p99_s",
    "tbt_mean_s",
    "tbt_p50_s",
    "tbt_p99_s",
    "e2e_mean_s",
    "e2e_p50_s",
    "e2e_p99_s",
    "output_tokens_per_s",
    "requests_per_s",
    "cpu_seconds",
)


def is_energy(metric: str) -> bool:
    """Return whether a metric is an energy or a power."""
    return metric.endswith(ENERGY_UNITS)
