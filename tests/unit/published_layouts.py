"""Files in the layouts of two public releases of measurements, filled with synthetic runs; no value is released."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

WILKINS_HEADER = [
    *("Timestamp", "Phase", "Runtime (s)", "GPU Energy (mJ)", "Number of Output Tokens", "Number of Input Tokens"),
    *("Iteration", "Model", "Number of GPUs", "Prompt", "Total Number of Tokens", "Batch Size", "System", "CPU Core"),
    *("GPU Total Memory (MB)", "GPU Used Memory (MB)"),
]
GRID = [8 * 2**i for i in range(9)]
SWEEP = [*((i, 32) for i in GRID), *((32, o) for o in [*GRID, 4096])]
MODELS = {"falcon-7b": 1.0, "Llama-2-7b-chat-hf": 0.9, "Mistral-7B-v0.1": 0.8}


def no_cache_j(tin: float, tout: float) -> float:
    """Joules of an engine that reruns its whole prefix for every output token."""
    return 6.0 * tout + 0.04 * (tin * tout + tout**2 / 2)


def write_wilkins(path: Path, points=None, models=MODELS, noise: float = 0.03, iterations: int = 1) -> Path:
    """Write start-up rows, then a row for every point and iteration; prompts hold line breaks, commas and quotes."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(WILKINS_HEADER)
        for model, scale in models.items():
            rows.writerow(
                [1.0, "model load", 30.0, 9e6, 0, 0, 0, model, 1, "startup", 0, 32, "Swing AMD+A100", 3, 1, 1]
            )
            for tin, tout in points or [(i, o) for i in GRID for o in GRID]:
                for iteration in range(iterations):
                    energy_j = scale * no_cache_j(tin, tout) * np.exp(noise * rng.standard_normal())
                    prompt = f'What is\n"{tin}",\nplease?\n'
                    rows.writerow(
                        [
                            *(1.7e9, f"start-inference-{iteration}", energy_j / 280.0, energy_j * 1e3, tout, tin),
                            *(iteration, model, 1, prompt, tin + tout, 32, "Swing AMD+A100", 5, 40960, 20000),
                        ]
                    )
    return path


def cached_j(tin: float, tout: float) -> float:
    """Joules of an engine with a KV cache, one request at a time."""
    return 0.0149 * tin + 3.079 * tout + 1.65e-4 * tin * tout


def write_easli(path: Path, gpus: int = 1, requests: int = 60, packages: int = 0) -> Path:
    """Write three data sets one after another, without a header, with the column of out − in that goes below zero."""
    rng = np.random.default_rng(2)
    memory = [81559, 72000] * gpus
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        for data_set in range(3):
            devices = [0.0] * packages + [1e6] * gpus
            start = [1.7e9, "tokenizer", 0.4, *devices, 0, 0, "meta-llama/Llama-2-7b-chat-hf", gpus, "startup", 0, 0]
            rows.writerow([*start, 32, 11, "vLLM", *memory])
            for i in range(requests):
                tin, tout = int(rng.integers(10, 300)), 1 if i == 7 else int(rng.integers(2, 400))
                energy_j = cached_j(tin, tout) * np.exp(0.02 * rng.standard_normal())
                energies = [5e4] * packages + [0.0 if i == 9 else energy_j * 1e3 / gpus] * gpus
                prompt = "Give\nme, " if data_set else "Name 3"
                counts = [tin, i, "meta-llama/Llama-2-7b-chat-hf", gpus, prompt, tout - tin, tout]
                rows.writerow([1.7e9, f"start-inference-{i}", tout / 40, *energies, *counts, 32, 11, "vLLM", *memory])
    return path
