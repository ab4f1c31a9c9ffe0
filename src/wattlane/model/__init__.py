"""Floor 3, laws of energy, power and time: fit, predict with an interval, attribute an iteration to its requests."""
