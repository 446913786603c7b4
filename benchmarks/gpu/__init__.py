"""Our training step on a GPU of a machine without TensorFlow: the program that XLA makes of it."""
