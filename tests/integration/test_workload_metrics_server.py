"""Workloads rebuilt from a Prometheus server on this machine, and through the command line."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prometheus_history import START_S, STEP_S, STEPS, responses_of, saved, truth
from wattlane.core.errors import InputError
from wattlane.workload.metrics.convert import from_metrics
from wattlane.workload.metrics.queries import INPUT_BUCKETS, INPUT_SUM, OUTPUT_BUCKETS, PROMETHEUS_QUERIES
from wattlane.workload.metrics.sources import Range


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, Any], list[dict[str, list[str]]]]]:
    """A Prometheus-like server on this machine: metric -> response, and the queries it saw."""
    responses: dict[str, Any] = {}
    seen: list[dict[str, list[str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
            seen.append({**query, "authorization": [self.headers.get("Authorization", "")], "path": [self.path]})
            metric = query["query"][0].partition("{")[0]
            empty = {"status": "success", "data": {"resultType": "matrix", "result": []}}
            found = responses.get(metric, empty)
            status, body = found if isinstance(found, tuple) else (200, found)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", responses, seen
    running.shutdown()
    thread.join()
    running.server_close()


Server = tuple[str, dict[str, Any], list[dict[str, list[str]]]]


def test_a_server_is_asked_for_every_query_and_gives_the_same_workload(server: Server, tmp_path: Path) -> None:
    url, responses, seen = server
    known = truth()
    responses.update(responses_of(known))
    span = Range(
        START_S, START_S + STEPS * STEP_S, STEP_S, 'model_name="llama"', 'gpu="0"', {"Authorization": "Bearer t"}
    )
    made = from_metrics(url, span=span, seed=1)
    assert made.workload.input_tokens.sum() == known.input_tokens.sum()
    assert (
        made.workload.arrival_s.tobytes()
        == from_metrics(saved(tmp_path, responses), seed=1).workload.arrival_s.tobytes()
    )
    assert {query["query"][0].partition("{")[0] for query in seen} == set(PROMETHEUS_QUERIES)
    assert all(query["authorization"] == ["Bearer t"] and query["step"] == ["60"] for query in seen)
    assert {query["query"][0].partition("{")[2] for query in seen} == {'model_name="llama"}', 'gpu="0"}'}


def test_a_server_that_refuses_is_reported_with_its_reason(server: Server) -> None:
    url, responses, _ = server
    responses[INPUT_BUCKETS] = (400, {"status": "error", "error": "parse error: bad matcher"})
    responses[OUTPUT_BUCKETS] = (502, b"")
    responses[INPUT_SUM] = (200, b"<html>")
    with pytest.raises(InputError, match="3 problems") as raised:
        from_metrics(url, span=Range(0, 600))
    assert "answered 400: parse error: bad matcher" in str(raised.value)
    assert "answered 502: no reason given" in str(raised.value)
    assert "not JSON" in str(raised.value)


def test_a_server_that_is_not_there_says_so() -> None:
    with pytest.raises(InputError, match="no answer"):
        from_metrics("http://127.0.0.1:9", span=Range(0, 600))
