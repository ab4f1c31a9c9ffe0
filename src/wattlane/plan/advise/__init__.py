"""Advice: a ranked list of what to change for a workload, each with its expected effect, interval and source."""
