"""Turn a target (`xllamacpp:slots=8` or a URL) into an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wattlane.core.errors import UnknownNameError
from wattlane.measure.engines import transformers_serve, vllm, xllamacpp
from wattlane.measure.engines.base import Engine
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.engines.transformers_serve import TransformersServeEngine
from wattlane.measure.engines.vllm import VllmEngine
from wattlane.measure.engines.xllamacpp import XllamacppEngine
from wattlane.measure.spec import Spec, parse_spec

ENGINES: Mapping[str, Callable[[Spec], Engine]] = {
    transformers_serve.NAME: TransformersServeEngine,
    vllm.NAME: VllmEngine,
    xllamacpp.NAME: XllamacppEngine,
}


def open_engine(target: str) -> Engine:
    """Return the engine of `target`, not yet started: `NAME[:key=value,...]` or `http://HOST:PORT[,model=NAME]`.

    Raises:
        UnknownNameError: no engine has that name.
        InputError: an option is unknown or malformed.
    """
    if target.startswith(("http://", "https://")):
        url, _, options = target.partition(",")
        return ExternalEngine(url, parse_spec(f"{url.partition(':')[0]}:{options}"))
    spec = parse_spec(target)
    if spec.name in ENGINES:
        return ENGINES[spec.name](spec)
    raise UnknownNameError("engine", spec.name, [*ENGINES, "http://HOST:PORT"])
