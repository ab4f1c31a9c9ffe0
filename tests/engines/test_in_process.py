"""transformers called directly: phases, precisions, decodings, and what is recorded of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from engine_targets import PIN, python_with

from wattlane.core.errors import AbsentBackendError, MeasurementError
from wattlane.measure.engines.transformers_inprocess import TransformersInProcess
from wattlane.measure.hf_model import FIRST_PLAIN_TOKEN, random_checkpoint
from wattlane.measure.phases.in_process import two_ways
from wattlane.measure.quality import LogitDistance
from wattlane.measure.spec import parse_spec

pytestmark = [pytest.mark.engine, pytest.mark.slow]

NEEDS = ("torch", "transformers", "accelerate")
# option values -> (stored type, compute dtype) that the loaded weights must turn out to have
PRECISIONS = {
    "dtype=float32": ("FLOAT32", "float32"),
    "dtype=bfloat16": ("BFLOAT16", "bfloat16"),
    "dtype=float16": ("FLOAT16", "float16"),
    "dtype=float32,quantization=torch_int8": ("QINT8", "int8"),
    "dtype=bfloat16,quantization=bnb_int8": ("INT8", "int8"),
    "dtype=bfloat16,quantization=bnb_nf4": ("NF4", "bfloat16"),
}


def opened(options: str = "dtype=float32") -> TransformersInProcess:
    needs = (*NEEDS, "bitsandbytes") if "bnb" in options else NEEDS
    return TransformersInProcess(parse_spec(f"transformers-inprocess:{PIN},python={python_with(*needs)},{options}"))


def prompts(*lengths: int) -> list[list[int]]:
    generator = np.random.default_rng(7)
    return [generator.integers(FIRST_PLAIN_TOKEN, 4096, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def plain(cache: None, pinned: None) -> Iterator[TransformersInProcess]:
    assistant = random_checkpoint("tiny", 1)
    with opened(f"dtype=float32,assistant={assistant}") as engine:
        yield engine


def test_boundary_inside_the_run_and_the_whole_run_write_the_same_work(plain: TransformersInProcess) -> None:
    read = plain.prefill(prompts(64, 64))
    steps = plain.decode(7)
    assert read.duration_s > 0
    assert len(steps) == 7
    edges = [read.end_s, *(edge for step in steps for edge in (step.start_s, step.end_s))]
    assert edges == sorted(edges), "the boundary lies between the phases"


def test_padding_changes_no_token_and_is_counted_as_computed_only(plain: TransformersInProcess) -> None:
    short, long = prompts(9, 40)
    alone = plain.generate([short], 12).outputs[0]
    together = plain.generate([short, long], 12)
    assert together.outputs[0] == alone
    assert (together.tokens.input_effective_tokens, together.tokens.input_computed_tokens) == (49, 80)
    assert (together.tokens.output_effective_tokens, together.tokens.output_computed_tokens) == (24, 24)


def test_d11_continuous_equals_static_equals_sequential_token_for_token_in_float32(
    plain: TransformersInProcess,
) -> None:
    lengths = [9, 40, 17, 64, 5, 23, 31, 12, 50, 8]
    wanted = [12, 3, 20, 6, 1, 15, 9, 4, 18, 7]
    batch = prompts(*lengths)
    sequential = [plain.generate([p], n).outputs[0] for p, n in zip(batch, wanted, strict=True)]
    static = plain.generate(batch, wanted)
    continuous = plain.generate(batch, wanted, batching="continuous", batch=3)
    assert list(static.outputs) == sequential
    assert list(continuous.outputs) == sequential
    # conservation: every request once, with its own number of tokens; with three at a time, none starves
    assert [len(row) for row in continuous.outputs] == wanted
    assert continuous.tokens.output_computed_tokens == sum(wanted)
    assert continuous.tokens.input_computed_tokens == sum(lengths)
    assert static.tokens.input_computed_tokens == 10 * 64
    for times_s, tokens in zip(continuous.token_s, wanted, strict=True):
        assert len(times_s) == tokens
        assert list(times_s) == sorted(times_s)
        assert continuous.stretch.start_s < times_s[0] <= times_s[-1] <= continuous.stretch.end_s
    first_s = [times_s[0] for times_s in continuous.token_s]
    ends_s = [times_s[-1] for times_s in continuous.token_s]
    assert max(first_s) > min(ends_s), "a request is admitted when another one is retired"
    for now_s in first_s:  # never more than three are being written
        assert sum(one <= now_s < end for one, end in zip(first_s, ends_s, strict=True)) <= 3


def test_the_time_of_every_token_is_stamped_by_the_librarys_loop(plain: TransformersInProcess) -> None:
    for decoding in ("greedy", "sample", "beam", "assisted"):
        answer = plain.generate(prompts(16), 8, decoding=decoding)
        [times_s] = answer.token_s
        assert len(times_s) == 8
        assert answer.stretch.start_s < times_s[0] <= times_s[-1] <= answer.stretch.end_s
        assert list(times_s) == sorted(times_s)


def test_d17_logit_distance_per_dtype_and_what_it_does_not_say(
    plain: TransformersInProcess, figure: Callable[[str], None]
) -> None:
    batch, kept = prompts(24, 60), {"float32": plain.logits(prompts(24, 60))}
    assert kept["float32"].shape == (84, 4096)
    for name, options in (
        ("float16", "dtype=float16"),
        ("bfloat16", "dtype=bfloat16"),
        ("int8", "dtype=float32,quantization=torch_int8"),
    ):
        with opened(options) as engine:
            kept[name] = engine.logits(batch)
    quality = LogitDistance(kept, random_weights=True)
    found = {name: quality("float32", name) for name in kept}
    assert found["float32"].max_abs == 0
    assert 0 < found["float16"].kl_nats < found["bfloat16"].kl_nats < 0.1
    assert found["int8"].kl_nats > found["float16"].kl_nats
    for name, one in found.items():
        assert "nothing about accuracy" in one.notes[0]
        figure(
            f"in process    logits {name:9s} KL {one.kl_nats:.2e} nats, top-1 {one.top1_agreement:.1%} (random weights)"
        )


@pytest.mark.parametrize("decoding", ["sample", "beam", "assisted"])
def test_other_decodings_write_the_asked_number_of_tokens(plain: TransformersInProcess, decoding: str) -> None:
    answer = plain.generate(prompts(16), 10, decoding=decoding)
    assert len(answer.outputs[0]) == 10
    if decoding == "assisted":  # speculation may change the speed, never the answer
        assert answer.outputs == plain.generate(prompts(16), 10).outputs


def test_a_failed_request_leaves_the_child_alive(plain: TransformersInProcess) -> None:
    with pytest.raises(MeasurementError, match="one prompt at a time"):
        plain.generate(prompts(8, 8), 4, decoding="assisted")
    assert len(plain.generate(prompts(8), 4).outputs[0]) == 4


@pytest.mark.parametrize("options", PRECISIONS)
def test_d7_precision_is_read_off_the_loaded_weights(options: str, figure: Callable[[str], None]) -> None:
    with opened(f"size=small,{options}") as engine:
        engine.prefill(prompts(128))
        engine.decode(2)
        read, steps = engine.prefill(prompts(128)), engine.decode(8)
        about = engine.describe()
    assert (about["stored_type"], about["compute_dtype"]) == PRECISIONS[options]
    assert about["versions"]["torch"].startswith("2.")
    assert about["float32_matmul"] == "highest", "no TF32"
    if "bnb" in options:
        assert about["quantization_config"]["llm_int8_threshold"] == 6.0
    decode_ms = 1e3 * min(step.cpu_s for step in steps)
    figure(
        f"in process    {about['stored_type']:9s} products in {about['compute_dtype']:9s} "
        f"prefill-128 {1e3 * read.cpu_s:6.1f} CPU ms, decode {decode_ms:5.1f} CPU ms a token"
    )


def test_d7_four_bits_without_a_kind_record_which_kind_it_was() -> None:
    with opened("dtype=bfloat16,quantization=bnb_int4") as engine:
        assert engine.describe()["stored_type"] in {"FP4", "NF4"}


@pytest.mark.parametrize(("options", "words"), [("compile=1", "CUDA"), ("quantization=ao_int8", "torchao")])
def test_f7_what_this_machine_cannot_do_is_refused_with_its_reason(options: str, words: str) -> None:
    with pytest.raises(AbsentBackendError, match=words), opened(options):
        pass


def test_phases_are_timed_by_boundary_and_by_difference(
    plain: TransformersInProcess, figure: Callable[[str], None]
) -> None:
    found = two_ways(plain, prompts(96, 96), 9, repeats=3)
    assert (found.tokens.output_effective_tokens, found.tokens.decode_tokens) == (18, 16)
    assert found.boundary is None, "no meter was read: energy is absent"
    for name, (prefill, decode) in (("boundary", found.boundary_s), ("difference", found.difference_s)):
        assert prefill.mean_s > 0
        means = f"prefill {1e3 * prefill.mean_s:6.1f} ± {1e3 * prefill.standard_error_s:.1f} ms"
        means += f", decode {1e3 * decode.mean_s:6.1f} ± {1e3 * decode.standard_error_s:.1f} ms for 8 steps of 2 rows"
        figure(f"in process    phases by {name:10s} {means}")
