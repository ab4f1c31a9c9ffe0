"""Where query responses come from: a file, a folder of files, or a Prometheus server.

A file is one JSON object `{"queries": {metric: response, …}}`; a folder holds one response a file, named after the
metric with `_` for `:`, as `vllm_request_prompt_tokens_bucket.json` (the name inside the response wins).
"""

from __future__ import annotations

import datetime
import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattlane.core.errors import FileFormatError, InputError
from wattlane.core.files import existing
from wattlane.workload.metrics.queries import KNOWN, PROMETHEUS_QUERIES, plain
from wattlane.workload.metrics.responses import by_name

# Prometheus refuses a range query of more points a series than this.
MOST_POINTS = 11_000
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Range:
    """What to ask a server: Unix times, the step, label matchers, and request headers (as Authorization)."""

    start_s: float
    end_s: float
    step_s: float = 60.0
    selector: str = ""
    gpu_selector: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def unix_time(text: str) -> float:
    """Return Unix seconds from a number or an ISO 8601 time; without a zone it is UTC.

    Raises:
        InputError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"time {text!r}: expected Unix seconds or ISO 8601, as 2026-05-01T00:00:00Z") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def from_file(path: Path) -> dict[str, Any]:
    """Return the responses in a file or folder by metric; metrics that are not known are left out.

    Raises:
        InputError: there is no such file, or it is not JSON of that form.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        bodies = [(file.stem, _read(file)) for file in files]
        found = {by_name(body) or stem: body for stem, body in bodies}
    else:
        body = _read(existing(path))
        queries = body.get("queries") if isinstance(body, dict) else None
        if not isinstance(queries, dict):
            raise FileFormatError(f'{path}: expected one JSON object {{"queries": {{metric: query_range response}}}}')
        found = queries
    return {KNOWN[plain(name)]: response for name, response in found.items() if plain(name) in KNOWN}


def from_server(url: str, span: Range) -> dict[str, Any]:
    """Return the responses of a Prometheus server by metric.

    Raises:
        InputError: the range is wrong, the server cannot be reached, or it refuses a query.
    """
    if not (math.isfinite(span.start_s) and span.start_s < span.end_s < math.inf and span.step_s > 0):
        raise InputError(f"range {span.start_s} to {span.end_s} step {span.step_s} s; expected start < end and a step")
    if (span.end_s - span.start_s) / span.step_s > MOST_POINTS:
        least_s = math.ceil((span.end_s - span.start_s) / MOST_POINTS)
        raise InputError(
            f"step {span.step_s:g} s: Prometheus gives at most {MOST_POINTS:,} points; use {least_s} s or more"
        )
    base = url.rstrip("/").removesuffix("/api/v1/query_range")
    responses, problems = {}, []
    for metric, query in PROMETHEUS_QUERIES.items():
        try:
            responses[metric] = _ask(base, query.text(span.selector, span.gpu_selector), span)
        except InputError as error:
            problems.append(f"{metric}: {error}")
    if problems:
        raise InputError.gathered(url, problems)
    return responses


def raw_samples(url: str, query: str, start_s: float, end_s: float, headers: Mapping[str, str] | None = None) -> Any:
    """Return the response with every sample a server kept between two Unix times, at the times it was scraped.

    Unlike `query_range`, which repeats the last value on a grid of steps.

    Raises:
        InputError: the range is wrong, the server cannot be reached, or it refuses the query.
    """
    if not (math.isfinite(start_s) and start_s < end_s < math.inf):
        raise InputError(f"range {start_s} to {end_s}; expected start < end, Unix seconds")
    values = {"query": f"{query}[{math.ceil((end_s - start_s) * 1e3)}ms]", "time": f"{end_s:.3f}"}
    return _get(f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode(values)}", headers or {})


def _ask(base: str, query: str, span: Range) -> Any:
    values = {"query": query, "start": f"{span.start_s:.3f}", "end": f"{span.end_s:.3f}", "step": f"{span.step_s:g}"}
    return _get(f"{base}/api/v1/query_range?{urllib.parse.urlencode(values)}", span.headers)


def _get(address: str, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(address, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise InputError(f"the server answered {error.code}: {_reason(error.read())}") from error
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"no answer ({error}); check the address and that the server is reachable") from error
    except ValueError as error:
        raise InputError(f"the answer is not JSON ({error}); expected a Prometheus server at this address") from error


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:200] or "no reason given"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{path}: not valid JSON ({error}); the file is truncated or of another kind") from error
