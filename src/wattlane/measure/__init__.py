"""Floor 2, joules: meters, windows, engines under test, load generation, validity."""
