"""GPT-1 (Radford et al. 2018) in TensorFlow: pre-train, fine-tune, evaluate, generate, export.

The Keras models are here, too: `from gpt_tf import GPTCausalLM, GPTTextClassifier`.
"""

import importlib

__version__ = "0.1.0"

_KERAS_NAMES = ("GPTAdam", "GPTBackbone", "GPTCausalLM", "GPTCausalLMPreprocessor",
                "GPTTextClassifier", "GPTTextClassifierPreprocessor", "GPTTokenizer")
__all__ = [*_KERAS_NAMES, "__version__"]


def __getattr__(name: str):
    # When one is asked for: Keras takes seconds, and a command's --help does not need it.
    if name not in _KERAS_NAMES:
        raise AttributeError(f"module 'gpt_tf' has no attribute {name!r}")
    return getattr(importlib.import_module("gpt_tf.keras_models"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
