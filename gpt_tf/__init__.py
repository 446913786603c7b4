"""GPT-1 (Radford et al. 2018) in TensorFlow: pre-train, fine-tune, evaluate, generate, export.

The Keras models are here, too: `from gpt_tf import GPTCausalLM, GPTTextClassifier`.
"""

import importlib

# Loaded when they are asked for: Keras takes seconds, and a command's --help does not want it.
_KERAS_NAMES = {
    "GPTBackbone": "backbone", "GPTAdam": "optimizer", "GPTTokenizer": "preprocessing",
    "GPTCausalLMPreprocessor": "preprocessing", "GPTTextClassifierPreprocessor": "preprocessing",
    "GPTCausalLM": "causal_lm", "GPTTextClassifier": "text_classifier"}


def __getattr__(name: str):
    if name not in _KERAS_NAMES:
        raise AttributeError(f"module 'gpt_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gpt_tf.keras_models.{_KERAS_NAMES[name]}"), name)
