"""Spread trials over an existing Ray cluster, one GPU a trial; the files come back with the result.

A worker sees one GPU. CUDA is told to number GPUs as NVML does, and the meter is that GPU's alone, so that two trials
on one node are metered apart. Source: https://docs.ray.io/en/latest/ray-core/scheduling/accelerators.html
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wattlane.core.cluster import connected
from wattlane.core.errors import MeasurementError
from wattlane.core.files import atomic
from wattlane.measure.campaigns.trials import Outcome, Runner, Status, Trial, attempt, measure
from wattlane.measure.engines import xllamacpp
from wattlane.measure.engines.installed import look_into
from wattlane.measure.meters.nvml import NvmlMeter, cards, connect
from wattlane.measure.spec import parse_spec

LAST = "measurement.json"  # what makes a trial finished is written after everything else


class OnRay:
    """Runs each trial as a task that asks for one GPU.

    Raises:
        MissingExtraError: Ray is not installed.
        MeasurementError: the cluster cannot be reached or has no GPU.
    """

    def __init__(self, out: Path, address: str, ray: Any = None) -> None:
        self._out = out
        self._ray = connected(address, ray)
        gpus = self._ray.cluster_resources().get("GPU", 0)
        if gpus < 1:
            raise MeasurementError(
                f"the Ray cluster at {address!r} has {gpus:g} GPUs; expected one or more, one a trial"
            )
        self._remote = self._ray.remote(num_gpus=1, scheduling_strategy="SPREAD", max_retries=0)(away)

    def run(self, trials: Iterable[Trial]) -> Iterator[Outcome]:
        """Submit all trials and yield each outcome as it ends, its files written below the campaign's folder."""
        waiting = [(self._remote.remote(trial), trial) for trial in trials]
        while waiting:
            ready, _ = self._ray.wait([reference for reference, _ in waiting], num_returns=1)
            for reference, trial in [pair for pair in waiting if pair[0] in ready]:
                waiting.remove((reference, trial))
                try:
                    outcome = self._ray.get(reference)
                except Exception as error:  # noqa: BLE001 Ray raises its own and the task's errors; each is a failed trial
                    outcome = Outcome(trial, Status.FAILED, f"{type(error).__name__}: {error}")
                yield take_in(outcome, self._out)


def away(trial: Trial, runner: Runner | None = None) -> Outcome:
    """Run a trial on a worker and return it with its files."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    with tempfile.TemporaryDirectory(prefix="wattlane-trial-") as place:
        folder = Path(place) / "run"
        outcome = attempt(trial, folder, runner or measure_on_own_gpu)
        files = {file.name: file.read_bytes() for file in folder.iterdir()} if folder.is_dir() else {}
        return replace(outcome, files=files)


def take_in(outcome: Outcome, out: Path) -> Outcome:
    """Write an outcome's files, the one that says finished last; return the outcome without them."""
    folder = out / outcome.trial.place
    for name in sorted(outcome.files, key=lambda name: name == LAST):
        with atomic(folder / name) as temporary:
            temporary.write_bytes(outcome.files[name])
    return replace(outcome, files={})


def measure_on_own_gpu(trial: Trial, folder: Path) -> None:
    """Measure with the meter that the cell names, else with that of the one GPU that this worker was given.

    An engine that computes on the CPU is metered as it is without a cluster: the idle GPU says nothing of it.
    """
    is_own = trial.cell.meter is None and on_gpu(trial.cell.target)
    measure(trial, folder, own_meter() if is_own else None)


def on_gpu(target: str) -> bool:
    """Return whether the engine of `target` is one of ours that computes on the worker's GPU."""
    if target.startswith(("http://", "https://")):
        return False
    spec = parse_spec(target)
    if spec.name == xllamacpp.NAME or spec.options.get("device", "") == "cpu":
        return False
    return not look_into(spec.options.get("python", "")).is_cpu_only


def own_meter(library: Any = None) -> NvmlMeter:
    """Return the meter of the GPU in CUDA_VISIBLE_DEVICES, given by index in NVML's order or by UUID.

    Raises:
        MeasurementError: not exactly one GPU is visible, or NVML does not list it.
    """
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    if len(visible) != 1:
        raise MeasurementError(f"CUDA_VISIBLE_DEVICES is {','.join(visible)!r}; expected the one GPU of this worker")
    nvml = connect(library)
    uuids = [card.uuid for card in cards(nvml)]
    name = visible[0].strip()
    uuid = uuids[int(name)] if name.isdigit() and int(name) < len(uuids) else name
    if uuid not in uuids:
        raise MeasurementError(
            f"NVML lists {', '.join(uuids) or 'no GPU'}; expected {name!r}, which this worker was given"
        )
    return NvmlMeter([uuid], nvml)
