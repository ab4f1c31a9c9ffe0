"""Advice: what it rests on, what it refuses, and that following it saves on traffic it has not seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from wattlane.cli.app import app
from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.facts.config import resolve_model
from wattlane.core.facts.gpus import gpu
from wattlane.core.files import write_parquet
from wattlane.core.types import Slo
from wattlane.core.workload import Workload
from wattlane.model.laws.phase import Case
from wattlane.model.profile import profile_for
from wattlane.plan.advise import by_law, measured, priors, static_batch
from wattlane.plan.advise.advice import Advice, Basis, ranked
from wattlane.plan.advise.run import advise
from wattlane.plan.scenario import Scenario, saving

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
# Delavande et al. 2026, batching figure: batch, watt-hours a request in all, and of decode
PUBLISHED = ((1, 0.2017, 0.125), (2, 0.1756, 0.089), (4, 0.1903, 0.085), (8, 0.2350, 0.108), (16, 0.2480, 0.125))


def small(seed: int = 0, rate_per_s: float = 4.0, n: int = 240) -> Workload:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate_per_s, n))
    return Workload(arrival, rng.integers(50, 1500, n), rng.integers(10, 300, n), name="small")


def piece(**changes: object) -> Advice:
    fields: dict[str, object] = {
        "knob": "k", "change": "c", "saving": 0.1, "lo": 0.05, "hi": 0.2, "basis": Basis.MODELLED,
        "source": "s", "why": "w",
    }  # fmt: skip
    return Advice(**fields | changes)  # type: ignore[arg-type]


def test_d18_on_the_published_batches_it_picks_two_a_request_and_four_for_decode() -> None:
    assert static_batch.least([(b, total) for b, total, _ in PUBLISHED]) == 2
    assert static_batch.least([(b, decode) for b, _, decode in PUBLISHED]) == 4


def test_f9_speculative_decoding_is_for_small_batches() -> None:
    assert priors.speculative(1.0).verdict == "do"
    assert priors.speculative(128.0).verdict == "do not: it costs energy"
    assert priors.speculative(50.0).verdict.startswith("no difference shown")


@pytest.mark.parametrize("batch", [1.0, 8.0, 64.0])
def test_f9_more_gpus_are_never_advised_for_energy_where_one_holds_the_model(batch: float) -> None:
    for name in ("H100", "B200", "A100-80GB"):
        case = Case(gpu(name), resolve_model(MODEL))
        wide = [
            a
            for a in by_law.advise(profile_for(case.gpu), case, batch, 500.0, 200.0, 0.3)
            if a.knob == "tensor parallelism"
        ]
        assert [a.change for a in wide] == ["1 to 2"]
        assert wide[0].verdict != "do"
    printed = priors.wider(1)
    assert printed is not None
    assert printed.verdict.startswith("do not")
    assert priors.wider(2) is None


def test_f9_every_piece_of_advice_names_its_source() -> None:
    report = advise(small(), model=MODEL, slo=Slo(2.0, 0.2))
    assert len(report.advice) >= 6
    assert all(a.source and a.why for a in report.advice)
    bases = {a.basis for a in report.advice}
    assert bases == {Basis.MODELLED, Basis.PRINTED}
    assert all(a.keeps_slo is not None for a in report.advice if a.knob in {"max_num_seqs", "release window"})
    verdicts = [a.verdict for a in report.advice]
    assert verdicts == sorted(verdicts, key=lambda v: (v != "do", "do not" in v))


def test_what_breaks_the_slo_is_never_to_be_done() -> None:
    assert piece(keeps_slo=False).verdict.startswith("do not")
    assert piece(saving=0.001, lo=0.0005, hi=0.002).verdict == "no difference"
    assert piece(lo=-0.1).verdict.startswith("no difference shown")
    assert piece(saving=-0.1, lo=-0.2, hi=-0.05).verdict.startswith("do not")
    with pytest.raises(InputError, match="outside its interval"):
        piece(lo=0.15)


def test_a_measurement_goes_before_a_model_of_the_same_change() -> None:
    own, model, other = piece(basis=Basis.MEASURED, saving=0.06), piece(saving=0.2), piece(change="d", lo=0.09)
    assert ranked([model, own, other]) == [other, own]


def campaign(folder: Path, statuses: list[str], precisions: list[str], energy: list[float]) -> Path:
    folder.mkdir(exist_ok=True)
    n = len(statuses)
    table = pl.DataFrame(
        {
            "status": statuses,
            "cell": precisions,
            "trial": list(range(n)),
            "factor_precision": precisions,
            "requests": [100] * n,
            "failed": [0] * n,
            "input_tokens": [1000] * n,
            "output_tokens": [500] * n,
            "energy_j": energy,
            "e2e_mean_s": [1.0] * n,
            "engine": [json.dumps({"gpu": "H100"})] * n,
            "boundary": ["gpu"] * n,
            "energy_status": ["measured"] * n,
        }
    )
    write_parquet(folder / "campaign.parquet", "campaign", table)
    return folder


def test_d18_a_campaign_shows_its_own_effect_with_an_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    precisions = ["bf16"] * 6 + ["fp8"] * 6
    energy = [1000 * np.exp(0.02 * rng.standard_normal()) * (1 if p == "bf16" else 0.7) for p in precisions]
    found, notes = measured.advise([campaign(tmp_path / "mine", ["measured"] * 12, precisions, energy)])
    assert notes == []
    (one,) = found
    assert one.knob == "precision"
    assert one.change == "bf16 to fp8"
    assert one.saving == pytest.approx(0.3, abs=0.03)
    assert one.lo > 0.25
    assert one.verdict == "do"


def test_d18_quarantined_data_are_refused(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "bad", ["quarantined"] * 4, ["bf16", "bf16", "fp8", "fp8"], [1.0] * 4)
    with pytest.raises(MeasurementError, match=r"none of its trials is valid \(4 quarantined\)"):
        advise(small(), model=MODEL, campaigns=[folder])
    part = campaign(
        tmp_path / "part", ["measured"] * 4 + ["quarantined"] * 2, ["bf16", "bf16", "fp8", "fp8", "fp8", "fp8"],
        [10.0, 10.5, 7.0, 7.2, 1.0, 1.0],
    )  # fmt: skip
    found, notes = measured.advise([part])
    assert "2 trials left out: quarantined" in notes[0]
    assert found[0].saving == pytest.approx(0.3, abs=0.05)


def test_a_campaign_that_compares_nothing_is_refused(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "one", ["measured"] * 3, ["bf16"] * 3, [1.0, 1.1, 1.2])
    with pytest.raises(InputError, match="expected a campaign that compares"):
        measured.advise([folder])


def test_static_batches_waste_more_the_more_unlike_the_lengths() -> None:
    case = Case(gpu("H100"), resolve_model(MODEL))
    law = profile_for(case.gpu).law(case)
    unlike = small(n=400)
    alike = replace(unlike, input_tokens=np.full(400, 700), output_tokens=np.full(400, 150))
    waste = {s.batch: s.waste for s in static_batch.sizes(law, unlike)}
    assert waste[1] == 0.0
    assert waste[2] < waste[8] < waste[64]
    assert all(s.waste == pytest.approx(0.0) for s in static_batch.sizes(law, alike))
    inorder = {s.batch: s.waste for s in static_batch.sizes(law, unlike, in_order=True)}
    assert inorder[16] < waste[16]
    energy = [s.energy_j for s in static_batch.sizes(law, alike)]
    assert energy == sorted(energy, reverse=True)


@pytest.mark.slow
def test_d18_the_first_advice_saves_a_tenth_on_held_out_traffic_within_the_slo() -> None:
    report = advise(small(), model=MODEL, slo=Slo(2.0, 0.2))
    first = next(a for a in report.advice if a.knob in {"precision", "clock"} and a.verdict == "do")
    case = Case(gpu("H100"), resolve_model(MODEL))
    then = replace(case, precision=first.change) if first.knob == "precision" else case
    for seed in (101, 102, 103):
        unseen = small(seed)
        now = Scenario(unseen, Slo(2.0, 0.2), profile_for(case.gpu), case).score(report.now)
        changed = Scenario(unseen, Slo(2.0, 0.2), profile_for(case.gpu), then).score(report.now)
        assert changed.attainment >= 0.99
        assert saving(now, changed) >= 0.1


def test_the_verb_prints_a_ranked_list(tmp_path: Path) -> None:
    asked = small(n=60)
    pl.DataFrame(
        {"arrival_s": asked.arrival_s, "input_tokens": asked.input_tokens, "output_tokens": asked.output_tokens}
    ).write_csv(tmp_path / "w.csv")
    done = CliRunner().invoke(app, ["advise", str(tmp_path / "w.csv"), "--model", MODEL, "--json", "--replicas", "1"])
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    assert body["advice"][0]["verdict"] == "do"
    assert body["origin"] == "modelled"
    assert len(body["static_batches"]) == 6
    lines = CliRunner().invoke(app, ["advise", str(tmp_path / "w.csv"), "--model", MODEL, "--tp", "2"]).stdout
    assert "tensor parallelism 2 to 1" in lines
