"""The decoder and its parts as layers that Keras can save, and whose dropout it can draw.

Two have the names of their parents in `gpt_tf.model`, because Keras's files call weights by the
class of their layer.
"""

import dataclasses
import random

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model import gpt, layers
from gpt_tf.model.dropout import dropout, make_dropout_keys

register = keras.saving.register_keras_serializable("gpt_tf")


class _DrawsDropout:
    """A layer that in training draws the dropout keys that it is not given."""

    seed_generator: keras.random.SeedGenerator

    def _keys(self, x, dropout_keys, training):
        """uint32 [B, 2] for the rows of `x`, or None where nothing is dropped."""
        if dropout_keys is not None or not training:
            return dropout_keys
        seed, step = tf.unstack(self.seed_generator.next())
        return make_dropout_keys(seed, step, tf.range(tf.shape(x)[0]))


@register
class AddPositions(_DrawsDropout, keras.layers.Layer):
    """Token rows to embeddings: adds the rows of their positions, with dropout on the sum.

    Args:
      position: a `keras.layers.Embedding`, the table of the positions.
      rate: of dropout.
      seed: of the dropout.
    """

    def __init__(self, position: keras.layers.Embedding, rate: float, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.position, self.rate, self.seed = position, rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        """[B, T, D] -> [B, T, D]."""
        keys = self._keys(x, None, training)
        return dropout(x + self.position(tf.range(tf.shape(x)[1])), self.rate, keys, site=0)

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | {"position": keras.layers.serialize(self.position),
                                       "rate": self.rate, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """The layer of `get_config`."""
        return super().from_config(
            config | {"position": keras.layers.deserialize(config["position"])})


@register
class DecoderBlock(_DrawsDropout, layers.DecoderBlock):
    """A block of the decoder; arguments and calls are its parent's."""

    def __init__(self, config: ModelConfig, seed: int, **kwargs):
        super().__init__(config, seed, **kwargs)
        self._arguments = (config, seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, dropout_keys=None, cache=None, training=False):
        """[B, T, D] -> [B, T, D]; with a cache, also the grown cache."""
        return super().call(x, self._keys(x, dropout_keys, training), cache)

    def get_config(self):
        """Everything the constructor takes."""
        config, seed = self._arguments
        return super().get_config() | {"config": dataclasses.asdict(config), "seed": seed}

    @classmethod
    def from_config(cls, config):
        """The block of `get_config`."""
        config = config | {"config": ModelConfig(**config["config"])}
        config.pop("index", None)  # of models saved when a block knew its place
        return super().from_config(config)


class GPT(_DrawsDropout, gpt.GPT):
    """The whole decoder, of blocks that Keras can save.

    Args:
      config: shape and dropout rates.
      seed: see `gpt.GPT`; None takes one as Keras's layers do, from what
        `keras.utils.set_random_seed` sets.
      dtype: a dtype policy.
    """

    block_class = DecoderBlock

    def __init__(self, config: ModelConfig, seed: int | None, dtype):
        self.seed = random.randint(1, 10**9) if seed is None else seed
        super().__init__(config, self.seed, dtype)

    def build(self, input_shape=None):
        """Makes all variables, and the state of the dropout."""
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        super().build()

    def call(self, token_ids, dropout_keys=None, training=False):
        """int32 [B, T] -> hidden states [B, T, D]; keys as `gpt.GPT` has them."""
        return super().call(token_ids, self._keys(token_ids, dropout_keys, training))

    def nodes(self, token_ids):
        """As `call`, of a `keras.Input`: each part is a node of its functional model."""
        embedding = self.embedding
        x = AddPositions(embedding.position, self.config.embedding_dropout, self.seed,
                         dtype=self.dtype_policy, name="add_positions")(embedding.token(token_ids))
        for block in self.blocks:
            x = block(x)
        return x
