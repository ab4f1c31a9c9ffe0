"""How much of a GPU's peak its kernels reach, from tables of measured operator latencies (aiconfigurator, Apache-2.0).

Latencies there are clean (2-8 % noise). Each efficiency is the median over the shapes that serving uses: large matrix
products for the FLOP rate, few-token products of big matrices for weight streaming, long caches for KV streaming,
prompts of 1,100-4,100 tokens for prefill attention. They become the centres of the phase law's priors.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from wattlane.core.errors import InputError
from wattlane.core.facts.gpus import Gpu

FOLDERS = {"A100-80GB": "a100_sxm", "H100": "h100_sxm", "H200": "h200_sxm", "B200": "b200_sxm"}


def _table(root: Path, gpu: Gpu, family: str, name: str) -> pl.DataFrame:
    if gpu.name not in FOLDERS:
        raise InputError(f"no operator tables for {gpu.name}; expected one of {', '.join(FOLDERS)}")
    found = sorted((root / FOLDERS[gpu.name] / family).glob(f"vllm-*/{name}_perf.parquet"))
    if not found:
        raise InputError(
            f"{root / FOLDERS[gpu.name] / family}: found no {name} table; expected vllm-*/{name}_perf.parquet"
        )
    return pl.read_parquet(found[-1]).filter(pl.col("latency") > 0).with_columns(seconds=pl.col("latency") * 1e-3)


def _median(table: pl.DataFrame, value: pl.Expr) -> float | None:
    return None if table.is_empty() else float(table.select(value.median()).item())


def _gemm(root: Path, gpu: Gpu) -> dict[str, float | None]:
    gemm = _table(root, gpu, "gemm", "gemm").filter(
        pl.col("n").is_between(4096, 32768) & pl.col("k").is_between(4096, 32768)
    )
    flop = 2.0 * pl.col("m") * pl.col("n") * pl.col("k") / pl.col("seconds")
    big = gemm.filter(pl.col("m").is_between(1024, 8192))
    bf16 = gemm.filter(pl.col("gemm_dtype") == "bfloat16")
    few = bf16.filter(pl.col("m").is_between(4, 64) & (pl.col("n") * pl.col("k") >= 6e7))
    out = {
        "eta_flop": _median(big.filter(pl.col("gemm_dtype") == "bfloat16"), flop / gpu.peak_flop_per_s("bf16")),
        "eta_weights": _median(few, 2.0 * pl.col("n") * pl.col("k") / pl.col("seconds") / gpu.bandwidth_bytes_per_s),
    }
    fp8 = big.filter(pl.col("gemm_dtype").is_in(["fp8", "fp8_block"]))
    if "fp8" in gpu.flop_per_s:
        out["eta_flop_fp8"] = _median(fp8, flop / gpu.peak_flop_per_s("fp8"))
    return out


def _attention(root: Path, gpu: Gpu) -> dict[str, float | None]:
    shape = (pl.col("head_dim") == 128) & (pl.col("num_heads") == 32) & (pl.col("num_key_value_heads") == 8)
    plain = shape & (pl.col("attn_dtype") == "bfloat16") & (pl.col("kv_cache_dtype") == "bfloat16")

    def full(name: str) -> pl.DataFrame:
        table = _table(root, gpu, "attention", name)
        return table.filter(plain & (pl.col("window_size") == 0) if "window_size" in table.columns else plain)

    generation = full("generation_attention").with_columns(
        read=pl.col("batch_size") * (pl.col("isl") + pl.col("step")) * 8.0 * 128 * 2 * 2
    )
    context = full("context_attention").filter(pl.col("isl").is_between(1100, 4100) & (pl.col("step") == 0))
    flop = pl.col("batch_size") * pl.col("isl").cast(pl.Float64) ** 2 / 2 * 4.0 * 32 * 128
    return {
        "eta_kv": _median(
            generation.filter(pl.col("read") >= 3e8), pl.col("read") / pl.col("seconds") / gpu.bandwidth_bytes_per_s
        ),
        "eta_attention": _median(context, flop / pl.col("seconds") / gpu.peak_flop_per_s("bf16")),
    }


def kernel_efficiencies(root: Path, gpu: Gpu) -> dict[str, float]:
    """Return the efficiencies found for `gpu` under `root` (the folder of operator tables); absent ones are left out.

    Raises:
        InputError: no tables for this GPU.
    """
    found = {**_gemm(root, gpu), **_attention(root, gpu)}
    return {name: value for name, value in found.items() if value is not None}
