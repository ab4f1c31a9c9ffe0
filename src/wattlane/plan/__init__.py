"""Floor 6, offline decisions: search the knobs, explain and deploy the result."""
