"""The page of an arrival shaping study: energy by rate, shape and engine, and the curve of the release window."""
