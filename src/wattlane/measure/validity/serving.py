"""The load and the clocks around it: success, tokens, generator, window edges, wall time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wattlane.measure.validity.codes import Code, Level, Reason
from wattlane.measure.validity.scene import Scene, Series

LEAST_SUCCESS = 0.99
TOKENS_APART = 0.01
TOKENS_FAR_APART = 0.05
LEAST_SENT = 0.95
CORE_SHARE = 0.9
RAMP_SHARE = 0.02
IDLE_EDGE_SHARE = 0.05
QUIET = 1.2  # times idle: nothing runs
LOUD = 1.4  # times idle: the body of the window works
STEP_S = 0.05
SLEW = 5e-4  # the fastest a clock is slewed by NTP


def check_success(scene: Scene) -> Iterator[Reason]:
    """Refuse runs in which more than 1 % of the requests failed."""
    offered, completed = scene.activity.offered, scene.activity.completed
    if offered and completed is not None and completed < LEAST_SUCCESS * offered:
        yield Reason(
            Code.FAILED_REQUESTS,
            f"{offered - completed} of {offered} requests did not complete ({1 - completed / offered:.1%})",
        )


def check_tokens(scene: Scene) -> Iterator[Reason]:
    """Compare the client's count of output tokens with the server's."""
    client, server = scene.activity.client_tokens, scene.activity.server_tokens
    if client is None or server is None or max(client, server) == 0:
        return
    apart = abs(client - server) / max(server, 1)
    if apart > TOKENS_APART:
        level = Level.QUARANTINED if apart > TOKENS_FAR_APART else Level.WARNED
        yield Reason(Code.TOKEN_MISMATCH, f"client {client}, server {server} output tokens, {apart:.1%} apart", level)


def check_generator(scene: Scene) -> Iterator[Reason]:
    """Find a load generator that could not keep up."""
    activity = scene.activity
    sent, offered, core = activity.sent_per_s, activity.offered_per_s, activity.client_core_share
    if sent is not None and offered and sent < LEAST_SENT * offered:
        yield Reason(Code.GENERATOR_BOUND, f"{offered:.3g} requests/s were offered and {sent:.3g} sent")
    elif core is not None and core > CORE_SHARE:
        yield Reason(Code.GENERATOR_BOUND, f"the client used {core:.0%} of a core", Level.WARNED)


def check_clock_step(scene: Scene) -> Iterator[Reason]:
    """Compare how far wall and monotonic clock went."""
    pairs = scene.activity.clock_pairs
    if len(pairs) < 2:
        return
    offsets = np.array([wall - monotonic for monotonic, wall in pairs])
    lengths_s = np.diff([monotonic for monotonic, _ in pairs])
    steps_s = np.diff(offsets)
    excess = np.abs(steps_s) - (STEP_S + SLEW * np.abs(lengths_s))
    if excess.max() > 0:
        step_s = float(steps_s[int(np.argmax(excess))])
        level = Level.QUARANTINED if scene.activity.joined_by_wall_time else Level.WARNED
        yield Reason(Code.WALL_CLOCK_STEP, f"the wall clock jumped by {step_s:+.3f} s", level)


def check_edges(scene: Scene) -> Iterator[Reason]:
    """Find load, warm-up and drain in the window: by what the engine says, else by idle power at an edge."""
    activity = scene.activity
    before_s = [time_s for time_s in (activity.ready_s, activity.warm_s) if time_s is not None]
    lead_s = max([0.0, *(time_s - activity.start_s for time_s in before_s)])
    tail_s = 0.0 if activity.last_end_s is None else max(0.0, activity.end_s - activity.last_end_s)
    limit_s = max(RAMP_SHARE * activity.length_s, 0.2)
    if lead_s > limit_s:
        yield Reason(Code.RAMP_IN_WINDOW, f"the engine was ready and warm only {lead_s:.2f} s into the window")
    if tail_s > limit_s:
        yield Reason(Code.RAMP_IN_WINDOW, f"the window goes on for {tail_s:.2f} s after the last completion")
    if activity.busy_share is not None and activity.busy_share >= 0.9:
        for series in scene.series:
            yield from _quiet_edges(scene, series)


def _quiet_edges(scene: Scene, series: Series) -> Iterator[Reason]:
    idle_w = scene.fact(series.device).context_idle_w
    inside = scene.window(series)
    good = np.isfinite(inside.used_power_w)
    if idle_w is None or good.sum() < 20:
        return
    times_s, watts = inside.time_s[good], inside.used_power_w[good]
    if float(np.quantile(watts, 0.75)) < LOUD * idle_w:
        return
    loud_s = times_s[watts > QUIET * idle_w]
    limit_s = max(IDLE_EDGE_SHARE * scene.activity.length_s, 1.0)
    lead_s, tail_s = float(loud_s[0] - scene.activity.start_s), float(scene.activity.end_s - loud_s[-1])
    for quiet_s, side in ((lead_s, "begins"), (tail_s, "ends")):
        if quiet_s > limit_s:
            yield Reason(
                Code.RAMP_IN_WINDOW, f"the window {side} with {quiet_s:.1f} s of idle power on {series.device}"
            )
