"""Rows a known phase law gives, for tests of fitting and leaving out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.model.calibration import Point
from wattlane.model.fit_phase import Prior, errors, table
from wattlane.model.profile import profile_for

H100, B200 = gpu("H100"), gpu("B200")
TRUTH = dict(profile_for(H100).families["dense"].parameters)
KNOWN = {"prompt_chat": 300.0, "prompt_gpqa": 280.0, "prompt_fim": 900.0, "context_ratio": 0.6, "slow_s": 0.02}


def synthetic(
    noise: float = 0.02,
    board: object = H100,
    truth: dict[str, float] | None = None,
    bias: dict[str, float] | None = None,
) -> list[Point]:
    """Rows a law gives, with noise: five architectures, batches from 8 to 512, one or more GPUs, two precisions."""
    rng = np.random.default_rng(0)
    asked = []
    for name, gpus, precisions in (
        ("Llama-3.1-8B", (1, 2), ("bf16", "fp8")),
        ("Qwen3-14B", (1, 2), ("bf16",)),
        ("Qwen3-32B", (2, 4), ("bf16", "fp8")),
        ("Llama-3.1-70B", (4, 8), ("bf16",)),
        ("Qwen3-30B-A3B", (2,), ("bf16",)),
    ):
        for tp in gpus:
            for precision in precisions:
                for batch in (8.0, 32.0, 128.0, 512.0):
                    for task, out in (("lm-arena-chat", 600.0), ("gpqa", 4000.0)):
                        asked.append(Point(board, model(name), precision, tp, batch, out, 1.0, 1.0, task, name))  # type: ignore[arg-type]
    time, power = errors(truth or TRUTH, KNOWN, table([asked]))
    found = []
    for row, t, w in zip(asked, np.exp(time), np.exp(power), strict=True):
        off = np.exp(noise * rng.standard_normal(2) + (bias or {}).get(row.group, 0.0))
        found.append(replace(row, itl_s=float(t * off[0]), power_w=float(w * off[1])))
    return found


def near(sd: float = 0.3, seed: int = 1) -> dict[str, Prior]:
    """A prior whose centres are off the truth by about half its sd."""
    rng = np.random.default_rng(seed)
    centres = {n: v * float(np.exp(0.5 * sd * rng.standard_normal())) for n, v in TRUTH.items()}
    return {n: Prior(min(c, 0.98) if n.startswith("eta_") else c, sd, 0.05) for n, c in centres.items()}
