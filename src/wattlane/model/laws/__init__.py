"""One law per file."""
