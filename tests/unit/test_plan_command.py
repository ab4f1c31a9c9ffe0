"""A user's `vllm serve` line is read as vLLM reads it, and the plan's lines keep what no knob turns."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from tiny_study import MODEL
from wattlane.core.errors import InputError
from wattlane.core.facts.engines import engine_defaults
from wattlane.core.facts.gpus import gpu
from wattlane.core.types import Deployment
from wattlane.plan.command import parse
from wattlane.plan.deploy import commands, difference, serve_line, unprivileged

DEFAULTS = engine_defaults("vllm", gpu("H100"))
BASE = Deployment(
    MODEL,
    "H100",
    replicas=2,
    max_num_seqs=DEFAULTS.max_num_seqs,
    max_num_batched_tokens=DEFAULTS.max_num_batched_tokens,
)
PLAN = replace(BASE, replicas=1, max_num_batched_tokens=2048, clock_hz=840e6, release_window_s=0.1)


def test_flags_are_read_in_every_form_vllm_accepts() -> None:
    found = parse(
        f"vllm serve {MODEL} --max-num-seqs 256 --max_num_batched_tokens=4096 -tp 2 --dtype bfloat16 --foo=bar"
    )
    assert found.model == MODEL
    assert found.fields == {"max_num_seqs": 256, "max_num_batched_tokens": 4096, "tensor_parallel": 2}
    assert found.precision == "bf16"
    assert found.others == ("--dtype bfloat16", "--foo=bar")


def test_a_boolean_flag_does_not_swallow_a_short_one() -> None:
    found = parse(f"vllm serve {MODEL} --enforce-eager -tp 2")
    assert found.fields == {"tensor_parallel": 2}
    assert found.others == ("--enforce-eager",)


@pytest.mark.parametrize(
    ("text", "tokens"), [("8192", 8192), ("8k", 8000), ("8K", 8192), ("1.5k", 1500), ("1m", 10**6)]
)
def test_token_budget_takes_vllms_suffixes(text: str, tokens: int) -> None:
    assert parse(f"vllm serve m --max-num-batched-tokens {text}").fields["max_num_batched_tokens"] == tokens


def test_line_continuations_and_quotes_survive() -> None:
    config = '{"level": 3, "x": "a=b"}'
    found = parse(f"vllm serve '{MODEL}' \\\n  --compilation-config '{config}' \\\n  --lora-modules a=x b=y\n")
    assert found.others == (f"--compilation-config {shlex.quote(config)}", "--lora-modules a=x b=y")
    assert shlex.split(found.line) == [
        "vllm", "serve", MODEL, "--compilation-config", config, "--lora-modules", "a=x", "b=y",
    ]  # fmt: skip


def test_of_a_repeated_flag_the_last_counts() -> None:
    assert parse("vllm serve m --max-num-seqs 8 --max-num-seqs 16").fields == {"max_num_seqs": 16}


def test_negative_numbers_are_values_not_flags() -> None:
    assert parse("vllm serve m --seed -1 --offset=-2").others == ("--seed -1", "--offset=-2")


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("", None),
        ("--dtype auto", None),
        ("--dtype half", "fp16"),
        ("--dtype bfloat16 --quantization fp8", "fp8"),
        ("--quantization fp8 --dtype bfloat16", "fp8"),
        ("-q awq --dtype half", None),
    ],
)
def test_precision_is_that_of_the_weights(flags: str, precision: str | None) -> None:
    assert parse(f"vllm serve m {flags}").precision == precision


def test_all_bad_values_are_gathered() -> None:
    line = (
        "vllm serve m stray --max-num-seqs many --max-num-batched-tokens 12.5 -tp 0 "
        "--gpu-memory-utilization 1.5 --dtype int3 --max-num-seqs"
    )
    with pytest.raises(InputError) as caught:
        parse(line)
    message = str(caught.value)
    assert "7 problems" in message
    for part in ("'stray'", "'many'", "'12.5'", "-tp is '0'", "'1.5'", "'int3'", "--max-num-seqs is ''"):
        assert part in message


@pytest.mark.parametrize("value", ["inf", "nan", "1e400", "-5", "256.7"])
def test_a_limit_that_is_not_a_whole_number_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="expected a whole number of at least 1"):
        parse(f"vllm serve m --max-num-seqs {value}")


def test_a_share_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"'much'; expected a share in \(0, 1\]"):
        parse("vllm serve m --gpu-memory-utilization much")


def test_more_sequences_than_tokens_is_refused_as_vllm_refuses_it() -> None:
    with pytest.raises(InputError, match="--max-num-seqs is 512, above --max-num-batched-tokens 256"):
        parse("vllm serve m --max-num-seqs 512 --max-num-batched-tokens 256")


@pytest.mark.parametrize(
    "line", ["", "vllm", "vllm serve", "vllm serve --dtype half", "python -m vllm", "vllm bench x"]
)
def test_what_is_not_a_serve_line_is_refused_with_the_form(line: str) -> None:
    with pytest.raises(InputError, match="expected `vllm serve MODEL"):
        parse(line)


def test_an_open_quote_is_named() -> None:
    with pytest.raises(InputError, match="No closing quotation"):
        parse("vllm serve 'm")


def test_defaults_need_no_flags_and_a_plan_names_its_limits() -> None:
    lines = commands(BASE, PLAN, unprivileged(PLAN), DEFAULTS, None)
    assert lines["baseline"] == [f"vllm serve {MODEL}", "# run 2 replicas of this line, requests round robin"]
    assert lines["plan"][0] == (
        f"vllm serve {MODEL} --max-num-seqs 1024 --max-num-batched-tokens 2048 --gpu-memory-utilization 0.9"
    )
    assert lines["plan"][1].startswith("# run 1 replica of")
    assert "100 ms" in lines["plan"][2]


def test_a_rollback_goes_back_to_the_users_own_line() -> None:
    present = parse(f"vllm serve {MODEL} --gpu-memory-utilization 0.8 --max-num-seqs 128 --port 80")
    base = replace(BASE, gpu_memory_utilization=0.8, max_num_seqs=128)
    lines = commands(base, replace(base, replicas=1), base, DEFAULTS, present)
    assert lines["baseline"][0] == lines["rollback"][0] == present.line
    assert lines["plan"][0].endswith("--gpu-memory-utilization 0.8 --port 80")
    assert lines["clock"] == []


def test_clock_and_cap_stand_apart_as_privileged_lines() -> None:
    lines = commands(BASE, replace(PLAN, power_cap_w=400.0), unprivileged(PLAN), DEFAULTS, None)
    assert len(lines["clock"]) == 2
    assert lines["clock"][0].endswith(",840")
    assert all(line.startswith("sudo nvidia-smi") for line in lines["clock"])
    assert sum(line.startswith("sudo") for line in lines["rollback"]) == 2
    for purpose in ("baseline", "plan", "without_privileged", "difference"):
        assert not any("sudo" in line for line in lines[purpose])


def test_a_cap_alone_is_rolled_back_alone() -> None:
    lines = commands(BASE, replace(BASE, power_cap_w=400.0), BASE, DEFAULTS, None)
    assert lines["clock"] == ["sudo nvidia-smi --power-limit=400"]
    assert sum(line.startswith("sudo") for line in lines["rollback"]) == 1


def test_every_line_that_serves_can_be_read_back() -> None:
    for d in (BASE, PLAN, replace(PLAN, tensor_parallel=2, gpu_memory_utilization=0.85)):
        found = parse(serve_line(d))
        assert found.fields["max_num_batched_tokens"] == d.max_num_batched_tokens
        assert found.fields["gpu_memory_utilization"] == d.gpu_memory_utilization
        assert found.fields.get("tensor_parallel", 1) == d.tensor_parallel


@pytest.mark.parametrize(("precision", "flag"), [("fp8", "--quantization fp8"), ("fp16", "--dtype float16")])
def test_a_precision_the_weights_may_not_have_is_asked_for(precision: str, flag: str) -> None:
    base, plan = replace(BASE, precision=precision), replace(PLAN, precision=precision)
    lines = commands(base, plan, plan, DEFAULTS, None)
    assert lines["baseline"][0].endswith(flag)
    assert lines["plan"][0].endswith(flag)


def test_a_path_with_a_blank_is_quoted() -> None:
    assert serve_line(replace(BASE, model="my models/x"), explicit=False) == "vllm serve 'my models/x'"


def test_difference_names_each_knob_that_changes_and_only_those() -> None:
    lines = difference(BASE, PLAN)
    assert len(lines) == 4
    text = "\n".join(lines)
    for part in ("8192 -> 2048", "2 -> 1", "privileged", "840", "100"):
        assert part in text
    assert difference(BASE, BASE) == ["nothing changes"]
    assert "maximum -> " in text
