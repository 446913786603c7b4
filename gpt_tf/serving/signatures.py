"""What an exported model's signatures share: their shape, and checks.

The signatures themselves stand in `language_model_signatures` and `task_signatures`: functions of
tensors, on batches of any size and of any length up to the model's positions, that return tensors
by name.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from gpt_tf.config import ModelConfig

Outputs = dict[str, tf.Tensor]


class Signature(NamedTuple):
    """A function and the tensors it takes, by the names that callers use."""

    function: Callable[..., Outputs]
    inputs: Mapping[str, tf.TensorSpec]


def spec(dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    """`spec(tf.int32, None, None)` is a matrix of any size."""
    return tf.TensorSpec(shape, dtype)


def require(condition, message: str, values):
    """An op that fails with the message, and the first of the values, unless all is true."""
    return tf.debugging.Assert(tf.reduce_all(condition), [message, values])


def widened(token_ids):
    """Sequences [..., T] with a column of padding where T is 0: a batch of nothing has none."""
    *others, _ = token_ids.shape
    missing = tf.maximum(1 - tf.shape(token_ids)[-1], 0)
    return tf.ensure_shape(tf.pad(token_ids, [*([0, 0] for _ in others), [0, missing]]),
                           [*others, None])


def checked(token_ids, lengths, config: ModelConfig):
    """Sequences as the model takes them, if it can.

    Args:
      token_ids: int64 [..., T], padded at the end.
      lengths: int64 [...], tokens before the padding.
      config: the model's.

    Returns:
      token_ids int32 [..., T], lengths int32 [...].
    """
    time, last = tf.shape(token_ids, tf.int64)[-1], config.num_token_rows - 1
    with tf.control_dependencies([
            require(tf.shape(token_ids)[:-1] == tf.shape(lengths),
                    "token_ids and lengths are not of the same sequences:", tf.shape(lengths)),
            require(time <= config.max_sequence_length,
                    "token_ids has rows longer than the "
                    f"{config.max_sequence_length} positions of the model:", time),
            require((token_ids >= 0) & (token_ids <= last),
                    f"token_ids has ids outside 0..{last}:", token_ids),
            require(lengths <= time, "lengths says more tokens than token_ids has:", lengths),
            require(lengths >= 0, "lengths has negative numbers:", lengths)]):
        return tf.cast(token_ids, tf.int32), tf.cast(lengths, tf.int32)
