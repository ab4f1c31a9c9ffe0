"""Energy sources by name, as `--meter` and `meter = ` take them, and what a meter knows of its devices.

    nvml[=UUID+UUID]   rapl   dcgm=URL[,gpu=UUID+UUID]   trtllm=URL   amd[=UUID+UUID]   soc

Each opens on demand: a library that is not installed costs nothing until its source is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from wattlane.core.errors import InputError, UnknownNameError
from wattlane.measure.readings import Meter, Reading

if TYPE_CHECKING:
    from wattlane.measure.validity.scene import CardFacts

FORMS = "nvml[=UUID+UUID], rapl, dcgm=URL[,gpu=UUID+UUID], trtllm=URL, amd[=UUID+UUID], soc"


@runtime_checkable
class KnowsDevices(Protocol):
    """A meter that can say more of its devices than their energy."""

    def facts(self, device: str) -> CardFacts:
        """Return what is known of a device of this meter."""
        ...


def facts_of(meter: Meter | None, device: str) -> CardFacts:
    """Return what a meter knows of a device; nothing known where it cannot say."""
    from wattlane.measure.validity.scene import CardFacts

    return meter.facts(device) if isinstance(meter, KnowsDevices) else CardFacts()


def highest_w_of(meter: Meter | None, reading: Reading) -> float | None:
    """Return the sum of the power limits of the devices in a reading; None where one is not known."""
    limits = [facts_of(meter, channel.device).cap_w for channel in reading.channels]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None


def source_name(text: str) -> str:
    """Return the name of the source in `text`.

    Raises:
        UnknownNameError: no source has that name.
    """
    name = text.strip().partition("=")[0]
    if name not in SOURCES:
        raise UnknownNameError("meter", name, SOURCES, f"Write one of {FORMS}.")
    return name


def open_source(text: str) -> Meter:
    """Return the meter that `text` names; see `FORMS`.

    Raises:
        UnknownNameError: no source has that name.
        InputError: an address is missing or not wanted, or a device is not listed.
        MissingExtraError: the library of that source is not installed.
        MeasurementError: the source does not answer.
    """
    return SOURCES[source_name(text)](text.strip().partition("=")[2])


def open_for_engine(text: str) -> Meter:
    """Return the meter that `text` names for the energy of one engine: its devices are named, or there is only one.

    Raises:
        InputError: it lists several devices and none was named: a sum over idle ones is not the engine's energy.
        WattlaneError: as `open_source`.
    """
    meter = open_source(text)
    uuids: tuple[str, ...] = getattr(meter, "uuids", ())
    is_named = "gpu=" in text or text.strip().startswith(("nvml=", "amd="))
    if len(uuids) > 1 and not is_named:
        raise InputError(
            f"meter {text}: it lists {len(uuids)} devices ({', '.join(uuids)}); name those that the engine works on, "
            "joined by +"
        )
    return meter


def _nvml(rest: str) -> Meter:
    from wattlane.measure.meters.nvml import NvmlMeter, cards, connect

    library = connect()
    return NvmlMeter(_joined(rest) or [card.uuid for card in cards(library)], library)


def _rapl(rest: str) -> Meter:
    from wattlane.measure.meters.rapl import RaplMeter

    if rest:
        raise InputError(f"meter rapl={rest}: found a value; expected rapl alone, it sums the whole machine")
    return RaplMeter()


def _dcgm(rest: str) -> Meter:
    from wattlane.measure.meters.dcgm import HOME, DcgmMeter

    url, _, option = rest.partition(",")
    key, _, names = option.partition("=")
    if option and (key.strip() != "gpu" or not names):
        raise InputError(f"meter dcgm={rest}: found {option!r}; expected gpu=UUID+UUID after the address")
    return DcgmMeter(_address("dcgm", url) if url else HOME, _joined(names))


def _trtllm(rest: str) -> Meter:
    from wattlane.measure.meters.trtllm import TrtllmMeter

    return TrtllmMeter(_address("trtllm", rest))


def _amd(rest: str) -> Meter:
    from wattlane.measure.meters.zeus_amd import AmdMeter

    return AmdMeter(_joined(rest))


def _soc(rest: str) -> Meter:
    from wattlane.measure.meters.zeus_soc import SocMeter

    if rest:
        raise InputError(f"meter soc={rest}: found a value; expected soc alone, it is one chip")
    return SocMeter()


SOURCES: Mapping[str, Callable[[str], Meter]] = {
    "nvml": _nvml,
    "rapl": _rapl,
    "dcgm": _dcgm,
    "trtllm": _trtllm,
    "amd": _amd,
    "soc": _soc,
}


def _joined(text: str) -> list[str]:
    return [part.strip() for part in text.split("+") if part.strip()]


def _address(name: str, url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"meter {name}={url}: expected an address, as {name}=http://HOST:PORT")
    return url
