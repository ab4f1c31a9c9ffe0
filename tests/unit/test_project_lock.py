"""requirements.lock pins everything pyproject.toml asks for, with hashes, and names no package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;\\]+)(?P<rest>(?:.|\n)*?)(?=^[a-z0-9]|\Z)", re.M)
NOT_LOCKED = {"hf", "zeus", "ray"}


def asked_for() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(x for name, listed in extras.items() if name not in NOT_LOCKED for x in listed),
    ]
    lines += (ROOT / "tools" / "bootstrap.in").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [requirement for requirement in found if requirement.name != "wattlane"]


@pytest.mark.parametrize("requirement", asked_for(), ids=str)
def test_lock_covers_the_requirement_within_its_bound(requirement: Requirement) -> None:
    versions = [pin["version"] for pin in PIN.finditer(LOCK) if pin["name"] == canonicalize_name(requirement.name)]
    assert versions, f"{requirement} is not in requirements.lock; run tools/lock"
    assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), versions


def test_every_pin_carries_a_hash() -> None:
    pins = list(PIN.finditer(LOCK))
    assert len(pins) > len(asked_for())
    assert [pin["name"] for pin in pins if "--hash=sha256:" not in pin["rest"]] == []


def test_lock_names_no_index_and_no_path() -> None:
    assert [line for line in LOCK.splitlines() if "/" in line.replace("tools/", "").replace("./", "")] == []


def test_package_states_lower_bounds_only() -> None:
    bounds = {str(r): r.specifier for r in asked_for() if r.specifier}
    assert [name for name, specifier in bounds.items() if [s.operator for s in specifier] != [">="]] == []
