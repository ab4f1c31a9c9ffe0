"""A local HTTP server that behaves as an exporter: its page is renewed now and then, lags, and may freeze."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UUID = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
LABELS = (
    'gpu="{gpu}",UUID="{uuid}",pci_bus_id="00000000:00:04.0",device="nvidia{gpu}",modelName="NVIDIA H100 80GB HBM3"'
)


def page(boards: dict[str, tuple[float, float]], extra: str = "") -> str:
    """The text of DCGM exporter for boards of (joules, watts); `extra` goes into every label set."""
    lines = ["# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).", "# TYPE DCGM_FI_DEV_SM_CLOCK gauge"]
    for gpu, (uuid, (energy_j, power_w)) in enumerate(boards.items()):
        labels = LABELS.format(gpu=gpu, uuid=uuid) + extra
        lines += [
            f"DCGM_FI_DEV_SM_CLOCK{{{labels}}} 1980",
            f"DCGM_FI_DEV_POWER_USAGE{{{labels}}} {power_w:.6f}",
            f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{labels}}} {energy_j * 1e3:.0f}",
        ]
    return "\n".join(lines) + "\n"


@dataclass
class Exporter:
    """`energy_j(t)` and `power_w(t)` are the truth at t seconds after `start_s`; the page is a cache of it."""

    energy_j: Callable[[float], float]
    power_w: Callable[[float], float]
    refresh_s: float = 1.0
    lag_s: float = 0.0
    freeze_s: float = float("inf")
    uuids: tuple[str, ...] = (UUID,)
    clock: Callable[[], float] = time.monotonic
    start_s: float = field(init=False)
    scrapes: int = 0

    def __post_init__(self) -> None:
        self.start_s = self.clock()

    def text(self) -> str:
        since_s = min(self.clock() - self.start_s, self.freeze_s)
        shown_s = since_s // self.refresh_s * self.refresh_s - self.lag_s
        self.scrapes += 1
        return page(dict.fromkeys(self.uuids, (self.energy_j(shown_s), self.power_w(shown_s))))


def stepped(low_w: float, high_w: float, at_s: float, until_s: float = float("inf")):
    """Return (energy, power) functions of a load that is high between two instants."""

    def power_w(t: float) -> float:
        return high_w if at_s <= t < until_s else low_w

    def energy_j(t: float) -> float:
        return 5000.0 + low_w * t + (high_w - low_w) * max(min(t, until_s) - at_s, 0.0)

    return energy_j, power_w


@contextmanager
def answering(pages: dict[str, Callable[[], tuple[int, str]]]) -> Iterator[str]:
    """Serve paths on loopback, each answered with (status, body); yields the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = pages.get(self.path, lambda: (404, "not here"))()
            raw = body.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exporting(exporter: Exporter):
    """Serve an exporter at /metrics."""
    return answering({"/metrics": lambda: (200, exporter.text())})


def trtllm_body(energy_j: float, query_time: float) -> str:
    """The answer of trtllm-serve's /energy_metrics."""
    return json.dumps({"total_energy_j": round(energy_j, 4), "query_time": query_time})
