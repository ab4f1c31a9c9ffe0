"""Engines under test, one a file: started, awaited and stopped, or already running at a URL."""
