"""Least squares, analysis of variance and non-negative relative fits, on numpy."""
