"""Say of a plan what binds, what each limit is worth, and which of its savings the laws cannot tell from none.

The uncertainty of a saving is that of the laws' coefficients: with D_k the difference of two plans' sums of the terms
of the law, as (1, in, out, in·out), on target k, Var(Δ energy) = Σ_k D_kᵀ·Cov_k·D_k. A law file without a covariance
leaves it open. The spread of single requests around the law is left out: it averages over the many requests of a plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wattlane.plan.assign import words
from wattlane.plan.assign.baselines import energy_sums
from wattlane.plan.assign.plan import Read, read_plan
from wattlane.plan.assign.problem import Counts, Floats
from wattlane.plan.assign.totals import totals
from wattlane.plan.assign.values import Case

FORECAST_ERROR = 1.5  # times the requests that were planned for
FIXED_AMOUNTS = ("gpu_hours", "finish", "energy_cap")
Z95 = 1.959963984540054  # two-sided 95 % of a normal


@dataclass(frozen=True, slots=True)
class Saving:
    """Energy of a baseline less that of the plan, J, and its standard error from the laws; None: unknown."""

    baseline: str
    saving_j: float
    saving_fraction: float
    se_j: float | None
    accuracy_change: float | None
    keeps_limits: bool

    @property
    def verdict(self) -> str:
        """Saving, more energy, or tie: whether the interval of 95 % holds 0; open where the laws state no error."""
        if self.se_j is None:
            return "open: the law files state no uncertainty"
        if abs(self.saving_j) <= Z95 * self.se_j:
            return "tie"
        return "saving" if self.saving_j > 0 else "more energy"


@dataclass(frozen=True, eq=False, slots=True)
class Explanation:
    """What `explain` says; `sigma_j` is the energy's standard error from the laws, None where unknown."""

    binding: tuple[str, ...]
    slack: tuple[str, ...]
    targets: tuple[dict[str, Any], ...]
    energy_j: float
    sigma_j: float | None
    savings: tuple[Saving, ...]
    if_more: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        fields = ("baseline", "saving_j", "saving_fraction", "se_j", "accuracy_change", "keeps_limits", "verdict")
        sigma = self.sigma_j
        return {
            "binding": list(self.binding),
            "slack": list(self.slack),
            "targets": list(self.targets),
            "energy_j": self.energy_j,
            "energy_j_less_one_sigma": None if sigma is None else self.energy_j - sigma,
            "energy_j_plus_one_sigma": None if sigma is None else self.energy_j + sigma,
            "savings": [{name: getattr(saving, name) for name in fields} for saving in self.savings],
            "if_more_requests": list(self.if_more),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """Return the explanation line by line."""
        error = "the laws state no uncertainty" if self.sigma_j is None else f"±1σ of the laws {self.sigma_j:.4g} J"
        out = [f"energy {self.energy_j:.6g} J, {error}"]
        for row in self.targets:
            out.append(
                f"  {row['name']}: {row['requests']:,} requests, mean {row['mean_input_tokens']:.0f} in / "
                f"{row['mean_output_tokens']:.0f} out, {row['energy_j']:.4g} J"
            )
        out += ["what binds:"] + [
            f"  {line}" for line in self.binding or ("nothing: every request has its best target",)
        ]
        out += [f"  not binding: {', '.join(self.slack)}"] if self.slack else []
        out += [f"with {FORECAST_ERROR:g} times the requests, routed alike: {line}" for line in self.if_more]
        out.append("energy against the baselines:")
        for saving in self.savings:
            change = "" if saving.accuracy_change is None else f", accuracy {saving.accuracy_change:+.4f}"
            other = "" if saving.keeps_limits else " (it breaks the plan's limits)"
            out.append(f"  {saving.baseline}: {saving.saving_fraction:+.1%} saved{change}: {saving.verdict}{other}")
        return out + [f"warning: {line}" for line in self.warnings]


def explain(path: Path) -> Explanation:
    """Explain a plan from its files.

    Raises:
        FileFormatError: files that cannot be trusted.
    """
    read = read_plan(path)
    rows = read.body["rows"]
    binding = tuple(words.prices(rows, read.case, read.ask))
    slack = tuple(row["name"] for row in rows if not any(line.startswith(f"{row['name']}:") for line in binding))
    sigma = energy_error_j(read.case, energy_sums(read.case, read.x))
    return Explanation(
        binding,
        slack,
        _targets(read.case, read.x),
        read.totals.energy_j,
        sigma,
        _savings(read),
        _if_more(rows),
        tuple(read.body["warnings"]),
    )


def energy_error_j(case: Case, sums: Sequence[Floats]) -> float | None:
    """Return the standard error of Σ_k β_k·sums_k, J; None where a law that counts states none."""
    variance = 0.0
    for target, line in zip(case.targets, sums, strict=True):
        side = target.law.energy_j
        if not line.any():
            continue
        if side.covariance is None:
            return None
        part = line if side.intercept is not None else line[1:]
        variance += float(part @ side.covariance @ part)
    return math.sqrt(variance)


def _if_more(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return which fixed amounts are too small for more of the same requests; shares and means grow along."""
    return tuple(
        f"{row['name']} is short by {FORECAST_ERROR * row['used'] - row['bound']:.4g} {row['unit']}"
        for row in rows
        if row["equation"] in FIXED_AMOUNTS and FORECAST_ERROR * row["used"] > row["bound"]
    )


def _savings(read: Read) -> tuple[Saving, ...]:
    mine, out = read.totals, []
    own = energy_sums(read.case, read.x)
    for base in read.body["baselines"]:
        saved = base["energy_j"] - mine.energy_j
        accuracy = base["accuracy"]
        gain = None if mine.accuracy is None or accuracy is None else mine.accuracy - accuracy
        share = saved / base["energy_j"] if base["energy_j"] else 0.0
        error = energy_error_j(read.case, [np.array(a) - b for a, b in zip(base["sums"], own, strict=True)])
        out.append(Saving(base["name"], saved, share, error, gain, not base["broken"]))
    return tuple(out)


def _targets(case: Case, x: Counts) -> tuple[dict[str, Any], ...]:
    out = []
    for k, target in enumerate(case.targets):
        count = int(x[k].sum())
        alone = np.zeros_like(x)
        alone[k] = x[k]
        out.append(
            {
                "name": target.name,
                "requests": count,
                "mean_input_tokens": _mean(case.kinds.input_tokens, x[k], count),
                "mean_output_tokens": _mean(case.kinds.output_tokens, x[k], count),
                "energy_j": totals(case, alone).energy_j if count else 0.0,
            }
        )
    return tuple(out)


def _mean(values: Sequence[int] | Counts, weight: Counts, count: int) -> float:
    return float(np.asarray(values) @ weight) / count if count else 0.0
