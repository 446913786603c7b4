"""The model as KerasNLP's users know theirs.

Importing this registers every class with Keras, so that whatever one of them saved can be loaded.
"""

from gpt_tf.common import cli

cli.import_tensorflow(whole=True)  # before whoever imports it with its start-up notices

from gpt_tf.keras_models.backbone import GPTBackbone
from gpt_tf.keras_models.causal_lm import GPTCausalLM
from gpt_tf.keras_models.optimizer import GPTAdam
from gpt_tf.keras_models.preprocessing import (
    GPTCausalLMPreprocessor,
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from gpt_tf.keras_models.text_classifier import GPTTextClassifier

__all__ = ["GPTAdam", "GPTBackbone", "GPTCausalLM", "GPTCausalLMPreprocessor", "GPTTextClassifier",
           "GPTTextClassifierPreprocessor", "GPTTokenizer"]
