"""The head-to-head of energy controllers: one command, one scenario, one page.

run_suite("slo-energy", "run")              every controller at every load, five seeds
run_suite("slo-energy", "run", quick=True)  one load, one seed
"""

from __future__ import annotations

from wattlane.study.suite.run import run_suite

__all__ = ["run_suite"]
