"""A study file is checked whole: every problem at once, each with key, value and expectation."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from wattlane.core.errors import InputError
from wattlane.study import read_study

LEAST = """\
name = "a"
[workload]
shape = "azure-conv"
[serving]
model = "m"
gpu = "H100"
"""


def refusal(folder: Path, text: str) -> str:
    """Return what the reading of a study file is refused with."""
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_study(path)
    return str(caught.value)


def test_the_shipped_study_states_the_reference_scenario() -> None:
    path = Path(__file__).parents[2] / "examples" / "azure-conv.toml"
    study = read_study(path)
    body = tomllib.loads(path.read_text(encoding="utf-8"))
    assert study.model_dump(mode="json", exclude_unset=True) == body
    assert (study.slo.ttft_s, study.slo.tbt_s, study.slo.attainment) == (1.0, 0.1, 0.99)
    assert study.uncertainty.draws >= 200


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(LEAST, encoding="utf-8")
    study = read_study(path, {"seed": 9})
    assert study.seed == 9
    assert study.serving.precision == "bf16"
    assert study.baseline.command is None
    assert study.search.release_window_s == (0.0, 0.05, 0.1, 0.2, 0.4)


def test_an_unknown_key_gets_a_suggestion(tmp_path: Path) -> None:
    message = refusal(tmp_path, LEAST + "[search]\nclock_stps = 3\n")
    assert message.endswith("study.toml: unknown key 'search.clock_stps'; did you mean 'clock_steps'?")


def test_an_unknown_key_like_no_other_gets_the_known_ones(tmp_path: Path) -> None:
    message = refusal(tmp_path, LEAST + "[slo]\nxyz = 3\n")
    assert "unknown key 'slo.xyz'; expected one of ttft_s, tbt_s, attainment" in message


def test_a_missing_key_and_a_missing_table_say_what_is_expected(tmp_path: Path) -> None:
    message = refusal(tmp_path, 'name = "a"\n[serving]\ngpu = "H100"\n')
    assert "2 problems" in message
    assert "missing key 'workload'; expected a table, [workload]" in message
    assert "missing key 'serving.model'; expected a text" in message


@pytest.mark.parametrize("source", ['shape = "a"\nfile = "b"', ""])
def test_a_workload_has_exactly_one_source(tmp_path: Path, source: str) -> None:
    message = refusal(tmp_path, LEAST.replace('shape = "azure-conv"', source))
    assert "workload: give exactly one of shape" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[slo]\nttft_s = 0", "slo.ttft_s is 0; expected a value greater than 0"),
        ("[slo]\nttft_s = inf", "slo.ttft_s is inf; expected a finite number"),
        ('[slo]\ntbt_s = "0.1"', "slo.tbt_s is '0.1'; expected a valid number"),
        ("[slo]\nattainment = 99", "slo.attainment is 99; expected a value less than or equal to 1"),
        ("[baseline]\nreplicas = true", "baseline.replicas is True; expected a valid integer"),
        ("[uncertainty]\ndraws = 3", "uncertainty.draws is 3; expected a value greater than or equal to 20"),
        ("[search]\nmax_num_seqs = 16", "search.max_num_seqs is 16; expected a list"),
        ("[search]\nmax_num_seqs = [16.5]", "search.max_num_seqs.0 is 16.5; expected a valid integer"),
        ("[search]\nmax_num_seqs = []", "search: max_num_seqs is []; expected values of at least 1"),
        ("[search]\nrelease_window_s = [-1]", "search: release_window_s is [-1.0]; expected values of at least 0"),
        ("[search]\nrelease_window_s = [nan]", "search.release_window_s.0 is nan; expected a finite number"),
        ("[search]\nmax_num_seqs = [64]\nmax_num_batched_tokens = [32]", "no larger than the largest"),
        ("[factors]\npue = 0.5", "factors.pue is 0.5; expected a value greater than or equal to 1"),
        ("slo = 3", "slo is 3; expected a table, [slo]"),
        (f"[baseline]\nengine = {'[1]' * 1}", "baseline.engine is [1]; expected a valid string"),
        (f"[baseline]\nengine = [{'1, ' * 100}]", "baseline.engine is a list of 300 characters; expected"),
    ],
)
def test_a_wrong_value_is_named_with_key_value_and_expectation(tmp_path: Path, text: str, said: str) -> None:
    whole = text + "\n" + LEAST if text.startswith("slo =") else LEAST + text + "\n"
    assert said in refusal(tmp_path, whole)


def test_several_problems_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, LEAST.replace('"a"', "3") + "sed = 1\n[slo]\nttft_s = -1\n[factor]\npue = 1\n")
    assert "4 problems" in message
    for part in ("name is 3", "'serving.sed'", "slo.ttft_s is -1", "did you mean 'factors'?"):
        assert part in message


def test_what_is_not_toml_is_said_to_be_not_toml(tmp_path: Path) -> None:
    assert "not valid TOML" in refusal(tmp_path, "name = \n")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not valid TOML"):
        read_study(tmp_path / "bytes.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.toml: no such file"):
        read_study(tmp_path / "no.toml")
