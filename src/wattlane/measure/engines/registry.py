"""Turn a target (`xllamacpp:slots=8` or a URL) into an engine."""

from __future__ import annotations

from wattlane.core.errors import UnknownNameError
from wattlane.measure.engines.base import Engine
from wattlane.measure.engines.external import ExternalEngine
from wattlane.measure.engines.xllamacpp import NAME, XllamacppEngine
from wattlane.measure.spec import parse_spec


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
    if spec.name == NAME:
        return XllamacppEngine(spec)
    raise UnknownNameError("engine", spec.name, [NAME, "http://HOST:PORT"])
