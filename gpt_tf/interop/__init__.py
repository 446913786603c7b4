"""Other programs' weights: explicit name maps, every parameter accounted for."""
