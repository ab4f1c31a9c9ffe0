"""Importing wattlane is quick and loads nothing heavy; public names are pinned."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

import wattlane
from wattlane.core.facts import cards, config, engines, factors, gpus, models
from wattlane.core.served import COLUMNS

HEAVY = ("numpy", "polars", "pydantic", "numba", "scipy", "matplotlib", "aiohttp", "typer", "rich", "pynvml", "jinja2")
PROBE = """
import json, sys, time
start = time.process_time()
import wattlane
spent_s = time.process_time() - start
print(json.dumps([spent_s, sorted(name.partition(".")[0] for name in sys.modules)]))
"""


def import_once() -> tuple[float, set[str]]:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    spent_s, names = json.loads(done.stdout)
    return spent_s, set(names)


def test_import_takes_under_150_ms_of_cpu_and_loads_nothing_heavy() -> None:
    runs = [import_once() for _ in range(5)]
    assert min(spent_s for spent_s, _ in runs) < 0.15
    assert runs[0][1].isdisjoint(HEAVY)
    assert "wattlane" in runs[0][1]


def test_facts_load_nothing_heavy() -> None:
    script = "import sys, wattlane.core.facts.cards as c; c.gpus_card(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(f"'{name}'" not in done.stdout for name in HEAVY)


def test_public_names_of_the_package_are_pinned() -> None:
    expected = ["__version__", "core", "measure", "model", "plan", "policy", "report", "sim", "study", "workload"]
    assert wattlane.__all__ == expected
    assert dir(wattlane) == expected
    assert wattlane.core.__name__ == "wattlane.core"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wattlane.nothing


def test_public_names_of_the_facts_are_pinned() -> None:
    def public(module: object) -> set[str]:
        name = module.__name__  # type: ignore[attr-defined]
        return {
            key for key, value in vars(module).items() if getattr(value, "__module__", "") == name and key[0] != "_"
        }

    assert public(gpus) == {"Gpu", "gpu", "all_gpus"}
    assert public(models) == {"Model", "model", "all_models"}
    assert public(config) == {"model_from_config", "resolve_model"}
    assert public(engines) == {"EngineDefaults", "engine_defaults", "all_engines"}
    assert public(factors) == {"Factor", "factor", "all_factors"}
    names = "Card Row gpus_card gpu_card models_card model_card engine_card node_card factors_card"
    assert public(cards) == set(names.split())


def test_columns_and_fields_that_others_rely_on_are_pinned() -> None:
    assert COLUMNS[0] == "request_id"
    assert COLUMNS[-1] == "gaps_s"
    assert len(COLUMNS) == 15
    named = {field.name for field in dataclasses.fields(gpus.Gpu)}
    assert {"idle_loaded_w", "idle_loaded_w_lo", "idle_loaded_w_hi", "clock_min_hz", "link_bytes_per_s"} <= named
