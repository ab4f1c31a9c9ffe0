"""Validity: may the figures of a run be used, and if not, why not.

    readings ─┐
    facts ────┼─► Scene ─► checks ─► reasons ─► settle (symptoms under their cause) ─► Verdict
    activity ─┘

`codes` holds every reason with its meaning and remedy, `scene` what a check may look at, `judge` runs the checks and
`settle` makes a verdict of it. `levels`, `sampling`, `counter`, `scope`, `averaging`, `throttle` and `serving`
are families of checks, generators `(Scene) -> Reason`; `identity` leads from CUDA's devices to NVML's. `seeded`,
`seeded_faults` and `suite` put known faults into simulated runs; `ratios` and `repeats` state figures honestly.
"""
