"""The reference scenario on the real conversation trace: every request accounted for, both sides keep the SLO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wattlane.core.served import latency, read_served
from wattlane.core.types import Slo
from wattlane.study import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "azure-conv.toml"
TRACE = "traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv"
REQUESTS = 19_366


@pytest.mark.data
@pytest.mark.slow
def test_the_reference_study_on_the_real_trace(data_dir: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    text = EXAMPLE.read_text(encoding="utf-8")
    assert "draws = 200" in text
    study.write_text(text.replace("draws = 200", "draws = 20"), encoding="utf-8")
    body: dict[str, Any] = run(study, tmp_path / "run", trace=data_dir / TRACE)
    assert body["scenario"]["workload"]["requests"] == REQUESTS
    for name, side in (("served.parquet", "plan"), ("baseline-served.parquet", "baseline")):
        rows = read_served(tmp_path / "run" / name)
        assert len(rows) == rows["request_id"].n_unique() == REQUESTS
        assert (rows["outcome"] == "completed").sum() + body[side]["failed"] == REQUESTS
        assert latency(rows, Slo(1.0, 0.1, 0.99)).slo_attainment == body[side]["slo_attainment"] >= 0.99
        joules = rows["prefill_j"].sum() + rows["decode_j"].sum() + rows["idle_j"].sum()
        assert joules == pytest.approx(body[side]["energy_j"], rel=1e-9)
    for account in body["ledger"].values():
        assert abs(account["residual_j"]) <= 1e-9 * account["metered_j"]
    assert body["saving_interval"][0] <= body["saving_fraction"] <= body["saving_interval"][1]
    assert body["saving_without_clocks"] <= body["saving_fraction"]
