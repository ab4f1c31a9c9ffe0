"""A `vllm serve` command line: read what a user runs today, write what the plan wants, and say the difference."""

from __future__ import annotations

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
PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32", "auto": "bf16"}
SCHEDULING = ("--max-num-seqs", "--max-num-batched-tokens")


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """A parsed command: the model, the fields it sets, and every other flag kept as it was."""

    model: str
    fields: Mapping[str, float] = field(default_factory=dict)
    precision: str | None = None
    others: tuple[str, ...] = ()


def parse(command: str) -> ServeCommand:
    """Read a `vllm serve MODEL --flag value ...` line (or `--flag=value`).

    Raises:
        InputError: it is not such a line, or a value is not a number; all problems together.
    """
    try:
        words = [w for w in shlex.split(command.replace("\\\n", " ")) if w]
    except ValueError as error:
        raise InputError(f"baseline command: {error}; expected a shell line such as `vllm serve MODEL`") from error
    if words[:2] != ["vllm", "serve"] or len(words) < 3 or words[2].startswith("-"):
        raise InputError(f"baseline command: found {command!r}; expected `vllm serve MODEL [--flags]`")
    pairs = _pairs(words[3:])
    fields: dict[str, float] = {}
    others, problems, precision = [], [], None
    for flag, value in pairs:
        if flag in FIELDS:
            try:
                number = float(value or "")
                fields[FIELDS[flag]] = number if flag == "--gpu-memory-utilization" else int(number)
            except ValueError:
                problems.append(f"{flag} is {value!r}; expected a number")
        elif flag == "--dtype":
            if value not in PRECISIONS:
                problems.append(f"--dtype is {value!r}; expected one of {', '.join(PRECISIONS)}")
            precision = PRECISIONS.get(value or "")
            others.append(f"--dtype {value}")
        else:
            others.append(flag if value is None else f"{flag} {shlex.quote(value)}")
    if problems:
        raise InputError.gathered("baseline command", problems)
    return ServeCommand(words[2], fields, precision, tuple(others))


def _pairs(words: list[str]) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    i = 0
    while i < len(words):
        flag, _, value = words[i].partition("=")
        if value:
            pairs.append((flag, value))
        elif i + 1 < len(words) and not words[i + 1].startswith("--"):
            pairs.append((flag, words[i + 1]))
            i += 1
        else:
            pairs.append((flag, None))
        i += 1
    return pairs
