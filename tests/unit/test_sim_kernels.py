"""Compiled code is kept between processes, named by its sources, and does what the plain functions do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import wattlane
from sim_scenes import scene
from wattlane.model import iteration as it
from wattlane.model.jit import COMPILED_FILES, COMPILED_PACKAGES, source_hash
from wattlane.sim import fleet, scoring

PACKAGE = Path(wattlane.__file__).parent
COMPILED = not numba.config.DISABLE_JIT
COUNT = """
import json
from sim_scenes import scene
from wattlane.core.types import Slo
from wattlane.model import iteration
from wattlane.policy import release, route
from wattlane.sim import dispatch, fleet, replica, scoring
run = scene(5).replay()
fleet.attainment(run, Slo()), fleet.tbt_quantile_s(run, 0.5), fleet.ledger(run)
[scoring.totals(r.record, r.decoding) for r in run.replicas]
called = [dispatch.release_times, dispatch.routes, replica.replay, replica.quiet_s]
called += [scoring.attains, scoring.gap_histogram, scoring.totals]
every = [v for m in (iteration, dispatch, replica, scoring) for v in vars(m).values() if hasattr(v, "stats")]
print(json.dumps({
    "called_hits": [sum(f.stats.cache_hits.values()) for f in called],
    "misses": sum(sum(f.stats.cache_misses.values()) for f in every),
    "joules": fleet.ledger(run).metered_j,
}))
"""


def count(cache: Path) -> dict[str, object]:
    settings = {**os.environ, "WATTLANE_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parent.parent)}
    settings.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, "-c", COUNT], env=settings, capture_output=True, text=True, check=True)
    body: dict[str, object] = json.loads(done.stdout)
    return body


@pytest.mark.slow
def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    first = count(tmp_path)
    second = count(tmp_path)
    assert first["misses"] > 0
    assert second["misses"] == 0
    assert min(second["called_hits"]) >= 1
    assert second["joules"] == first["joules"]


FORMS = """
import numpy as np
from wattlane.model.jit import inner, kernel
from wattlane.policy import route
within, beside = inner(route.round_robin), kernel(route.round_robin)

@kernel
def around(position, replicas):
    return within(position, replicas)

print(around(5, 3), beside(5, 3))
"""


@pytest.mark.skipif(not COMPILED, reason="compiled code is what is kept")
def test_the_two_forms_of_one_function_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "forms.py").write_text(FORMS)
    settings = {**os.environ, "WATTLANE_CACHE": str(tmp_path / "cache")}
    for _ in range(2):  # the second process takes both from the cache; calling the inner form would crash it
        done = subprocess.run([sys.executable, "forms.py"], cwd=tmp_path, env=settings, capture_output=True, check=True)
        assert done.stdout.split() == [b"2", b"2"]


def test_editing_a_policy_the_law_or_the_engine_asks_for_new_compiled_code(tmp_path: Path) -> None:
    for package in COMPILED_PACKAGES:
        shutil.copytree(PACKAGE / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in COMPILED_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PACKAGE / name, tmp_path / name)
    seen = {source_hash()}
    assert source_hash(tmp_path) in seen
    for number, name in enumerate(("core/release.py", "policy/release.py", "model/iteration.py", "sim/replica.py")):
        root = tmp_path.with_name(f"{tmp_path.name}-{number}")
        shutil.copytree(tmp_path, root)
        (root / name).write_text((root / name).read_text() + "\n# changed\n")
        seen.add(source_hash(root))
    (tmp_path / "policy" / "route.py").rename(tmp_path / "policy" / "path.py")
    seen.add(source_hash.__wrapped__(tmp_path))
    assert len(seen) == 6


@pytest.mark.skipif(not COMPILED, reason="kernels are not compiled in this run")
@pytest.mark.parametrize("seed", range(6))
def test_law_computes_the_same_compiled_or_not(seed: int) -> None:
    law = scene(seed).law
    constants = it.decode_constants(law)
    assert np.array_equal(constants, it.decode_constants.py_func(law))
    for x in ((0.0, 0.0, 3.0, 50.0), (200.0, 4e4, 3.0, 50.0), (200.0, 4e4, 0.0, 0.0)):
        compiled = it.shares(law, constants, *x)
        plain = it.shares.py_func(law, constants, *x)
        assert compiled == pytest.approx(plain, rel=1e-13)


@pytest.mark.parametrize("seed", range(8))
def test_short_replays_close(seed: int) -> None:
    """The small set that is also run uncompiled, for coverage."""
    run = scene(seed, requests=6, longest_output=6).replay()
    assert fleet.ledger(run).balanced(1e-9)
    for r in run.replicas:
        seconds, joules, _ = scoring.totals(r.record, r.decoding)
        assert seconds == pytest.approx(r.busy_s)
        assert joules == pytest.approx(float(r.energy_j.sum()), rel=1e-9)
