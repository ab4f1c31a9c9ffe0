"""The workload of a measurement: one in hand, a file, or a short text such as `poisson:n=100,rate_rps=20,input=64`."""

from __future__ import annotations

from pathlib import Path

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.core.workload import Workload
from wattlane.measure.spec import Spec, parse_spec

DEFAULTS: dict[str, int | float | str] = {"n": 100, "input": 64, "output": 32}
EXAMPLE = "poisson:n=100,rate_rps=20,input=64,output=32"


def resolve_workload(given: Workload | Path | str, seed: int) -> Workload:
    """Return the workload that `given` names: itself, the file at that path, or a generated one.

    A generated one has `n` requests of `input` and `output` tokens each; its other options are those of the arrival
    process of that name (`wattlane workload generate --help` lists them).

    Raises:
        InputError: no such file and no such arrival process, or an option is wrong.
    """
    if isinstance(given, Workload):
        return given
    text = str(given)
    if Path(text).exists():
        from wattlane.workload.loading import load

        return load(Path(text)).workload
    return _generated(text, parse_spec(text), seed)


def _generated(text: str, spec: Spec, seed: int) -> Workload:
    from wattlane.workload.arrivals import ARRIVALS
    from wattlane.workload.generation import generate

    if spec.name not in ARRIVALS:
        hint = f"Or give the path of a file, or a text such as {EXAMPLE}."
        raise UnknownNameError("workload", text, ARRIVALS, hint)
    own = Spec(text, {key: value for key, value in spec.options.items() if key in DEFAULTS}).options_as(DEFAULTS)
    wrong = [f"{key} is {value}; expected at least 1" for key, value in own.items() if int(value) < 1]
    if wrong:
        raise InputError.gathered(text, wrong)
    arrival = {"kind": spec.name} | {key: value for key, value in spec.options.items() if key not in DEFAULTS}
    lengths = {"kind": "fixed", "input_tokens": int(own["input"]), "output_tokens": int(own["output"])}
    return generate(arrival=arrival, lengths=lengths, n=int(own["n"]), seed=seed, name=text)
