"""What each head of a `GPT` looks at. Letters as in `layers.py`, and L layers."""

import numpy as np
import tensorflow as tf

from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import CausalSelfAttention


def attention_weights(model: GPT, token_ids: list[int]) -> np.ndarray:
    """The attention of every head over a text, without dropout.

    The layers keep none of it, so that training pays nothing for it: it is computed here from
    their projections.

    Args:
      model: the model.
      token_ids: T of them, at most the model's positions.

    Returns:
      float32 [L, H, T, T]; entry [l, h, t, s] is the weight that token t gives to token s, 0 for
      a later one. Each row sums to 1.
    """
    x = model.embedding(tf.constant([token_ids]))  # [1, T, D]
    weights = []
    for block in model.blocks:
        weights.append(_head_weights(block.attention, x[0], model.config.num_heads))
        x = block(x)
    return np.stack(weights)


def _head_weights(attention: CausalSelfAttention, x: tf.Tensor, num_heads: int) -> np.ndarray:
    """softmax(Q K^T / sqrt(C)) of one layer over earlier tokens: [T, D] -> [H, T, T]."""
    time, width = x.shape
    query, key = (tf.reshape(project(x), [time, num_heads, width // num_heads])
                  for project in (attention.query, attention.key))
    scores = tf.einsum("thc,shc->hts", query, key) * (width // num_heads) ** -0.5
    visible = tf.range(time)[None, :] <= tf.range(time)[:, None]
    return tf.nn.softmax(tf.where(visible, tf.cast(scores, tf.float32), -1e9)).numpy()
