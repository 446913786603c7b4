"""Scores, baselines, answers without a data folder."""
