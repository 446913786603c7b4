"""How the next token is chosen: temperature, top-k, top-p (Holtzman et al. 2019)."""

from typing import NamedTuple

import tensorflow as tf

from gpt_tf.config import SamplingConfig
from gpt_tf.model.dropout import random_bits


class Sampling(NamedTuple):
    """`config.SamplingConfig` as tensors: one compiled program serves all values.

    temperature: float32; top_k: int32; top_p: float32; scalars, or of each row, [B, 1].
    """

    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor

    @classmethod
    def of(cls, config: SamplingConfig) -> "Sampling":
        """The config's values."""
        return cls(tf.constant(config.temperature, tf.float32), tf.constant(config.top_k),
                   tf.constant(config.top_p, tf.float32))


def _fewest(x: tf.Tensor, is_enough) -> tf.Tensor:
    """The largest values of each row of x, float32 [B, V], as few as are enough; a mask [B, V].

    Found bit by bit, in the order of float32 as integers: exact, equals stay or go together, and
    no sorting, which takes XLA longer than the model's next token.

    Args:
      x: without NaN.
      is_enough: mask [B, V] -> bool [B, 1]. If nothing is, all values are chosen.
    """
    bits = tf.bitcast(x, tf.uint32)
    sign = tf.constant(0x80000000, tf.uint32)
    ordered = tf.where(bits >= sign, tf.bitwise.invert(bits), bits + sign)

    def settle(bit, smallest):
        larger = tf.bitwise.bitwise_or(smallest, bit)
        smallest = tf.where(is_enough(ordered >= larger), larger, smallest)
        return tf.bitwise.right_shift(bit, tf.constant(1, tf.uint32)), smallest

    smallest = tf.while_loop(lambda bit, _: bit > 0, settle,
                             (sign, tf.zeros_like(ordered[:, :1])))[1]
    return ordered >= smallest


def filter_logits(logits: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """Logits [B, V] with what top-k, and then top-p, leave out set to -inf.

    Stays: what is at least as likely as the k-th likeliest; of that, the likeliest tokens that
    together hold `top_p` of the probability (Holtzman et al. 2019). Equals stay or go together.

    Example (top_k=2): [[1., 3., 2.]] -> [[-inf, 3., 2.]]
    """
    count = tf.where(top_k > 0, top_k, tf.shape(logits)[-1])
    chosen = _fewest(logits, lambda chosen: tf.reduce_sum(
        tf.cast(chosen, tf.int32), axis=-1, keepdims=True) >= count)
    logits = tf.where(chosen, logits, -float("inf"))
    shares = tf.nn.softmax(logits)
    chosen = _fewest(shares, lambda chosen: tf.reduce_sum(
        tf.where(chosen, shares, 0.0), axis=-1, keepdims=True) >= top_p)
    return tf.where(chosen, logits, -float("inf"))


def choose(logits: tf.Tensor, sampling: Sampling, keys: tf.Tensor) -> tf.Tensor:
    """Draws tokens: softmax(logits / temperature) by the Gumbel-max rule (Gumbel 1954).

    Args:
      logits: float32 [B, V].
      sampling: temperature 0 takes the likeliest.
      keys: uint32 [B, 2] of `dropout.make_dropout_keys`, which decide the draw.

    Returns:
      int32 [B].
    """
    is_random = sampling.temperature > 0
    logits = logits / tf.where(is_random, sampling.temperature, 1.0)
    is_filtered = (sampling.top_k > 0) | (sampling.top_p < 1)
    logits = tf.cond(tf.reduce_any(is_filtered), lambda: tf.where(
        is_filtered, filter_logits(logits, sampling.top_k, sampling.top_p), logits),
                     lambda: logits)
    bits = random_bits(keys, 0, tf.shape(logits)[1:])
    bits = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)
    uniform = (tf.cast(bits, tf.float32) + 0.5) / 2**24  # in (0, 1)
    noise = -tf.math.log(-tf.math.log(uniform))
    return tf.argmax(logits + tf.where(is_random, noise, 0.0), axis=-1, output_type=tf.int32)
