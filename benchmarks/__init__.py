"""Measurements against other programs, all sides in one run on one machine."""
