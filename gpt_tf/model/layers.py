"""The parts of the decoder: embedding, masked self-attention, feed-forward, block.

Letters used for dimensions, here and in `gpt.py` and `losses.py`:
  B batch, T time, D width, H heads, C width of one head, F inner width, V rows of the softmax.
"""

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model.attention import MASKED, causal_attention, recomputed
from gpt_tf.model.dropout import dropout
from gpt_tf.model.linear import project
from gpt_tf.model.recomputation import keep


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far.

    Rows of unlike length end at the same column: shorter ones have empty columns before them.

    keys, values: float [B, H, S, C], of S columns.
    length: int32 scalar, columns in use.
    starts: int32 [B], the column of each row's first token.
    """

    keys: tf.Tensor
    values: tf.Tensor
    length: tf.Tensor
    starts: tf.Tensor


def _normal(config: ModelConfig, seed: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=config.initializer_range, seed=seed)


def _dense(units: int, name: str, config: ModelConfig, seed: int, dtype) -> keras.layers.Dense:
    return keras.layers.Dense(units, name=name, dtype=dtype,
                              kernel_initializer=_normal(config, seed))


class TokenAndPositionEmbedding(keras.layers.Layer):
    """Sum of a token's and its position's learned rows, with dropout on the sum (section 4.1)."""

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._rate = config.embedding_dropout
        self.token = keras.layers.ReversibleEmbedding(
            config.num_token_rows, config.hidden_dim, name="token", dtype=self.dtype_policy,
            embeddings_initializer=_normal(config, seed))
        self.position = keras.layers.Embedding(
            config.max_sequence_length, config.hidden_dim, name="position",
            dtype=self.dtype_policy, embeddings_initializer=_normal(config, seed + 1))

    def build(self, input_shape=None):
        """Makes the two tables."""
        self.token.build()
        self.position.build()

    def call(self, token_ids, dropout_keys=None, cache: Cache | None = None):
        """int32 [B, T] -> [B, T, D]; with a cache, of the T tokens after those it holds."""
        positions = tf.range(tf.shape(token_ids)[1])
        if cache is not None:
            # Before a row's first token, and past its last position, columns mean nothing.
            positions = tf.clip_by_value(cache.length + positions - cache.starts[:, None],
                                         0, self.position.input_dim - 1)
        x = self.token(token_ids) + self.position(positions)
        return dropout(x, self._rate, dropout_keys, site=0)

    def with_positions(self, rows, positions, dropout_keys=None):
        """As `call`, of tokens' rows [B, T, D] and the table of positions [P, D]."""
        x = tf.cast(rows, self.compute_dtype) + tf.cast(positions, self.compute_dtype)[
            :rows.shape[1]]
        return dropout(x, self._rate, dropout_keys, site=0)


class CausalSelfAttention(keras.layers.Layer):
    """Multi-head self-attention in which no token sees a later one (Vaswani et al. 2017)."""

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._width = config.hidden_dim
        self._num_heads = config.num_heads
        self._rate = config.attention_dropout
        self.query, self.key, self.value, self.output_projection = (
            _dense(config.hidden_dim, name, config, seed + i, self.dtype_policy)
            for i, name in enumerate(("query", "key", "value", "output")))

    def build(self, input_shape=None):
        """Makes the four projections."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build((None, self._width))

    def _split_heads(self, x: tf.Tensor, b: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        # The layer's input says b and t: tf2onnx loses those of a Dense's output.
        x = tf.reshape(x, [b, t, self._num_heads, x.shape[-1] // self._num_heads])
        return tf.transpose(x, [0, 2, 1, 3])  # [B, H, T, C]

    def call(self, x, dropout_keys=None, cache: Cache | None = None):
        """[B, T, D] -> [B, T, D]; with a cache, also the cache grown by these T tokens."""
        b, t, width = tf.shape(x)[0], tf.shape(x)[1], x.shape[-1]
        query, key, value = (self._split_heads(project(layer, x), b, t)
                             for layer in (self.query, self.key, self.value))
        query *= (width // self._num_heads) ** -0.5
        if cache is None:
            x = causal_attention(keep(query), keep(key), keep(value), self._rate, dropout_keys)
        else:
            x, cache = _attend_to_cache(query, key, value, cache)
        x = tf.transpose(x, [0, 2, 1, 3])  # [B, T, H, C]
        x = keep(project(self.output_projection, tf.reshape(x, [b, t, width])))
        return x if cache is None else (x, cache)


def _attend_to_cache(query, key, value, cache: Cache) -> tuple[tf.Tensor, Cache]:
    """Attention of T further tokens, [B, H, T, C] each, and the cache grown by them."""
    length = tf.shape(query)[2]
    cache = Cache(_write(cache.keys, key, cache.length), _write(cache.values, value, cache.length),
                  cache.length + length, cache.starts)
    scores = tf.cast(tf.matmul(query, cache.keys, transpose_b=True), tf.float32)  # [B, H, T, S]
    columns = tf.range(tf.shape(cache.keys)[2])
    visible = columns <= (cache.length - length + tf.range(length))[:, None]  # [T, S]
    visible &= (columns >= cache.starts[:, None])[:, None, None, :]  # [B, 1, T, S]
    weights = tf.nn.softmax(tf.where(visible, scores, MASKED))
    return tf.matmul(tf.cast(weights, value.dtype), cache.values), cache


def _write(buffer: tf.Tensor, new: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Puts [B, H, T, C] into [B, H, S, C] at column `start`."""
    return keras.ops.slice_update(buffer, [0, 0, start, 0], tf.cast(new, buffer.dtype))


