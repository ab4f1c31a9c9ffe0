"""The page of a suite of controllers: one table a load, energy and attainment against load, losses, claims."""
