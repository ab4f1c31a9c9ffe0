"""GPU energy from a live DCGM exporter over HTTP (`/metrics`, port 9400): for containers and hosts without NVML.

    energy_j        = DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION / 1e3     (mJ since the driver was loaded)
    average_power_w = DCGM_FI_DEV_POWER_USAGE                        (W; a 1 s average on most cards)
    power_w         = DCGM_FI_DEV_POWER_USAGE_INSTANT                (W; only where the exporter is told to give it)

The exporter is a cache: scraping does not make it read the card. It collects every 30 s unless started with
`--collect-interval`, so its true refresh is found from its values (`wattlane.measure.refresh`) and goes with each
reading as `lag_s`; windows of fewer than five refreshes are refused by the checks. GPUs keep the UUID of their label.
Rows of MIG instances repeat the board's figures: a board is read once and said to be split. Values that DCGM marks as
blank are absent. Sources: https://docs.nvidia.com/datacenter/dcgm/latest/reference/dcgm-exporter-metrics.html,
dcgm_structs.h (DCGM_INT64_BLANK, DCGM_FP64_BLANK).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from wattlane.core.errors import InputError, MeasurementError
from wattlane.core.types import Boundary
from wattlane.measure.engines.ask import get
from wattlane.measure.exposition import samples
from wattlane.measure.readings import Channel, Finding, Reading
from wattlane.measure.refresh import Refresh

if TYPE_CHECKING:
    from wattlane.measure.validity.scene import CardFacts

SOURCE = "dcgm"
PREFIX = "DCGM_FI_DEV_"
ENERGY, AVERAGE, INSTANT, LIMIT = (
    f"{PREFIX}{name}" for name in ("TOTAL_ENERGY_CONSUMPTION", "POWER_USAGE", "POWER_USAGE_INSTANT", "POWER_MGMT_LIMIT")
)
J_PER_MJ = 1e-3
BLANK = 2.0**47  # DCGM writes this and larger numbers for "no value"
PACE_S = 0.1  # the shortest collect interval in use; asking more often tells nothing new
LIMIT_S = 2.0
HOME = "http://127.0.0.1:9400/metrics"


@dataclass(frozen=True, slots=True)
class Row:
    """What a page says of one board, blanks left out; `stamps` are the exporter's own times, if it gives any."""

    uuid: str
    index: str
    name: str
    is_mig: bool
    values: Mapping[str, float]
    stamps: tuple[float, ...]

    def value(self, name: str) -> float | None:
        """Return a metric of the board."""
        return self.values.get(name)

    @property
    def energy_j(self) -> float | None:
        """The counter, joules."""
        value_mj = self.value(ENERGY)
        return None if value_mj is None else value_mj * J_PER_MJ

    @property
    def channel(self) -> Channel:
        """The board as a meter's channel."""
        return Channel(self.uuid, self.energy_j, self.value(INSTANT), self.value(AVERAGE))


def read_page(text: str) -> dict[str, Row]:
    """Return the boards of a page of an exporter by UUID; instances of a split board are one."""
    found: dict[str, Row] = {}
    for sample in samples(text, PREFIX):
        if sample.name not in {ENERGY, AVERAGE, INSTANT, LIMIT}:
            continue
        labels = sample.labels
        uuid = labels.get("UUID") or labels.get("uuid")
        if not uuid:
            continue
        row = found.get(uuid) or Row(uuid, labels.get("gpu", ""), labels.get("modelName", ""), False, {}, ())
        values = dict(row.values)
        if sample.value < BLANK:
            values[sample.name] = sample.value
        stamps = row.stamps if sample.unix_s is None else (*row.stamps, sample.unix_s)
        found[uuid] = Row(uuid, row.index, row.name, row.is_mig or "GPU_I_ID" in labels, values, stamps)
    return {uuid: row for uuid, row in found.items() if {ENERGY, AVERAGE, INSTANT} & set(row.values)}


