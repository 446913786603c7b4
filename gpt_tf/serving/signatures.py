"""What an exported model's signatures share: their shape, the tokenizer in the graph, checks.

The signatures themselves stand in `language_model_signatures` and `task_signatures`: functions of
tensors, on batches of any size and of any length up to the model's positions, that return tensors
by name.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from gpt_tf.serving.graph_decoder import GraphDecoder
from gpt_tf.serving.graph_tokenizer import GraphTokenizer
from gpt_tf.tokenizer import Tokenizer

Outputs = dict[str, tf.Tensor]


class Signature(NamedTuple):
    """A function and the tensors it takes, by the names that callers use."""

    function: Callable[..., Outputs]
    inputs: Mapping[str, tf.TensorSpec]


def spec(dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    """`spec(tf.int32, None, None)` is a matrix of any size."""
    return tf.TensorSpec(shape, dtype)


class TextTables(tf.Module):
    """A tokenizer in the graph.

    Attributes:
      encoder, decoder: strings -> ids, and back.

    Raises:
      UserError: the tokenizer is of a language whose rules do not fit a graph.
    """

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(name="text")
        self.encoder = GraphTokenizer(tokenizer)
        self.decoder = GraphDecoder(tokenizer)


def positions_checked(token_ids, lengths, positions: int):
    """A context whose ops run only if sequences are no longer than padding and positions allow."""
    time = tf.shape(token_ids)[-1]
    return tf.control_dependencies([
        tf.debugging.assert_less_equal(
            time, positions,
            f"token_ids has rows longer than the {positions} positions of the model."),
        tf.debugging.assert_less_equal(
            lengths, time, "lengths says more tokens than token_ids has.")])
