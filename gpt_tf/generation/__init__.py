"""Sampling over a cache, and texts."""
