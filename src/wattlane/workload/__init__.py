"""Floor 1, requests: traces in, arrival processes, length bins, statistics; always seeded."""
