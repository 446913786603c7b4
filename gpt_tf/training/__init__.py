"""One update, the Trainer, devices and workers, the two recipes."""
