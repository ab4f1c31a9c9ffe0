"""What to ask a Prometheus server: the histories a workload is rebuilt from.

vLLM counts every finished request in histograms of its prompt and generation tokens (bucket bounds 1, 2, 5, 10, 20, …
up to the context length); DCGM exports the power of each GPU. Counters are asked for raw, not through `rate` or `sum`:
only a raw counter shows the restart of its server.
Sources: vLLM production metrics, docs.vllm.ai, and the DCGM exporter's field list, both read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INPUT_BUCKETS = "vllm:request_prompt_tokens_bucket"
OUTPUT_BUCKETS = "vllm:request_generation_tokens_bucket"
INPUT_SUM = "vllm:request_prompt_tokens_sum"
OUTPUT_SUM = "vllm:request_generation_tokens_sum"
REQUESTS = "vllm:request_success_total"
GPU_POWER = "DCGM_FI_DEV_POWER_USAGE"
GPU_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"


@dataclass(frozen=True, slots=True)
class Query:
    """One query: the metric, whether a workload can be made without it, and what it gives."""

    metric: str
    required: bool
    gives: str

    def text(self, selector: str = "", gpu_selector: str = "") -> str:
        """Return the query with label matchers, as `model_name="llama"`, in braces."""
        chosen = gpu_selector if self.metric.startswith("DCGM") else selector
        return f"{self.metric}{{{chosen}}}" if chosen else self.metric


PROMETHEUS_QUERIES: Mapping[str, Query] = {
    query.metric: query
    for query in (
        Query(INPUT_BUCKETS, True, "prompt lengths and, in its +Inf bucket, the number of requests"),
        Query(OUTPUT_BUCKETS, True, "output lengths"),
        Query(INPUT_SUM, False, "exact prompt tokens"),
        Query(OUTPUT_SUM, False, "exact output tokens"),
        Query(REQUESTS, False, "finished requests by reason; without it the prompt histogram counts them"),
        Query(GPU_POWER, False, "watts of each GPU"),
        Query(GPU_ENERGY, False, "millijoules of each GPU since its driver was loaded; preferred to the watts"),
    )
}


def plain(metric: str) -> str:
    """Return a metric's name as file systems and relabelling rules write it: `vllm_…` for `vllm:…`."""
    return metric.replace(":", "_")


KNOWN: Mapping[str, str] = {plain(metric): metric for metric in PROMETHEUS_QUERIES}
