"""Causal attention by blocks of queries, with a gradient of its own. Letters as in `layers.py`.

Half of all pairs of a query and a key lie above the diagonal. A block of queries meets the keys up
to its own end, so most of them are never computed; and the backward pass computes a block's weights
again from one number for each query, so that [B, H, T, T] is never in memory (the idea of Dao et
al. 2022, "FlashAttention", on the level of matrix products).
"""

import tensorflow as tf

from gpt_tf.model.dropout import drop, element_bits
from gpt_tf.model.recomputation import keep

# Queries of a block: of 512 tokens 62 % of the pairs are computed. Smaller ones save few more.
BLOCK = 128
MASKED = -1e9  # scores above the diagonal, as released


def recomputed(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """`x`, for a backward pass that computes again what the forward pass has had of it.

    XLA would find the two alike, or be early with the second, and keep the result in memory in
    between; a gradient of the shape of `x` cannot be had early.
    """
    return x + 0.0 * upstream


def causal_attention(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor,
                     rate: float = 0.0, dropout_keys: tf.Tensor | None = None,
                     site: int = 0) -> tf.Tensor:
    """softmax(query key^T, of keys that are not later) value, with dropout on the weights.

    The softmax is taken in float32. The masks are those that `dropout.dropout` would draw for all
    weights [B, H, T, T] at once.

    Args:
      query: [B, H, T, C], scaled.
      key, value: [B, H, T, C].
      rate: probability that a weight is dropped.
      dropout_keys: uint32 [B, 2] of `dropout.make_dropout_keys`; None drops nothing.
      site: see `dropout.random_bits`.

    Returns:
      [B, H, T, C] like `value`.
    """
    drops = dropout_keys is not None and rate > 0.0
    heads, time = query.shape[1], query.shape[2]
    ends = [tf.shape(query)[2]] if time is None else [
        min(start + BLOCK, time) for start in range(0, time, BLOCK)]
    blocks = list(zip([0, *ends], ends))

    def dropped(x, rows, columns):
        """Weights, or their gradients, of queries `rows` and keys `columns` after dropout."""
        if not drops:
            return x
        total = tf.shape(query)[2]
        head = tf.range(heads)[:, None, None]
        return drop(x, rate, element_bits(dropout_keys, site, head * total * total, rows * total,
                                          columns))

    @tf.custom_gradient
    def attend(query, key, value):
        outputs, normalisers = [], []
        for start, end in blocks:
            rows, columns = tf.range(start, end)[:, None], tf.range(end)
            scores = tf.matmul(query[:, :, start:end], key[:, :, :end], transpose_b=True)
            scores = tf.where(columns <= rows, tf.cast(scores, tf.float32), MASKED)
            highest = tf.reduce_max(scores, axis=-1, keepdims=True)
            exponentials = tf.exp(scores - highest)
            total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
            weights = dropped(tf.cast(exponentials / total, value.dtype), rows, columns)
            outputs.append(tf.matmul(weights, value[:, :, :end]))
            normalisers.append(highest + tf.math.log(total))  # [B, H, end - start, 1]
        output = keep(tf.concat(outputs, axis=2))
        normalisers = tf.split(keep(tf.concat(normalisers, axis=2)),
                               [end - start for start, end in blocks], axis=2)

        def gradient(upstream):
            d_queries, d_key, d_value = [], tf.zeros_like(key), tf.zeros_like(value)
            for (start, end), normaliser in zip(blocks, normalisers):
                # All are transposed, [.., keys, queries]. That is also why XLA does not find here
                # what the forward pass had, and keep it in memory instead of computing it again.
                rows, columns = tf.range(start, end), tf.range(end)[:, None]
                d_output = upstream[:, :, start:end]
                q = recomputed(query[:, :, start:end], d_output)
                scores = tf.matmul(key[:, :, :end], q, transpose_b=True)
                scores = tf.where(columns <= rows, tf.cast(scores, tf.float32), MASKED)
                weights = tf.exp(scores - tf.linalg.matrix_transpose(normaliser))
                d_weights = tf.matmul(value[:, :, :end], d_output, transpose_b=True)
                d_weights = tf.cast(dropped(d_weights, rows, columns), tf.float32)
                # The weighted mean over keys of d_weights, from what is [B, H, end - start, C].
                mean = tf.reduce_sum(
                    tf.cast(d_output * output[:, :, start:end], tf.float32), axis=-1)
                d_scores = tf.cast(weights * (d_weights - mean[:, :, None]), query.dtype)
                weights = dropped(tf.cast(weights, value.dtype), rows, columns)
                d_queries.append(tf.matmul(d_scores, key[:, :, :end], transpose_a=True))
                after = [[0, 0], [0, 0], [0, tf.shape(key)[2] - end], [0, 0]]
                d_key += tf.pad(tf.matmul(d_scores, q), after)
                d_value += tf.pad(tf.matmul(weights, d_output), after)
            return tf.concat(d_queries, axis=2), d_key, d_value

        return output, gradient

    return attend(query, key, value)
