"""GPT-1, readable beside Radford et al. 2018, section 3. Letters as in `layers.py`."""

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.layers import Cache, DecoderBlock, TokenAndPositionEmbedding, dropout

_SEEDS_PER_BLOCK = 8  # a block draws six kernels; each has a seed of its own


class GPT(keras.layers.Layer):
    """The decoder trunk and the output head that shares its token embedding (equations 1 and 2).

    Args:
      config: shape and dropout rates.
      seed: decides the initial weights: N(0, 0.02) kernels and embeddings, zero biases, unit
        gains.
      dtype: a Keras dtype policy; "mixed_bfloat16" keeps variables, softmax and losses in float32.

    Example:
      model = GPT(ModelConfig(num_layers=2, num_heads=4, hidden_dim=64, intermediate_dim=256))
      logits = model.logits(model(token_ids))     # int32 [B, T] -> float32 [B, T, V]
    """

    def __init__(self, config: ModelConfig, seed: int = 0, dtype="float32", name="gpt"):
        super().__init__(name=name, dtype=dtype)
        self.config = config
        # Spread the seeds so that neighbouring run seeds share no kernel.
        first_seed = (seed * 7919 + 1) % 2**31
        self.embedding = TokenAndPositionEmbedding(config, first_seed, name="embedding",
                                                   dtype=self.dtype_policy)
        self.blocks = [
            DecoderBlock(config, index, first_seed + _SEEDS_PER_BLOCK * (index + 1),
                         name=f"block_{index}", dtype=self.dtype_policy)
            for index in range(config.num_layers)]
        self.build()

    def build(self, input_shape=None):
        """Makes all variables, named by their place: "gpt/block_0/attention/query/kernel"."""
        self.embedding.build()
        for block in self.blocks:
            block.build()

    def call(self, token_ids, dropout_keys=None):
        """Hidden states of the last block.

        Args:
          token_ids: int32 [B, T], T at most `max_sequence_length`; padding stands at the end.
          dropout_keys: uint32 [B, 2] of `layers.make_dropout_keys` to train; None for no dropout.

        Returns:
          [B, T, D] in the compute dtype. A position depends on itself and earlier ones only.
        """
        x = self.embedding(token_ids, dropout_keys=dropout_keys)
        for block in self.blocks:
            x = block(x, dropout_keys=dropout_keys)
        return x

    def call_with_cache(self, token_ids, caches: list[Cache]):
        """Hidden states [B, T, D] of T further tokens, and the caches grown by them."""
        x = self.embedding(token_ids, first_position=caches[0].length)
        grown = []
        for block, cache in zip(self.blocks, caches):
            x, cache = block(x, cache=cache)
            grown.append(cache)
        return x, grown

    def empty_caches(self, batch_size, max_length: int) -> list[Cache]:
        """One `Cache` for each block, for `max_length` tokens."""
        shape = [batch_size, self.config.num_heads, max_length,
                 self.config.hidden_dim // self.config.num_heads]
        zeros = tf.zeros(shape, self.compute_dtype)
        return [Cache(zeros, zeros, tf.constant(0)) for _ in self.blocks]

    def output_table(self) -> tf.Tensor:
        """The rows that the LM softmax runs over, float32 [V, D]: token rows, tied."""
        table = tf.convert_to_tensor(self.embedding.token.embeddings)
        if self.config.softmax_over_positions:
            positions = tf.convert_to_tensor(self.embedding.position.embeddings)
            table = tf.concat([table, positions], axis=0)
        return table

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., D] -> float32 [..., V]: all logits at once; training uses `losses` instead."""
        table = tf.cast(self.output_table(), hidden.dtype)
        return tf.cast(tf.tensordot(hidden, table, axes=[[-1], [1]]), tf.float32)


class TaskHead(keras.layers.Layer):
    """The linear layer Wy, with its bias as released, over one position (equation 3).

    Args:
      config: the trunk's.
      num_outputs: number of classes; 1 for a score of each choice.
      rate: dropout on the position's hidden state.
      seed: decides the initial kernel, N(0, 0.02).
    """

    def __init__(self, config: ModelConfig, num_outputs: int, rate: float = 0.1, seed: int = 0,
                 dtype="float32", name="task_head"):
        super().__init__(name=name, dtype=dtype)
        self._rate = rate
        self._site = 1 + config.num_layers * DecoderBlock.num_sites
        self.projection = keras.layers.Dense(
            num_outputs, name="projection", dtype=self.dtype_policy,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=config.initializer_range, seed=seed))
        self._width = config.hidden_dim
        self.build()

    def build(self, input_shape=None):
        """Makes the projection."""
        self.projection.build((None, self._width))

    def call(self, hidden, positions, dropout_keys=None):
        """Reads one position of each sequence.

        Args:
          hidden: [B, K, T, D], K sequences (choices) of each example.
          positions: int32 [B, K], where each sequence's extract token stands.
          dropout_keys: uint32 [B, 2]; the mask is shared by an example's choices, as released.

        Returns:
          float32 [B, K, num_outputs].
        """
        states = tf.gather(hidden, positions, axis=2, batch_dims=2)  # [B, K, D]
        if dropout_keys is not None:
            mask = dropout(tf.ones_like(states[:, :1]), self._rate, dropout_keys, self._site)
            states = states * mask
        return tf.cast(self.projection(states), tf.float32)
