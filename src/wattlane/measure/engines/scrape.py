"""What an engine says of itself while it runs: requests running and waiting, KV cache use, cache hits, token totals.

`GET /metrics` (Prometheus text, as vLLM and llama.cpp write it) once a second from a thread, and once at each edge, so
that the totals of a run are differences. A look that fails is a row without values. Written as `engine.parquet`:

    time_s                              seconds since the start of the run
    running, waiting                    requests
    kv_use                              share of the KV cache in use, 0 to 1
    cache_query_tokens, cache_hit_tokens, input_tokens, output_tokens, preemptions   counted up from the server's start

A column that the engine has no metric for is null throughout: not known, not zero.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wattlane.core.files import write_parquet
from wattlane.measure.engines.ask import get
from wattlane.measure.exposition import samples

if TYPE_CHECKING:
    import polars as pl

KIND = "engine"
FILE = "engine.parquet"
PERIOD_S = 1.0
LIMIT_S = 2.0
# column -> the names it has had: the first that is there is taken, summed over its labels (a share is their mean)
NAMES: Mapping[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running", "llamacpp:requests_processing"),
    "waiting": ("vllm:num_requests_waiting", "llamacpp:requests_deferred"),
    "kv_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "llamacpp:kv_cache_usage_ratio"),
    "cache_query_tokens": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "cache_hit_tokens": (
        "vllm:prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_hits_total",
        "llamacpp:prompt_tokens_cached_total",
    ),
    "input_tokens": ("vllm:prompt_tokens_total", "llamacpp:prompt_tokens_total"),
    "output_tokens": ("vllm:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    "preemptions": ("vllm:num_preemptions_total",),
}
SHARE = "kv_use"
TOTALS = ("cache_query_tokens", "cache_hit_tokens", "input_tokens", "output_tokens", "preemptions")


@dataclass(frozen=True, slots=True)
class Look:
    """One scrape; None for what the engine did not say."""

    time_s: float
    running: float | None = None
    waiting: float | None = None
    kv_use: float | None = None
    cache_query_tokens: float | None = None
    cache_hit_tokens: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    preemptions: float | None = None


def read_metrics(text: str, time_s: float) -> Look:
    """Return the look that a page of Prometheus text holds; values that are no number are left out."""
    said: dict[str, list[float]] = {}
    for sample in samples(text):
        said.setdefault(sample.name, []).append(sample.value)
    found: dict[str, float | None] = {}
    for column, names in NAMES.items():
        values = next((said[name] for name in names if name in said), None)
        whole = None if values is None else sum(values)
        found[column] = whole if whole is None or values is None or column != SHARE else whole / len(values)
    return Look(time_s, **found)


class Scraper:
    """Scrapes `base_url`/metrics inside a `with` block; without such a page it records nothing and says so."""

    def __init__(self, base_url: str, period_s: float = PERIOD_S) -> None:
        self._url = f"{base_url}/metrics"
        self._period_s = period_s
        self.looks: list[Look] = []
        self.reason: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            first = read_metrics(self._get(), time.monotonic())
        except OSError as error:
            self.reason = f"{self._url} gives no metrics ({error})"
            return self
        if all(value is None for name, value in asdict(first).items() if name != "time_s"):
            self.reason = f"{self._url} holds no metric of vLLM or llama.cpp"
            return self
        self.looks.append(first)
        self._thread = threading.Thread(target=self._loop, name="wattlane-scraper", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._look()

    def totals(self) -> dict[str, float | None]:
        """Return what each counter rose by between the first and the last look that had it; None without two."""
        found: dict[str, float | None] = {}
        for name in TOTALS:
            values = [value for look in self.looks if (value := getattr(look, name)) is not None]
            found[name] = values[-1] - values[0] if len(values) >= 2 else None
        return found

    def table(self, origin_s: float) -> pl.DataFrame:
        """Return one row a look, `time_s` since `origin_s`."""
        import polars as pl

        rows: list[dict[str, Any]] = [asdict(look) | {"time_s": look.time_s - origin_s} for look in self.looks]
        return pl.DataFrame(rows, schema={field.name: pl.Float64 for field in fields(Look)})

    def write(self, folder: Path, origin_s: float) -> None:
        """Write `engine.parquet` into `folder` if anything was recorded."""
        if self.looks:
            write_parquet(folder / FILE, KIND, self.table(origin_s))

    def _get(self) -> str:
        return get(self._url, LIMIT_S).decode("utf-8", errors="replace")

    def _look(self) -> None:
        try:
            text = self._get()
        except OSError:
            self.looks.append(Look(time.monotonic()))
        else:
            self.looks.append(read_metrics(text, time.monotonic()))

    def _loop(self) -> None:
        while not self._stop.wait(self._period_s):
            self._look()
