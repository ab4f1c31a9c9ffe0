"""Profiles: what ships loads, draws are seeded and sane, malformed files are refused, cold starts say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.facts.gpus import all_gpus, gpu
from wattlane.core.facts.models import model
from wattlane.model import iteration as it
from wattlane.model import profile as module
from wattlane.model.cards import MEANING, profile_card, profiles_card
from wattlane.model.laws.phase import PARAMETERS, Case
from wattlane.model.profile import (
    Profile,
    carried_over,
    draw,
    profile_for,
    read_profile,
    scaled,
    shipped_profiles,
    write_profile,
)

FILES = sorted((Path(module.__file__).parent / "profiles").glob("*.json"))
H100, LLAMA = gpu("H100"), model("Llama-3.1-8B")
CASE = Case(H100, LLAMA)


def test_shipped_profiles_load_stay_small_and_name_their_sources() -> None:
    assert {p.gpu for p in shipped_profiles().values()} == {"H100", "H200", "B200", "A100-40GB", "A100-80GB"}
    assert {p.gpu for p in shipped_profiles().values() if p.cold_start} == {"H200", "A100-80GB"}
    assert sum(path.stat().st_size for path in FILES) < 1_000_000
    for profile in shipped_profiles().values():
        assert set(profile.families) == {"dense", "moe"}
        assert all(len(digest) == 64 for digest in profile.provenance["inputs"].values())
        for family in profile.families.values():
            assert set(family.parameters) == set(family.origins) == set(PARAMETERS) == set(MEANING)
            assert all(v <= 1.0 for n, v in family.parameters.items() if n.startswith("eta_"))
            assert np.linalg.eigvalsh(family.covariance_log).min() > -1e-6
            assert 0.05 <= family.group_sd_power < 0.5
            assert 0.08 <= family.group_sd_time < 0.8
            assert all(0.0 < sd < 0.3 for sd in family.within)
            assert len(family.within_sd) == 3
            assert all(0 < width.half_width_log < 3 and width.groups >= 6 for width in family.conformal.values())
            assert "bf16" in family.precisions


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_profile_file_round_trips(tmp_path: Path, path: Path) -> None:
    again = tmp_path / path.name
    write_profile(read_profile(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_same_seed_gives_the_same_draw_and_another_seed_another() -> None:
    profile = profile_for(H100)
    one, two, other = (draw(profile, CASE, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == two
    assert one != other
    assert (one.law(CASE) == two.law(CASE)).all()


def test_draws_spread_around_the_best_estimate_by_about_the_stated_error() -> None:
    profile = profile_for(H100)
    family = profile.families["dense"]
    rng = np.random.default_rng(7)
    draws = [draw(profile, CASE, rng) for _ in range(400)]
    factors = np.log([d.time_factor for d in draws])
    assert abs(factors.mean()) < 0.02
    assert factors.std() == pytest.approx(family.group_sd_time, rel=0.1)
    assert all(0 < v <= 1 for d in draws for n, v in d.parameters.items() if n.startswith("eta_"))
    assert all(H100.idle_loaded_w_lo <= d.idle_w <= H100.idle_loaded_w_hi for d in draws)
    best = it.cost(profile.law(CASE), 0.0, 0.0, 64.0, 64e3)
    drawn = np.array([it.cost(d.law(CASE), 0.0, 0.0, 64.0, 64e3) for d in draws])
    for i in range(2):
        assert np.median(drawn[:, i]) == pytest.approx(best[i], rel=0.05)
        assert 0.05 < np.log(drawn[:, i]).std() < 0.20


def test_scaled_law_takes_longer_at_other_watts_and_keeps_limit_and_idle() -> None:
    law = profile_for(H100).law(CASE)
    law[it.LIMIT_W] = 1e4
    other = scaled(law, 1.2, 0.9)
    for work in ((0.0, 0.0, 16.0, 16e3), (500.0, 500.0**2 / 2, 8.0, 8e3)):
        t, e = it.cost(law, *work)
        t2, e2 = it.cost(other, *work)
        assert t2 == pytest.approx(1.2 * t)
        assert e2 == pytest.approx(1.2 * 0.9 * e)
    t, e = it.cost(law, 0.0, 0.0, 4.0, 4e3)
    assert it.cost(other, 0.0, 0.0, 4.0, 4e3)[1] == pytest.approx(1.2 * 0.9 * e)
    assert (other[[it.LIMIT_W, it.IDLE_W]] == law[[it.LIMIT_W, it.IDLE_W]]).all()


def test_questions_outside_the_calibrated_range_are_named() -> None:
    profile = profile_for(H100)
    assert profile.outside(CASE, 64) == []
    assert profile.outside(Case(H100, LLAMA, "fp16"), 64) == []
    assert "batch 5000 outside" in profile.outside(CASE, 5000)[0]
    assert "precision int4 not among" in profile.outside(Case(H100, LLAMA, "int4"), 64)[0]
    small = model("Llama-3.2-1B")
    assert "active_params" in profile.outside(Case(H100, small), 64)[0]
    asked = Case(
        H100, model("Qwen3-30B-A3B"), tensor_parallel=2, pipeline_parallel=2, expert_parallel=1, kv_precision="fp8"
    )
    said = " ".join(profile.outside(asked, 64))
    for words in ("pipeline parallel: modelled", "experts split by tensor parallelism", "KV cache in fp8"):
        assert words in said


@pytest.mark.parametrize("name", [n for n in all_gpus() if n not in shipped_profiles()])
def test_cold_start_is_wider_flagged_and_carried_over_from_a_relative(name: str) -> None:
    board = gpu(name)
    profile = profile_for(board)
    donor = shipped_profiles()["H100" if "fp8" in board.flop_per_s else "A100-40GB"]
    assert profile.cold_start
    for kind, family in profile.families.items():
        assert family.group_sd_time > donor.families[kind].group_sd_time
        assert family.group_sd_power > donor.families[kind].group_sd_power
        assert set(family.origins.values()) == {f"carried over from {donor.gpu}"}
        assert family.parameters == donor.families[kind].parameters
        assert np.trace(family.covariance_log) > np.trace(donor.families[kind].covariance_log)
        assert family.conformal["power"] == donor.families[kind].conformal["power_unseen_gpu"]
    said = profile.outside(Case(board, LLAMA), 64)
    assert said[-1] == f"{name} was never measured: parameters carried over from {donor.name}"


def test_no_profile_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shipped_profiles", dict)
    with pytest.raises(InputError, match="unknown profile 'H100'"):
        profile_for(H100)


def test_profile_without_the_family_says_which_it_has() -> None:
    whole = profile_for(H100)
    dense = Profile(whole.name, whole.gpu, whole.engine, {"dense": whole.families["dense"]}, {})
    with pytest.raises(InputError, match="has no moe family; found dense"):
        dense.law(Case(H100, model("Qwen3-30B-A3B")))
    assert set(carried_over(dense, gpu("L4")).families) == {"dense"}


def test_malformed_profiles_are_refused_with_all_problems(tmp_path: Path) -> None:
    body = json.loads(FILES[0].read_text())
    del body["engine"], body["families"]["dense"]["parameters"]["host_s"]
    body["families"]["moe"]["parameters"]["busy_share"]["value"] = -3.0
    path = tmp_path / "p.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InputError) as error:
        read_profile(path)
    for said in ("3 problems", "missing key 'engine'", "dense: missing parameter 'host_s'", "moe: busy_share is -3.0"):
        assert said in str(error.value)
    path.write_text(FILES[0].read_text()[:500])
    with pytest.raises(FileFormatError, match="truncated"):
        read_profile(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda b: b["families"]["dense"].pop("range"), "dense: missing key 'range'"),
        (lambda b: b["families"]["dense"].update(covariance_log=[[1.0]]), "dense: covariance_log"),
        (lambda b: b["families"]["dense"]["parameters"]["host_s"].update(value="x"), "dense: host_s is 'x'"),
        (lambda b: b["families"]["dense"]["parameters"].update(host_s=3), "dense: host_s is 3"),
        (lambda b: b["families"]["dense"].update(group_sd_time=-1), "dense: group_sd_time is -1"),
        (lambda b: b["families"]["dense"]["within_sd"].update(itl="x"), "dense: within_sd of itl is 'x'"),
        (lambda b: b["families"]["dense"].update(within_sd=[1]), "dense: within_sd of ? is [1]"),
        (lambda b: b["families"]["dense"]["range"].update(batch=[1]), "dense: range of batch is [1]"),
        (lambda b: b["families"]["dense"]["conformal"].update(itl=0.2), "dense: conformal of itl is 0.2"),
        (lambda b: b["families"]["dense"].update(conformal=3), "dense: conformal of ? is 3"),
        (lambda b: b["families"].update(dense=7), "dense: is 7"),
        (lambda b: b.update(families=[]), "families is []"),
    ],
)
def test_profile_parts_of_the_wrong_form_are_problems_not_crashes(tmp_path: Path, spoil: object, said: str) -> None:
    body = json.loads(FILES[0].read_text())
    spoil(body)  # type: ignore[operator]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(body))
    with pytest.raises(InputError) as error:
        read_profile(path)
    assert said in str(error.value)


def test_cards_show_unit_and_origin_of_every_parameter_and_the_left_out_errors() -> None:
    card = profile_card("H100")
    text = str(card)
    for name, (unit, _) in MEANING.items():
        row = next(row for row in card.rows if row.label.endswith(f": {name}") and "dense" in row.label)
        assert unit in row.value
        assert "fitted" in row.source or "prior" in row.source
    assert "power, median error on a left-out architecture" in text
    assert "active_params" in text
    assert card.body["families"]["dense"]["residuals"]["left_out_median_ape_power"] < 0.1
    json.dumps(card.body, allow_nan=False)
    labels = [row.label for row in card.rows]
    assert labels.index("dense: valid for batch") < labels.index("note") < len(labels) - len(MEANING)
    assert "dense: power within" in labels
    assert "not validated against serving measurements" in text
    cold = profile_card("L40S")
    assert cold.body["cold_start"]
    assert "carried over from H100" in str(cold)
    assert "never measured on L40S" in str(cold)
    assert [row.label for row in profiles_card().rows] == list(shipped_profiles())


def test_card_of_a_profile_file_is_that_of_the_profile(tmp_path: Path) -> None:
    write_profile(profile_for(gpu("H100")), tmp_path / "own.json")
    assert (
        str(profile_card(str(tmp_path / "own.json"))).splitlines()[1:6] == str(profile_card("H100")).splitlines()[1:6]
    )


def test_written_cold_start_is_still_one_when_read(tmp_path: Path) -> None:
    cold = profile_for(gpu("L40S"))
    write_profile(cold, tmp_path / "p.json")
    again = read_profile(tmp_path / "p.json")
    assert again.cold_start
    assert again.outside(Case(gpu("L40S"), LLAMA), 64) == cold.outside(Case(gpu("L40S"), LLAMA), 64)


def test_draw_does_not_depend_on_the_signs_of_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profile_for(H100)
    before = draw(profile, CASE, np.random.default_rng(0)).law(CASE)
    values, vectors = np.linalg.eigh(profile.families["dense"].covariance_log)
    signs = np.where(np.arange(len(values)) % 2, 1.0, -1.0)
    monkeypatch.setattr(np.linalg, "eigh", lambda _: (values, vectors * signs))
    assert draw(profile, CASE, np.random.default_rng(0)).law(CASE) == pytest.approx(before, rel=1e-12)
