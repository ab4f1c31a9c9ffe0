"""What the servers that we start ourselves have in common: options checked, a process, an address, an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.measure.engines.process import ServerProcess, core_set, free_port
from wattlane.measure.gguf_model import SHAPES
from wattlane.measure.spec import Spec, Value


class SpawnedEngine:
    """A server process of ours; what it runs and how it wants to be asked is the engine's own.

    Raises:
        InputError: an option is unknown, not a whole number of at least 1 where `counts` names it, or no model size.
    """

    def __init__(self, name: str, spec: Spec, defaults: Mapping[str, Value], counts: Sequence[str]) -> None:
        self.options = spec.options_as(defaults)
        small = [option for option in counts if int(self.options[option]) < 1]
        if small:
            raise InputError.gathered(
                name, [f"{option} is {self.options[option]}; expected an integer of at least 1" for option in small]
            )
        if self.options["size"] not in SHAPES:
            raise UnknownNameError("model size", str(self.options["size"]), SHAPES)
        self._server = ServerProcess(name, core_set(str(self.options["cores"])))
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """Address in front of `/v1`."""
        return self._base_url

    @property
    def pid(self) -> int | None:
        """Process id of the server; what else it starts are its children."""
        return self._server.pid

    @property
    def vocabulary(self) -> int:
        """Token ids of the random model."""
        return SHAPES[str(self.options["size"])].vocabulary_tokens

    def __exit__(self, *exception: object) -> None:
        self._server.stop()

    def exit_reason(self) -> str | None:
        """Return None while the server runs, else how it ended."""
        return self._server.exit_reason()

    def _free_port(self) -> int:
        """Return a port for the server, whose address this is from now on."""
        port = free_port()
        self._base_url = f"http://127.0.0.1:{port}"
        return port

    def _own_options(self) -> dict[str, Value]:
        """Return the options without those that name places on this machine."""
        return {key: value for key, value in self.options.items() if key not in {"model", "python"}}
