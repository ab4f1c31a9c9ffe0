"""Validity: may the figures of a run be used, and if not, why not.

    readings ─┐
    facts ────┼─► Scene ─► checks ─► reasons ─► settle (symptoms under their cause) ─► Verdict
    activity ─┘

`codes` holds every reason with its meaning and remedy, `scene` what a check may look at, `judge` runs the checks. Each
other file is one family of checks, a generator `(Scene) -> Reason`.
"""
