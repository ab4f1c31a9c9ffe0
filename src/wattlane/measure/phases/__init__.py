"""Energy by phase: difference of runs, a boundary inside the run, and regression over designed load."""
