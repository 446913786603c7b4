"""The LSTM of the paper's ablation: a recurrent layer where the decoder has its blocks.

Radford et al. 2018, section 5 ("single layer 2048 unit LSTM using the same framework"): embedding,
tied softmax, heads, losses and recipes are the decoder's. Letters as in `gpt_tf/model/layers.py`,
and U units. Gates stand in Keras's order: input, forget, candidate, output.
"""

from collections.abc import Iterator
import contextlib

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model.dropout import dropout
from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import Cache
from gpt_tf.model.linear import project
from gpt_tf.model.recomputation import keep


@contextlib.contextmanager
def in_place_of_blocks() -> Iterator[None]:
    """Inside the block a new `GPT` has `LSTMBlock`s, whoever makes it."""
    before, GPT.block_class = GPT.block_class, LSTMBlock
    try:
        yield
    finally:
        GPT.block_class = before


class LSTMBlock(keras.layers.Layer):
    """h = W LSTM(x) + b: long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates
    (Gers et al. 2000), and a projection to the decoder's width.

    It stands in the place of a `DecoderBlock`: no position sees a later one, and padding at the
    end changes nothing before it. Its units are the shape's `intermediate_dim`. Initial weights
    are those of Keras's layer: Glorot's, orthogonal for the recurrent ones, and a bias of 1 for
    the forget gate.

    Args:
      config: the decoder's shape and dropout.
      seed: decides the initial weights.
    """

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._width, self._rate, self._seed = config.hidden_dim, config.dropout, seed
        self._units = config.intermediate_dim
        self.input_projection = self._dense(4 * self._units, "input", 0,
                                            bias_initializer=self._initial_bias)
        self.output_projection = self._dense(self._width, "output", 2)

    def _dense(self, units: int, name: str, index: int, **options) -> keras.layers.Dense:
        return keras.layers.Dense(
            units, name=name, dtype=self.dtype_policy, **options,
            kernel_initializer=keras.initializers.GlorotUniform(seed=self._seed + index))

    def _initial_bias(self, shape, dtype=None):
        zeros = keras.ops.zeros([self._units], dtype)
        return keras.ops.concatenate([zeros, zeros + 1.0, zeros, zeros])

    def build(self, input_shape=None):
        """Makes the weights."""
        self.input_projection.build((None, self._width))
        self.output_projection.build((None, self._units))
        self.recurrent = self.add_weight(
            name="recurrent", shape=(self._units, 4 * self._units),
            initializer=keras.initializers.Orthogonal(seed=self._seed + 1))

    def empty_cache(self, starts: tf.Tensor, num_columns) -> Cache:
        """The state before the first token, in the place of keys and values, [B, U] each."""
        state = tf.zeros([tf.shape(starts)[0], self._units], self.compute_dtype)
        return Cache(state, state, tf.constant(0), starts)

    def call(self, x, dropout_keys=None, cache: Cache | None = None):
        """[B, T, D] -> [B, T, D]; with a cache, also the state after these T tokens."""
        inputs = tf.transpose(project(self.input_projection, x), [1, 0, 2])  # [T, B, 4 U]
        recurrent = tf.cast(self.recurrent, inputs.dtype)
        if cache is None:
            hidden = run(inputs, recurrent)
        else:
            columns = cache.length + tf.range(tf.shape(x)[1])
            hidden, cells, _ = _scan(inputs, recurrent, (cache.keys, cache.values),
                                     columns[:, None] >= cache.starts)
            cache = Cache(hidden[-1], cells[-1], cache.length + tf.shape(x)[1], cache.starts)
        hidden = project(self.output_projection, tf.transpose(hidden, [1, 0, 2]))
        hidden = dropout(hidden, self._rate, dropout_keys, site=1)
        return hidden if cache is None else (hidden, cache)


@tf.custom_gradient
def run(inputs, recurrent):
    """The states of an LSTM that begins with zeros.

    The loop of the backward pass has what must come one after the other alone; the gradient of the
    recurrent weights is one product after it. TensorFlow's own would add T such matrices up.

    Args:
      inputs: [T, B, 4 U], what the tokens add to the gates.
      recurrent: [U, 4 U].

    Returns:
      [T, B, U].
    """
    zeros = tf.zeros_like(inputs[0, :, :recurrent.shape[0]])  # [B, U]
    hidden, cells, gates = map(keep, _scan(inputs, recurrent, (zeros, zeros)))

    def gradient(upstream):
        def back(after, at):
            d_gates, d_cell = after
            d_hidden, gates, cell, cell_before = at
            i, f, g, o = tf.split(gates, 4, axis=1)
            d_hidden += tf.matmul(d_gates, recurrent, transpose_b=True)
            t = tf.tanh(cell)
            d_cell += d_hidden * o * (1.0 - t * t)
            d_gates = [d_cell * g * i * (1.0 - i), d_cell * cell_before * f * (1.0 - f),
                       d_cell * i * (1.0 - g * g), d_hidden * t * o * (1.0 - o)]
            return tf.concat(d_gates, axis=1), d_cell * f

        hidden_before, cells_before = (tf.concat([zeros[None], x[:-1]], axis=0)
                                       for x in (hidden, cells))
        d_gates, _ = tf.scan(back, (upstream, gates, cells, cells_before),
                             (tf.zeros_like(inputs[0]), zeros), reverse=True)
        d_recurrent = tf.matmul(tf.reshape(hidden_before, [-1, hidden.shape[-1]]),
                                tf.reshape(d_gates, [-1, inputs.shape[-1]]), transpose_a=True)
        return d_gates, d_recurrent

    return hidden, gradient


def _scan(inputs, recurrent, state, is_there=None):
    """(hidden states, cells [T, B, U], gates [T, B, 4 U]) from a state (hidden, cell) on; it stays
    as it is where `is_there`, bool [T, B], is false."""
    def step(before, at):
        hidden_before, cell_before, _ = before
        from_token, there = at if is_there is not None else (at, None)
        i, f, g, o = tf.split(from_token + tf.matmul(hidden_before, recurrent), 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        cell = f * cell_before + i * g
        hidden = o * tf.tanh(cell)
        if there is not None:
            hidden, cell = (tf.where(there[:, None], new, old) for new, old in (
                (hidden, hidden_before), (cell, cell_before)))
        return hidden, cell, tf.concat([i, f, g, o], axis=1)

    elements = inputs if is_there is None else (inputs, is_there)
    return tf.scan(step, elements, (*state, tf.zeros_like(inputs[0])))
