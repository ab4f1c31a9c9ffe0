"""Floor 4, online decisions as plain functions in numba's subset: release and route."""
