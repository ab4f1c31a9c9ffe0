"""Compare two results: request by request where ids match, trial by trial where there are repeats."""
