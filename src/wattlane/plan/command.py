"""A `vllm serve` command line: read what a user runs today, write what the plan wants, and say the difference.

Flags may be written as vLLM accepts them: `--flag value`, `--flag=value`, with underscores for dashes, and the token
budget with a suffix (8k is 8000, 8K is 8192). Flags that say nothing about batching or precision are kept as written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from wattlane.core.errors import InputError

# Flags that change what the law or the scheduler sees, by the deployment field they set.
FIELDS = {
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--gpu-memory-utilization": "gpu_memory_utilization",
}
PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32", "auto": None}
SUFFIXES = {"k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20}


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """A parsed command: the model, the fields it sets, every other flag as it was written, and the whole line.

    `precision` is None where the line leaves it to the checkpoint.
    """

    model: str
    fields: Mapping[str, float] = field(default_factory=dict)
    precision: str | None = None
    others: tuple[str, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class _Flag:
    """One flag as written and the values behind it."""

    name: str
    values: tuple[str, ...]
    written: str


def parse(command: str) -> ServeCommand:
    """Read a `vllm serve MODEL --flag value ...` line (or `--flag=value`); of a repeated flag the last counts.

    Raises:
        InputError: it is not such a line, or values are wrong; all problems together.
    """
    try:
        words = [w for w in shlex.split(command.replace("\\\n", " ")) if w]
    except ValueError as error:
        raise InputError(f"baseline command: {error}; expected a shell line such as `vllm serve MODEL`") from error
    if words[:2] != ["vllm", "serve"] or len(words) < 3 or words[2].startswith("-"):
        raise InputError(f"baseline command: found {command!r}; expected `vllm serve MODEL [--flags]`")
    flags, problems = _flags(words[3:])
    fields: dict[str, float] = {}
    others = []
    for flag in flags:
        if flag.name not in FIELDS:
            others.append(flag.written)
            continue
        number = _number(flag)
        if isinstance(number, str):
            problems.append(number)
        else:
            fields[FIELDS[flag.name]] = number
    precision = _precision(flags, problems)
    seqs, budget = fields.get("max_num_seqs", 0), fields.get("max_num_batched_tokens")
    if budget is not None and seqs > budget:
        problems.append(f"--max-num-seqs is {seqs}, above --max-num-batched-tokens {budget}; vLLM refuses that")
    if problems:
        raise InputError.gathered("baseline command", problems)
    return ServeCommand(words[2], fields, precision, tuple(others), shlex.join(words))


def _flags(words: list[str]) -> tuple[list[_Flag], list[str]]:
    """Return the flags with their values, and what stands before the first flag as problems."""
    groups: list[list[str]] = []
    problems = []
    for word in words:
        if re.match(r"--?[A-Za-z]", word):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
        else:
            problems.append(f"{word!r} belongs to no flag; expected --flag value behind the model")
    flags = []
    for head, *values in groups:
        name, _, value = head.partition("=")
        dashed = name.replace("_", "-") if name.startswith("--") else name
        flags.append(_Flag(dashed, (*([value] if value else []), *values), shlex.join([head, *values])))
    return flags, problems


def _number(flag: _Flag) -> float | str:
    """Return the number a flag sets, or the problem in words."""
    value = " ".join(flag.values)
    if flag.name == "--gpu-memory-utilization":
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        return share if 0.0 < share <= 1.0 else f"{flag.name} is {value!r}; expected a share in (0, 1]"
    suffixed = flag.name == "--max-num-batched-tokens"
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM])|(\d+)", value) if suffixed else re.fullmatch(r"()()(\d+)", value)
    number = 0
    if found is not None:
        number = int(found[3]) if found[3] else int(float(found[1]) * SUFFIXES[found[2]])
    return number if number >= 1 else f"{flag.name} is {value!r}; expected a whole number of at least 1"


def _precision(flags: list[_Flag], problems: list[str]) -> str | None:
    """Return the precision of the weights; a quantised checkpoint says more than its --dtype."""
    precision, quantised = None, False
    for flag in flags:
        value = " ".join(flag.values)
        if flag.name == "--dtype" and value not in PRECISIONS:
            problems.append(f"--dtype is {value!r}; expected one of {', '.join(PRECISIONS)}")
        elif flag.name == "--dtype" and not quantised:
            precision = PRECISIONS[value]
        elif flag.name in {"--quantization", "-q"}:
            quantised, precision = True, "fp8" if value == "fp8" else None
    return precision
