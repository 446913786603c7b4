"""The run folder: checkpoints, reports, pictures."""
