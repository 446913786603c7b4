"""GPT-1 (Radford et al. 2018) in TensorFlow: pre-train, evaluate, generate."""
