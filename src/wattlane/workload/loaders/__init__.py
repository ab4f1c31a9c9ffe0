"""One trace format a file; `FORMATS` lists them in the order in which they are tried on an unknown file."""

from __future__ import annotations

from wattlane.workload.formats import Format
from wattlane.workload.loaders import aiperf, azure, burstgpt, guidellm, mooncake, plain, servegen, vllm_bench

FORMATS: tuple[Format, ...] = (
    plain.FORMAT,
    azure.FORMAT,
    burstgpt.FORMAT,
    mooncake.FORMAT,
    mooncake.PREFIX_FORMAT,
    servegen.FORMAT,
    vllm_bench.FORMAT,
    aiperf.FORMAT,
    guidellm.FORMAT,
)
