"""Campaigns: one grid file, every cell measured in repeated trials, resumable, with intervals over the repeats.

grid.py (what is asked) ─► cells.py (cross product) ─► order.py (rounds) ─► schedule.py (here, or a Ray cluster)
    ─► trials.py (one folder a trial) ─► rows.py, summary.py (campaign.parquet, campaign.json)
"""