class DcgmMeter:
    """Reads boards of the exporter at `url`, by UUID or by its `gpu` number; all that it lists when none is named.

    Raises:
        MeasurementError: nothing answers there, or the page holds no energy or power of a GPU.
        InputError: a GPU that is named is not on the page.
    """

    def __init__(
        self,
        url: str = HOME,
        gpus: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.url = url
        self.refresh = Refresh()
        self._clock = clock
        self._fetch = fetch or partial(get, limit_s=LIMIT_S, with_key=False)
        self._rows = self._first()
        self.uuids = _named(url, self._rows, gpus)
        self._last: Reading | None = None

    def read(self) -> Reading:
        """Return what the exporter says; within `PACE_S` of the last scrape the last reading again."""
        asked_s = self._clock()
        if self._last is not None and asked_s - self._last.time_s < PACE_S:
            return self._last
        try:
            rows = read_page(self._fetch(self.url).decode("utf-8", errors="replace"))
        except OSError:
            rows = {}
        time_s = (asked_s + self._clock()) / 2
        seen = [rows.get(uuid) for uuid in self.uuids]
        if any(row is not None for row in seen):
            self._rows = self._rows | rows
            self.refresh.see(time_s, [row and (row.stamps or row.values) for row in seen])
        channels = tuple(
            Channel(uuid) if row is None else row.channel for uuid, row in zip(self.uuids, seen, strict=True)
        )
        self._last = Reading(time_s, SOURCE, Boundary.GPU, channels, lag_s=self.refresh.lag_s)
        return self._last

    def facts(self, device: str) -> CardFacts:
        """Return what the page says of a board beside its energy."""
        from wattlane.measure.validity.scene import CardFacts

        row = self._rows[device]
        return CardFacts(row.name, limit_w=row.value(LIMIT), is_mig=row.is_mig)

    def names(self) -> list[str]:
        """Return one line a board: number, UUID, model."""
        return [f"{self._rows[uuid].index} {uuid} {self._rows[uuid].name}".strip() for uuid in self.uuids]

    def _first(self) -> dict[str, Row]:
        try:
            text = self._fetch(self.url).decode("utf-8", errors="replace")
        except OSError as error:
            raise MeasurementError(
                f"no exporter answers at {self.url} ({error}); expected DCGM exporter's page, as {HOME}"
            ) from error
        rows = read_page(text)
        if not rows:
            seen = ", ".join(sorted({sample.name for sample in samples(text)})[:3]) or "nothing"
            raise MeasurementError(
                f"{self.url} holds no {AVERAGE} or {ENERGY} with a UUID label (it begins with {seen}); name DCGM "
                "exporter's page, and switch these fields on in its collectors file"
            )
        return rows


def find(url: str = HOME) -> list[Finding]:
    """Return what `doctor` says about an exporter on this machine."""
    try:
        meter = DcgmMeter(url, fetch=partial(get, limit_s=0.5, with_key=False))
    except MeasurementError:
        advice = "where NVML is out of reach, name one: wattlane doctor --meter dcgm=http://HOST:9400/metrics"
        return [Finding("sensor", SOURCE, "absent", f"no DCGM exporter answers at {url}", advice)]
    advice = f"find its true refresh: wattlane doctor --self-test 90 --meter {SOURCE}={url}"
    return [
        Finding("sensor", f"{SOURCE} {line}", "limited", f"an exporter at {url}, which repeats old values", advice)
        for line in meter.names()
    ]


def _named(url: str, rows: Mapping[str, Row], gpus: Sequence[str]) -> tuple[str, ...]:
    by_index = {row.index: uuid for uuid, row in rows.items()}
    missing = [gpu for gpu in gpus if gpu not in rows and gpu not in by_index]
    if missing:
        listed = ", ".join(f"{row.index} {uuid}" for uuid, row in rows.items())
        raise InputError(f"{url} lists no GPU {', '.join(missing)}; it lists {listed}")
    return tuple(dict.fromkeys(gpu if gpu in rows else by_index[gpu] for gpu in gpus)) or tuple(rows)