class FeedForward(keras.layers.Layer):
    """Position-wise two-layer network with GELU in its tanh form (Hendrycks & Gimpel 2016)."""

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._width = config.hidden_dim
        self.intermediate = _dense(config.intermediate_dim, "intermediate", config, seed,
                                   self.dtype_policy)
        self.output_projection = _dense(config.hidden_dim, "output", config, seed + 1,
                                        self.dtype_policy)

    def build(self, input_shape=None):
        """Makes the two projections."""
        self.intermediate.build((None, self._width))
        self.output_projection.build((None, self.intermediate.units))

    def call(self, x):
        """[B, T, D] -> [B, T, D]."""
        inner = gelu(keep(project(self.intermediate, x)))
        return keep(project(self.output_projection, inner))


def gelu(x: tf.Tensor) -> tf.Tensor:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the form of the released program.

    Its gradient keeps x alone and computes the rest again, which is cheaper than to fetch it.
    """
    scale, cubic = math.sqrt(2.0 / math.pi), 0.044715

    def tanh(x):
        return tf.tanh(scale * (x + cubic * x * x * x))

    @tf.custom_gradient
    def apply(x):
        def gradient(upstream):
            again = recomputed(x, upstream)
            t = tanh(again)
            slope = 0.5 * again * (1.0 - t * t) * scale * (1.0 + 3.0 * cubic * again * again)
            return upstream * (0.5 * (1.0 + t) + slope)

        return 0.5 * x * (1.0 + tanh(x)), gradient

    return apply(x)


class DecoderBlock(keras.layers.Layer):
    """Post-norm block: h = LN(x + attention(x)); h = LN(h + feed_forward(h)) (section 3.1)."""

    # Dropout places of one block: attention weights, attention's output, feed-forward's output.
    # They are counted from 0 in each; its keys make them its own (`GPT.block_keys`).
    num_sites = 3

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._width, self._num_heads = config.hidden_dim, config.num_heads
        self._rate = config.dropout
        dtype = self.dtype_policy
        self.attention = CausalSelfAttention(config, seed, name="attention", dtype=dtype)
        self.feed_forward = FeedForward(config, seed + 4, name="feed_forward", dtype=dtype)
        self.attention_norm, self.feed_forward_norm = (
            keras.layers.LayerNormalization(epsilon=config.layer_norm_epsilon, name=name,
                                            dtype=dtype)
            for name in ("attention_norm", "feed_forward_norm"))

    def build(self, input_shape=None):
        """Makes the parts."""
        self.attention.build()
        self.feed_forward.build()
        self.attention_norm.build((None, None, self._width))
        self.feed_forward_norm.build((None, None, self._width))

    def empty_cache(self, starts: tf.Tensor, num_columns) -> Cache:
        """A cache of so many columns; row i's first token comes at `starts[i]`, int32 [B]."""
        shape = [tf.shape(starts)[0], self._num_heads, num_columns, self._width // self._num_heads]
        zeros = tf.zeros(shape, self.compute_dtype)
        return Cache(zeros, zeros, tf.constant(0), starts)

    def call(self, x, dropout_keys=None, cache: Cache | None = None):
        """[B, T, D] -> [B, T, D]; with a cache, also the grown cache."""
        if cache is None:
            attended = self.attention(x, dropout_keys=dropout_keys)
        else:
            attended, cache = self.attention(x, dropout_keys=dropout_keys, cache=cache)
        attended = dropout(attended, self._rate, dropout_keys, site=1)
        x = self.attention_norm(x + attended)
        fed = dropout(self.feed_forward(x), self._rate, dropout_keys, site=2)
        x = self.feed_forward_norm(x + fed)
        return x if cache is None else (x, cache)
