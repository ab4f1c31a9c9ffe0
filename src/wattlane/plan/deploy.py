"""The commands that put a plan to work on stock vLLM, what they change, and how to go back.

Locking a clock needs root on the node; it is kept apart and marked. A release window is not a vLLM flag: it is done by
whatever stands in front of the replicas, and the plan says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wattlane.core.facts.engines import EngineDefaults
from wattlane.core.facts.gpus import gpu
from wattlane.core.types import Deployment
from wattlane.plan.command import ServeCommand

Commands = dict[str, list[str]]
# What asks vLLM for a precision that the published weights may not have; others need a quantised checkpoint.
PRECISION_FLAGS = {"fp16": "--dtype float16", "fp32": "--dtype float32", "fp8": "--quantization fp8"}


def serve_line(d: Deployment, others: tuple[str, ...] = (), explicit: bool = True) -> str:
    """Return the `vllm serve` line of one replica; with `explicit` false, only the flags in `others`."""
    words = [f"vllm serve {shlex.quote(d.model)}"]
    if d.tensor_parallel > 1:
        words.append(f"--tensor-parallel-size {d.tensor_parallel}")
    if d.pipeline_parallel > 1:
        words.append(f"--pipeline-parallel-size {d.pipeline_parallel}")
    if explicit:
        words.append(f"--max-num-seqs {d.max_num_seqs}")
        words.append(f"--max-num-batched-tokens {d.max_num_batched_tokens}")
        words.append(f"--gpu-memory-utilization {d.gpu_memory_utilization:g}")
    return " ".join([*words, *others])


def _replicas(d: Deployment) -> str:
    return f"# run {d.replicas} replica{'s' if d.replicas > 1 else ''} of this line, requests round robin"


def _clock_lines(d: Deployment) -> list[str]:
    lines = []
    if d.clock_hz is not None:
        # a range, not one value: an idle card may still slow down further
        lowest_hz = gpu(d.gpu).clock_min_hz
        lines.append(f"sudo nvidia-smi --lock-gpu-clocks={lowest_hz / 1e6:.0f},{d.clock_hz / 1e6:.0f}")
    if d.power_cap_w is not None:
        lines.append(f"sudo nvidia-smi --power-limit={d.power_cap_w:.0f}")
    return lines


def _window_line(d: Deployment) -> list[str]:
    if d.release_window_s <= 0:
        return []
    return [
        f"# hold each request in front of the engine to the next multiple of {d.release_window_s * 1e3:.0f} ms; "
        "vLLM has no flag for this"
    ]


def difference(before: Deployment, after: Deployment) -> list[str]:
    """Return what changes, one line a flag or knob, in the units people set them in."""
    lines = [
        f"{label}: {shown(getattr(before, name))} -> {shown(getattr(after, name))}"
        for name, label, shown in CHANGES
        if getattr(before, name) != getattr(after, name)
    ]
    return lines or ["nothing changes"]


def _plain(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _megahertz(hz: float | None) -> str:
    return "maximum" if hz is None else f"{hz / 1e6:.0f} MHz"


def _milliseconds(seconds: float) -> str:
    return "none" if seconds == 0 else f"{seconds * 1e3:.0f} ms"


def _watts(watts: float | None) -> str:
    return "none" if watts is None else f"{watts:.0f} W"


CHANGES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("max_num_seqs", "--max-num-seqs", _plain),
    ("max_num_batched_tokens", "--max-num-batched-tokens", _plain),
    ("replicas", "replicas", _plain),
    ("tensor_parallel", "--tensor-parallel-size", _plain),
    ("pipeline_parallel", "--pipeline-parallel-size", _plain),
    ("gpu_memory_utilization", "--gpu-memory-utilization", _plain),
    ("release_window_s", "release window", _milliseconds),
    ("clock_hz", "SM clock (privileged)", _megahertz),
    ("power_cap_w", "power cap (privileged)", _watts),
)


def commands(
    baseline: Deployment,
    plan: Deployment,
    without_clocks: Deployment,
    defaults: EngineDefaults,
    present: ServeCommand | None,
) -> Commands:
    """Return the command lines by purpose; `present` is the user's own line, which is what a rollback goes back to.

    Its flags that no knob turns are kept in every other line.
    """
    wanted = PRECISION_FLAGS.get(baseline.precision)
    others = present.others if present else ((wanted,) if wanted else ())
    is_default = (baseline.max_num_seqs, baseline.max_num_batched_tokens, baseline.gpu_memory_utilization) == (
        defaults.max_num_seqs,
        defaults.max_num_batched_tokens,
        defaults.gpu_memory_utilization,
    )
    before = present.line if present else serve_line(baseline, others, explicit=not is_default)
    clock = _clock_lines(plan)
    back = [before, _replicas(baseline)]
    if clock:
        back = [*_rollback_clock(plan), *back]
    return {
        "baseline": [before, _replicas(baseline)],
        "plan": [serve_line(plan, others), _replicas(plan), *_window_line(plan)],
        "clock": clock,
        "difference": difference(baseline, plan),
        "rollback": back,
        "without_privileged": [
            serve_line(without_clocks, others),
            _replicas(without_clocks),
            *_window_line(without_clocks),
        ],
    }


def _rollback_clock(plan: Deployment) -> list[str]:
    lines = []
    if plan.clock_hz is not None:
        lines.append("sudo nvidia-smi --reset-gpu-clocks")
    if plan.power_cap_w is not None:
        lines.append("sudo nvidia-smi --power-limit=<the board's default, see nvidia-smi -q -d POWER>")
    return lines


def unprivileged(d: Deployment) -> Deployment:
    """Return the same deployment at the maximum clock and without a cap."""
    return replace(d, clock_hz=None, power_cap_w=None)
