"""Meters, one a file: each has a `read()` that returns a `Reading`, and says what it found when asked."""
