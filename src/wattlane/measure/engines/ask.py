"""One blocking GET for health and model lists; no proxy, because the load client uses none either."""

from __future__ import annotations

import urllib.request

from wattlane.core.env import api_key

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, limit_s: float, *, with_key: bool = True) -> bytes:
    """Return the body of `url`; raise `urllib.error.URLError` or `OSError` when it does not answer with success.

    The API key is the engine's: leave it out (`with_key`) where something else is asked.
    """
    key = api_key() if with_key else None
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with _opener.open(request, timeout=limit_s) as response:
        body: bytes = response.read()
        return body
