"""GPT-1, readable beside Radford et al. 2018, section 3. Letters as in `layers.py`."""

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model.layers import Cache, DecoderBlock, TokenAndPositionEmbedding
from gpt_tf.model.linear import scores

_SEEDS_PER_BLOCK = 8  # a block draws six kernels; each has a seed of its own


def part_seed(seed: int, part: int) -> int:
    """First seed of a part: 0 the embedding, 1 .. L the blocks, L + 1 the task's head."""
    # Spread the seeds so that neighbouring run seeds share no kernel.
    return (seed * 7919 + 1) % 2**31 + _SEEDS_PER_BLOCK * part


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

    # A subclass, or an ablation, may bring another: what it computes, class and config decide.
    block_class = DecoderBlock

    def __init__(self, config: ModelConfig, seed: int = 0, dtype="float32", name="gpt"):
        super().__init__(name=name, dtype=dtype)
        self.config = config
        self.embedding = TokenAndPositionEmbedding(config, part_seed(seed, 0), name="embedding",
                                                   dtype=self.dtype_policy)
        self.blocks = [
            self.block_class(config, part_seed(seed, index + 1), name=f"block_{index}",
                             dtype=self.dtype_policy)
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
          dropout_keys: uint32 [B, 2] of `dropout.make_dropout_keys` to train; None for no dropout.

        Returns:
          [B, T, D] in the compute dtype. A position depends on itself and earlier ones only.
        """
        x = self.embedding(token_ids, dropout_keys=dropout_keys)
        for index, block in enumerate(self.blocks):
            x = block(x, dropout_keys=self.block_keys(dropout_keys, index))
        return x

    @staticmethod
    def block_keys(dropout_keys: tf.Tensor | None, index: int) -> tf.Tensor | None:
        """The keys of a block's own masks: site 0 is the embedding's, then come the blocks'."""
        if dropout_keys is None:
            return None
        return dropout_keys + tf.constant(1 + index * DecoderBlock.num_sites, tf.uint32)

    def call_with_cache(self, token_ids, caches: list[Cache]):
        """Hidden states [B, T, D] of T further tokens, and the caches grown by them."""
        x = self.embedding(token_ids, cache=caches[0])
        grown = []
        for block, cache in zip(self.blocks, caches):
            x, cache = block(x, cache=cache)
            grown.append(cache)
        return x, grown

    def empty_caches(self, starts: tf.Tensor, num_columns) -> list[Cache]:
        """One `Cache` of `num_columns` for each block; row i's first token comes at `starts[i]`."""
        return [block.empty_cache(starts, num_columns) for block in self.blocks]

    def assign(self, source: "GPT", num_layers: int = -1) -> None:
        """Takes the tables and the first blocks of another GPT of this shape.

        Args:
          source: may have more or fewer rows for special tokens: those that it lacks stay as they
            are, those that this model lacks are left.
          num_layers: blocks to take; -1: all.
        """
        ours, theirs = self.embedding.token.embeddings, source.embedding.token.embeddings
        rows = tf.cast(theirs, ours.dtype)[:ours.shape[0]]
        ours.assign(tf.concat([rows, tf.convert_to_tensor(ours)[rows.shape[0]:]], axis=0))
        self.embedding.position.embeddings.assign(source.embedding.position.embeddings)
        count = len(self.blocks) if num_layers < 0 else num_layers
        for block, other in zip(self.blocks[:count], source.blocks):
            for variable, value in zip(block.weights, other.weights, strict=True):
                variable.assign(value)

    def output_table(self) -> tf.Tensor:
        """The rows that the LM softmax runs over, [V, D]: token rows, tied."""
        token = self.embedding.token
        if token.quantization_mode or token.lora_enabled:
            table = token(tf.range(self.config.num_token_rows))
        else:
            table = tf.convert_to_tensor(token.embeddings)
        return self.softmax_rows(table)

    def softmax_rows(self, table: tf.Tensor) -> tf.Tensor:
        """The rows that the LM softmax runs over, of a table of tokens' rows."""
        if self.config.softmax_over_positions:
            positions = tf.convert_to_tensor(self.embedding.position.embeddings)
            table = tf.concat([table, positions], axis=0)
        return table

    def vocabulary_table(self) -> tf.Tensor:
        """Its rows of the vocabulary alone, [V, D]: a text holds no special token."""
        return self.output_table()[:self.config.vocabulary_size]

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., D] -> float32 [..., V]: all logits at once; training uses `losses` instead."""
        table = tf.cast(self.output_table(), hidden.dtype)
        return tf.cast(scores(hidden, table), tf.float32)
