"""An OpenAI-compatible server that somebody else runs: used as found, never started or stopped by us.

`GET /v1/models` names the model and often the maker (`owned_by`), which tells whether prompts may be token ids and how
to fix the output length. A server that does not answer there can still be driven when the model is named.
"""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from wattlane.core.errors import InputError, MeasurementError
from wattlane.measure.engines.ask import get
from wattlane.measure.engines.base import Habits
from wattlane.measure.spec import Spec

NAME = "external"
ANSWER_LIMIT_S = 5.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# ids above specials and single bytes, inside every vocabulary met so far
PLAIN_TOKEN_IDS = (300, 1000)
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "llamacpp": {"ignore_eos": True, "cache_prompt": False},
    "vllm": {"ignore_eos": True},
}


class ExternalEngine:
    """A server at `url` (with or without `/v1`); option `model=NAME` overrides what it lists."""

    def __init__(self, url: str, spec: Spec) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"found the URL {url!r}; expected http://HOST:PORT of an OpenAI-compatible server")
        self._base_url = url.rstrip("/").removesuffix("/v1")
        self._host = parts.hostname
        self._model = str(spec.options_as({"model": ""})["model"])
        self._maker = "unknown"

    @property
    def base_url(self) -> str:
        """Address in front of `/v1`."""
        return self._base_url

    @property
    def model(self) -> str:
        """Name to put into requests."""
        return self._model

    @property
    def pid(self) -> int | None:
        """None: the process is somebody else's."""
        return None

    @property
    def habits(self) -> Habits:
        """Token-id prompts and a fixed output length where the maker is known to take them."""
        fields = KNOWN.get(self._maker)
        return Habits(
            request_fields=fields or {},
            token_ids=PLAIN_TOKEN_IDS if fields else None,
            is_local=self._host in LOOPBACK,
        )

    def __enter__(self) -> Self:
        listed = _models(self._base_url)
        if listed:
            self._maker = str(listed[0].get("owned_by", "unknown"))
            self._model = self._model or str(listed[0].get("id", ""))
        if not self._model:
            raise MeasurementError(
                f"{self._base_url}/v1/models lists no model; name the one to ask for: '{self._base_url},model=NAME'"
            )
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def exit_reason(self) -> str | None:
        """Return None: an external server is judged by its answers alone."""
        return None

    def describe(self) -> dict[str, Any]:
        """Return what the server said of itself."""
        return {"name": NAME, "version": None, "model": self._model, "maker": self._maker, "url": self._base_url}


def _models(base_url: str) -> list[dict[str, Any]]:
    """Return the listed models; empty when the server answers but lists none.

    Raises:
        MeasurementError: nothing answers at the address, or it refuses us.
    """
    try:
        body = json.loads(get(f"{base_url}/v1/models", ANSWER_LIMIT_S))
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:
            raise MeasurementError(
                f"{base_url} refuses us (HTTP {error.code}); set WATTLANE_API_KEY to the server's key"
            ) from error
        return []
    except (OSError, ValueError) as error:
        raise MeasurementError(
            f"no OpenAI-compatible server answers at {base_url} ({error}); start it or correct the address"
        ) from error
    data = body.get("data") if isinstance(body, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
