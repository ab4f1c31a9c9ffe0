"""What an engine says of itself is read as it is written; what it does not say stays unknown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wattlane.core.files import read_parquet
from wattlane.measure.engines.scrape import FILE, KIND, Scraper, read_metrics

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="a } b"} 0.25
vllm:prompt_tokens_total{engine="0"} 1.36e+02
vllm:prompt_tokens_created{engine="0"} 1.79e+09
vllm:generation_tokens_total{engine="0"} NaNN
"""


def test_labels_are_summed_and_near_names_are_not_taken() -> None:
    look = read_metrics(VLLM, 1.0)
    assert (look.running, look.waiting, look.input_tokens) == (5.0, 7.0, 136.0)


def test_a_brace_inside_a_label_is_part_of_the_label() -> None:
    assert read_metrics(VLLM, 1.0).kv_use == 0.25


def test_the_share_of_several_engines_is_their_mean_and_never_above_one() -> None:
    page = VLLM + 'vllm:kv_cache_usage_perc{engine="1"} 0.95\n'
    assert read_metrics(page, 1.0).kv_use == pytest.approx(0.6)


def test_what_is_not_said_is_unknown_and_not_zero() -> None:
    look = read_metrics(VLLM, 1.0)
    assert look.cache_hit_tokens is None
    assert look.output_tokens is None


def test_llama_cpp_has_its_own_names() -> None:
    look = read_metrics("llamacpp:prompt_tokens_total 136\nllamacpp:requests_deferred 4\n", 0.0)
    assert (look.input_tokens, look.waiting, look.kv_use) == (136.0, 4.0, None)


class Page(BaseHTTPRequestHandler):
    tokens = 0.0
    status = 200

    def do_GET(self) -> None:
        type(self).tokens += 10
        body = f"llamacpp:prompt_tokens_total {self.tokens}\n".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def page() -> Iterator[str]:
    Page.tokens, Page.status = 0.0, 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_is_looked_at_from_edge_to_edge_and_written(page: str, tmp_path) -> None:
    with Scraper(page, period_s=0.05) as scraper:
        threading.Event().wait(0.3)
    assert len(scraper.looks) >= 3
    assert scraper.totals()["input_tokens"] == 10 * (len(scraper.looks) - 1)
    assert scraper.totals()["output_tokens"] is None
    scraper.write(tmp_path, scraper.looks[0].time_s)
    table = read_parquet(tmp_path / FILE, KIND, ["time_s", "running", "input_tokens"])
    assert table["time_s"][0] == 0
    assert table["running"].null_count() == len(table)


def test_a_look_that_fails_is_a_row_without_values(page: str) -> None:
    with Scraper(page, period_s=10) as scraper:
        Page.status = 500
    assert scraper.looks[-1].input_tokens is None
    assert len(scraper.looks) == 2


def test_a_server_without_metrics_is_no_fault(tmp_path) -> None:
    with Scraper("http://127.0.0.1:9", period_s=0.01) as scraper:
        pass
    scraper.write(tmp_path, 0.0)
    assert scraper.looks == []
    assert "no metrics" in (scraper.reason or "")
    assert list(tmp_path.iterdir()) == []
