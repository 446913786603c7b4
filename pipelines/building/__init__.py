"""A data folder in the making, here or on Beam."""
