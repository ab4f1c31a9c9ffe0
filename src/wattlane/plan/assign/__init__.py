"""Assignment: which requests go to which model on which system, as a certified optimum.

`run.assign` plans in memory, `run.assign_files` from files; `certify.certify` and `explain.explain` read the files of a
plan.
"""
