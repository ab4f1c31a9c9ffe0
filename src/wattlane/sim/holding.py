"""When a fleet lets each request through: what a rule is told of it, all known on arrival, and what it answers."""

from __future__ import annotations

import numpy as np

from wattlane.core.workload import Workload
from wattlane.model.jit import kernel
from wattlane.policy import foresee
from wattlane.sim import dispatch
from wattlane.sim.engine.arrays import column, expected_tokens
from wattlane.sim.engine.layout import Floats, Ints
from wattlane.sim.fleet_types import Fleet, ReleaseKind, Role, Tags

KINDS = {
    ReleaseKind.IMMEDIATE: dispatch.IMMEDIATE,
    ReleaseKind.WINDOWED: dispatch.WINDOWED,
    ReleaseKind.SPACED: dispatch.SPACED,
    ReleaseKind.SLACK_AWARE: dispatch.SLACK_AWARE,
    ReleaseKind.DEADLINE_AWARE: dispatch.DEADLINE_AWARE,
    ReleaseKind.CARBON: dispatch.LOWEST_CARBON,
}
HOUR_S = 3600.0


@kernel
def _alone(laws: np.ndarray, budgets: np.ndarray, model: np.ndarray, prompts: np.ndarray, out: np.ndarray) -> None:
    """Fill (n, 3): seconds to the first token and to the last of each request alone, joules two of it save together.

    `prompts` (n, 2) are prompt tokens to process and expected output tokens.
    """
    for i in range(out.shape[0]):
        law, budget, prompt, output = laws[model[i]], budgets[model[i]], prompts[i, 0], prompts[i, 1]
        out[i, 0], out[i, 1] = foresee.service(law, budget, prompt, output)
        out[i, 2] = foresee.gain_j(law, prompt, output)


def alone(workload: Workload, fleet: Fleet, tags: Tags) -> Floats:
    """Return (n, 3): seconds to the first token and to the last of each request by itself on the first pool of its
    model, as predicted, and the joules that two of it save together."""
    first: dict[int, tuple[Floats, int]] = {}
    for pool in fleet.pools:
        if pool.role is not Role.DECODE:
            first.setdefault(pool.model, (pool.laws[-1], pool.max_num_batched_tokens))
    most = max(first)
    laws = np.stack([first.get(m, first[most])[0] for m in range(most + 1)])
    budgets = np.array([first.get(m, first[most])[1] for m in range(most + 1)], np.int64)
    assert workload.cached_tokens is not None
    left = np.maximum(workload.input_tokens - workload.cached_tokens, 1)
    prompts = np.column_stack([left, expected_tokens(workload, fleet, tags)]).astype(np.float64)
    out = np.empty((len(workload), 3))
    _alone(laws, budgets, column(tags.model, len(workload)), prompts, out)
    return out


def due_s(workload: Workload, tags: Tags) -> Floats:
    """Return when each answer must be complete (n,), infinite where nothing is said."""
    if tags.deadline_s is None:
        return np.full(len(workload), np.inf)
    return np.where(np.isnan(tags.deadline_s), np.inf, workload.arrival_s + tags.deadline_s)


def latest_start_s(workload: Workload, fleet: Fleet, tags: Tags) -> Floats:
    """Return when each request must begin at the latest (n,): for its deadline, else for its first token by the SLO."""
    told, due = alone(workload, fleet, tags), due_s(workload, tags)
    ttft_s = np.inf if fleet.slo is None else fleet.slo.ttft_s
    return np.where(np.isfinite(due), due - told[:, 1], workload.arrival_s + ttft_s - told[:, 0])


def release_s(workload: Workload, fleet: Fleet, tags: Tags) -> Floats:
    """Return when each request is let through (n,), never before it arrived."""
    rule, kind = fleet.release, KINDS[fleet.release.kind]
    arrival_s = workload.release_s
    if rule.kind in (ReleaseKind.IMMEDIATE, ReleaseKind.WINDOWED):
        return np.asarray(dispatch.release_times(kind, rule.window_s, arrival_s))
    told = np.zeros((len(workload), 4))
    if rule.kind is not ReleaseKind.SPACED:
        single, due = alone(workload, fleet, tags), due_s(workload, tags)
        if fleet.slo is not None:
            told[:, dispatch.SLACK] = rule.margin * fleet.slo.ttft_s - single[:, 0]
        told[:, [dispatch.SERVICE, dispatch.GAIN_J]] = single[:, 1:]
        if rule.kind is ReleaseKind.CARBON and tags.deferrable is not None:
            due = np.where(tags.deferrable, due, np.inf)
        told[:, dispatch.LATEST_END] = due
    settings = np.array([rule.spacing_s, rule.margin_s, rule.series_start_s, HOUR_S])
    series = np.array(rule.carbon_g_per_kwh or (0.0,), np.float64)
    return np.asarray(dispatch.hold(kind, settings, arrival_s, told, series))


def order_of(released_s: Floats) -> Ints:
    """Return the requests in order of release, of equals in order of arrival."""
    return np.argsort(released_s, kind="stable")
