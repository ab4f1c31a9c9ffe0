"""What metering costs: import time, seconds per window, share of a core, and error on the simulated card.

    python benchmarks/meter_cost.py [--seconds 10] [--peers PYTHON] [--json]

    import     CPU seconds (user + sys) of a fresh interpreter that imports the module, less those of an empty one
    window     median of entering and of leaving a window, microseconds
    telemetry  CPU seconds of the thread over wall seconds, polling 8 simulated cards: with a window open and no edges,
               and with more of them opened and closed meanwhile
    error      root mean square relative error, gain apart, of windows of 1-2 s on simulated cards of many draws

`--peers` names the Python of a virtual environment that holds zeus and codecarbon; what is absent there is skipped with
the reason. Zeus's windows and CodeCarbon's tasks are given the counter of the same simulated cards, for the windows of
"unaligned" (`zeus_on_card.py`, `codecarbon_on_card.py`); their entering and leaving is bookkeeping alone, as reading
the counter is free there. CodeCarbon's tasks look after CPU and memory as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from wattlane.core.types import Boundary, Origin
from wattlane.measure.live import Telemetry
from wattlane.measure.meters.simulated import SimulatedMeter
from wattlane.measure.readings import Reading

CARDS = 8
PEERS = {"zeus": "from zeus.monitor import ZeusMonitor", "codecarbon": "from codecarbon import EmissionsTracker"}


class Cards:
    """Eight simulated cards of constant power behind one `read`."""

    def __init__(self) -> None:
        self._cards = [SimulatedMeter.constant(100.0 + i, tick_s=0.1) for i in range(CARDS)]

    def read(self) -> Reading:
        """Return all channels at once."""
        now_s = time.monotonic()
        channels = tuple([card.channel(now_s) for card in self._cards])
        return Reading(now_s, "simulated", Boundary.GPU, channels, Origin.MODELLED)


def import_cpu_s(python: str, statement: str, runs: int = 5) -> float | str:
    """Return median CPU seconds of an import, or the last line of the error."""

    def once(code: str) -> float | str:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    first = once(statement)
    if isinstance(first, str):
        return first
    empty = statistics.median(float(once("pass")) for _ in range(runs))
    return statistics.median(float(once(statement)) for _ in range(runs)) - empty


def window_costs_s(windows: int = 300) -> dict[str, float]:
    """Return median and 95th percentile seconds of entering and of leaving a window."""
    telemetry = Telemetry(Cards())
    enter, leave = [], []
    for i in range(windows + 1):
        window = telemetry.window("cost")
        a = time.perf_counter()
        window.__enter__()
        b = time.perf_counter()
        window.__exit__()
        c = time.perf_counter()
        if i:  # the first one starts the thread
            enter.append(b - a)
            leave.append(c - b)
        time.sleep(0.003)
    telemetry.close()
    names = {"enter": enter, "leave": leave}
    return {f"{name}_{which}_s": pick(times) for name, times in names.items() for which, pick in QUANTILES.items()}


QUANTILES = {"median": statistics.median, "p95": lambda times: float(np.quantile(times, 0.95))}


def telemetry_share(seconds: float, *, windows_per_s: float) -> float:
    """Return the share of a core that the thread uses while a window is open, with more opened and closed in it."""
    telemetry = Telemetry(Cards())
    with telemetry.window("outer"):
        time.sleep(0.5)
        start_s, used_s = time.monotonic(), telemetry.cpu_s
        while time.monotonic() - start_s < seconds:
            if windows_per_s:
                with telemetry.window("inner"):
                    time.sleep(0.5 / windows_per_s)
                time.sleep(0.5 / windows_per_s)
            else:
                time.sleep(0.2)
        share = (telemetry.cpu_s - used_s) / (time.monotonic() - start_s)
    telemetry.close()
    return share


def errors(seeds: int) -> dict[str, dict[str, float]]:
    """Return relative errors over 1-2 s of a plain counter difference and of aligned windows, per load."""
    import card_suite

    return card_suite.alignment(seeds)


def peer_windows(peer: str, python: str | None, seeds: int) -> dict[str, float] | str:
    """Return what a peer makes of the windows behind "unaligned", all loads, and its bookkeeping per window."""
    import card_suite

    if python is None:
        return "skipped: --peers names no Python that has it"
    drawn = [card_suite.drawn_window(load, seed) for load in card_suite.LOADS for seed in range(seeds)]
    shown = [card.counter_j(np.array([start_s, end_s])) / card.sensor.gain * 1e3 for card, start_s, end_s in drawn]
    script = Path(__file__).with_name(f"{peer}_on_card.py")
    asked = json.dumps([pair.tolist() for pair in shown])
    done = subprocess.run([python, str(script)], input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        return "skipped: " + (done.stderr.strip().splitlines() or ["no message"])[-1]
    answer = json.loads(done.stdout[done.stdout.index("{") :])  # behind what libraries print
    true_j = [card.true_energy_j(start_s, end_s) for card, start_s, end_s in drawn]
    relative = np.array(answer["energy_j"]) / np.array(true_j) - 1
    return {"error": float(np.sqrt(np.mean(relative**2))), "enter_s": answer["enter_s"], "leave_s": answer["leave_s"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--peers", help="Python of a virtual environment with zeus and codecarbon")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {
        "import_cpu_s": {
            "wattlane.measure.window": import_cpu_s(sys.executable, "from wattlane.measure import window")
        },
        "window": window_costs_s(),
        "telemetry_share_of_a_core": {
            "window open, no edges": telemetry_share(asked.seconds, windows_per_s=0),
            "a window each 10 s": telemetry_share(max(asked.seconds, 20), windows_per_s=0.1),
            "a window each second": telemetry_share(asked.seconds, windows_per_s=1),
        },
        "error_1_2_s_without_gain": errors(100),
    }
    for peer in PEERS:
        found["error_1_2_s_without_gain"][f"{peer}, all loads"] = peer_windows(peer, asked.peers, 100)
    for peer, statement in PEERS.items():
        reason = "skipped: --peers names no Python that has it"
        found["import_cpu_s"][peer] = import_cpu_s(asked.peers, statement) if asked.peers else reason
    print(json.dumps(found, indent=2) if asked.json else _text(found))


def _text(found: dict[str, dict[str, object]]) -> str:
    lines = []
    for part, values in found.items():
        lines.append(part)
        lines += [f"  {name:28} {_show(value)}" for name, value in values.items()]
    return "\n".join(lines)


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_show(each)}" for name, each in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
