"""Energy of a window from a raw record, with an interval whose parts are named. Pure functions of arrays and values."""
