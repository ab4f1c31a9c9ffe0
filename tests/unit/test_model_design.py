"""Optimal designs: they teach more than chance, cost less where asked, and are campaigns that load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattlane.cli.app import run
from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.facts.gpus import gpu
from wattlane.core.facts.models import model
from wattlane.measure.campaigns.grid import read_grid
from wattlane.measure.campaigns.plan import plan_campaign
from wattlane.model.design import (
    CRITERIA,
    Design,
    campaign_toml,
    candidates,
    design,
    learned,
    predicted_variance,
    sensitivities,
)
from wattlane.model.laws.phase import Case
from wattlane.model.own_profile import chosen_profile
from wattlane.model.profile import profile_for, write_profile
from wattlane.study.config import read_study
from wattlane.study.setting import prepare

H100 = gpu("H100")
CASE = Case(H100, model("Llama-3.1-8B-Instruct"))
PROFILE = profile_for(H100)
POINTS = candidates(PROFILE, CASE)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_a_design_lowers_the_predicted_variance_more_than_random_designs_of_its_size(count: int) -> None:
    slopes, prior = sensitivities(PROFILE, CASE, POINTS)
    rng = np.random.default_rng(count)
    drawn = []
    for _ in range(100):
        covariance = prior
        for i in rng.choice(len(POINTS), count, replace=False):
            covariance = learned(covariance, slopes[i])
        drawn.append(np.sqrt(predicted_variance(slopes, covariance)))
    best = design(PROFILE, CASE, count, cost_weight=0.0)
    assert best.sd_after < np.quantile(drawn, 0.01 if count > 2 else 0.5)  # greedy: two points are not the best two
    informed = design(PROFILE, CASE, count, cost_weight=0.0, criterion="determinant")
    assert informed.sd_after < (np.median(drawn) if count > 2 else max(drawn))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 10), st.sampled_from(CRITERIA), st.sampled_from([0.0, 0.5, 1.0]))
def test_more_points_never_teach_less_and_none_is_chosen_twice(count: int, criterion: str, weight: float) -> None:
    few = design(PROFILE, CASE, count, criterion=criterion, cost_weight=weight, among=POINTS[::3])
    more = design(PROFILE, CASE, count + 3, criterion=criterion, cost_weight=0.0, among=POINTS[::3])
    assert len(set(few.chosen)) == count
    assert few.sd_after < few.sd_before
    if criterion == "variance":
        assert more.sd_after <= few.sd_after * (1 + 1e-9)


def test_cost_weight_buys_time() -> None:
    free, frugal = (design(PROFILE, CASE, 8, cost_weight=weight) for weight in (0.0, 1.0))
    assert frugal.seconds < free.seconds
    assert frugal.sd_after < 0.5 * frugal.sd_before


def test_information_of_a_point_equals_the_posterior_of_a_linear_gaussian_model() -> None:
    slopes, prior = sensitivities(PROFILE, CASE, POINTS[:4])
    prior = prior + 1e-6 * np.eye(len(prior))
    covariance = prior
    for rows in slopes:
        covariance = learned(covariance, rows)
    noise = np.diag([1 / 0.08**2, 1 / 0.05**2])
    precision = np.linalg.inv(prior) + sum(rows.T @ noise @ rows for rows in slopes)
    assert np.allclose(covariance, np.linalg.inv(precision), rtol=1e-5, atol=1e-9)


def test_a_synthetic_truth_is_recovered_better_from_a_design_than_from_random_points() -> None:
    """Truths drawn from the prior, measured with noise, learnt by the linear-Gaussian update the design assumes."""
    slopes, prior = sensitivities(PROFILE, CASE, POINTS)
    chosen = [POINTS.index(one) for one in design(PROFILE, CASE, 6, cost_weight=0.0).chosen]
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(prior + 1e-12 * np.eye(len(prior)))
    targets = np.concatenate([slopes[:, 1], slopes[:, 0] + slopes[:, 1]])
    sd = np.array([0.08, 0.05])
    errors = []
    for _ in range(60):
        truth = root @ rng.standard_normal(len(prior))
        found = []
        for points in (chosen, rng.choice(len(POINTS), 6, replace=False).tolist()):
            rows = slopes[points].reshape(-1, len(prior))
            noise = np.tile(sd, len(points))
            shown = rows @ truth + noise * rng.standard_normal(len(noise))
            guess = prior @ rows.T @ np.linalg.solve(np.diag(noise**2) + rows @ prior @ rows.T, shown)
            found.append(np.mean((targets @ (guess - truth)) ** 2))
        errors.append(found)
    designed, drawn = np.mean(errors, axis=0)
    assert designed < drawn


def test_the_campaign_loads_and_its_cells_are_the_chosen_points(tmp_path: Path) -> None:
    found = design(PROFILE, CASE, 5)
    path = tmp_path / "campaign.toml"
    path.write_text(campaign_toml(found, CASE, "next"))
    plan = plan_campaign(read_grid(path))
    assert len(plan.cells) == 5
    for one, cell in zip(found.chosen, read_grid(path).factors["point"], strict=True):
        assert isinstance(cell, dict)
        assert (cell["batch"], cell["input"], cell["output"]) == (one.batch, one.input_tokens, one.output_tokens)
    path.write_text(campaign_toml(found, CASE, "own", "url:http://127.0.0.1:8000,slots={point.batch}", repeats=3))
    assert read_grid(path).repeats.at_least == 3
    with pytest.raises(InputError, match="give a target"):
        campaign_toml(found, replace(CASE, precision="mxfp4"), "x")


def test_what_cannot_be_designed_is_refused() -> None:
    with pytest.raises(InputError, match=r"count is 31[\s\S]*cost_weight is -1"):
        design(PROFILE, CASE, 31, cost_weight=-1.0)
    with pytest.raises(UnknownNameError):
        design(PROFILE, CASE, 3, criterion="beauty")
    with pytest.raises(InputError, match="use more GPUs"):
        candidates(PROFILE, Case(H100, model("Llama-3.1-70B")))
    assert isinstance(design(PROFILE, CASE, 30, among=POINTS[:4]), Design)


def test_the_verb_writes_a_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "next.toml"
    asked = ["design", "--model", "Llama-3.1-8B-Instruct", "--gpu", "H100", "-n", "3", "-o", str(out)]
    assert run(asked) == 0
    assert "by the law; about" in capsys.readouterr().out
    assert run([*asked, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["chosen"]) == 3
    assert run(["campaign", str(out), "--dry-run"]) == 0
    assert run([*asked, "--profile", str(tmp_path / "none.json")]) == 1


def test_a_profile_of_ones_own_is_asked_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    families = {
        kind: replace(family, parameters={**family.parameters, "host_s": 0.05})
        for kind, family in PROFILE.families.items()
    }
    slow = tmp_path / "slow.json"
    write_profile(replace(PROFILE, name="slow", families=families), slow)
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{i},64,20\n" for i in range(8)))
    asked = ["simulate", str(trace), "--model", "Llama-3.1-8B-Instruct", "--json", "-o"]
    gaps = []
    for own in ([], ["--profile", str(slow)]):
        assert run([*asked, str(tmp_path / "run"), *own]) == 0
        gaps.append(json.loads(capsys.readouterr().out)["tbt_p50_s"])
    assert gaps[1] - gaps[0] == pytest.approx(0.05, rel=0.05)
    study = (Path(__file__).parents[2] / "examples" / "azure-conv.toml").read_text()
    own = tmp_path / "study.toml"
    own.write_text(study.replace("[serving]\n", '[serving]\nprofile = "slow.json"\n'))
    setting = prepare(read_study(own), own)
    assert setting.scenario.profile.name == "slow"
    assert "profile" in setting.inputs
    with pytest.raises(InputError, match="a profile of H100; expected one of B200"):
        chosen_profile(gpu("B200"), slow)
