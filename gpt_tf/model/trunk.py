"""The decoder in programs of its parts, each compiled once: letters as in `layers.py`.

One program of all blocks takes XLA time and memory that grow with their number, and they are
equal. So the blocks share two programs, which are given a block's variables, and what stands
between them is TensorFlow's to hold and to let go. Nor do the programs belong to one decoder: the
next of the same shape in a process, as of another seed or another fine-tuning, finds them compiled.
"""

from collections.abc import Callable

import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model.by_shape import FunctionByShape, shared
from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import TokenAndPositionEmbedding
from gpt_tf.model.losses import flatten_rows
from gpt_tf.model.recomputation import Recomputed

# (token ids int32 [B, T], dropout keys uint32 [B, 2] or None) -> hidden states [B, T, D], and the
# rows of the LM softmax [V, D].
Trunk = Callable[[tf.Tensor, tf.Tensor | None], tuple[tf.Tensor, tf.Tensor]]


def whole_trunk(gpt: GPT) -> Trunk:
    """The decoder as it is, to run operation by operation or in somebody's program."""
    return lambda token_ids, dropout_keys: (gpt(token_ids, dropout_keys), gpt.output_table())


@shared
def _training_programs(block_class: type, config: ModelConfig,
                       dtype: str) -> tuple[Recomputed, Recomputed]:
    """Of the embedding, behind the look-up of tokens, and of a block."""
    embedding = TokenAndPositionEmbedding(config, 0, dtype=dtype)
    block = _make_block(block_class, config, dtype)
    return (Recomputed(lambda tensors, keys: embedding.with_positions(*tensors, keys)),
            Recomputed(lambda tensors, keys: _stateless_block(
                block, tensors[0], tensors[1:], keys)))


@shared
def _block_program(block_class: type, config: ModelConfig, dtype: str) -> FunctionByShape:
    """Of a block without dropout and without a gradient."""
    block = _make_block(block_class, config, dtype)
    return FunctionByShape(lambda x, variables: _stateless_block(block, x, variables),
                           jit_compile=True)


@shared
def _make_block(block_class: type, config: ModelConfig, dtype: str):
    """A block of no decoder, for what it computes of variables that are given to it."""
    block = block_class(config, 0, dtype=dtype)
    block.build()
    for variable in block.weights:
        variable._value = None  # 28 MB at the paper's size that nobody would read
    return block


def _kind(gpt: GPT) -> tuple[type, ModelConfig, str]:
    """What decides the programs of a decoder."""
    return type(gpt.blocks[0]), gpt.config, gpt.dtype_policy.name


def compiled_trunk(gpt: GPT) -> Trunk:
    """The decoder in compiled parts, to be trained; its blocks are alike, as a run's are."""
    embed, run_block = _training_programs(*_kind(gpt))

    def run(token_ids, dropout_keys):
        embedding = gpt.embedding
        rows, table = _tied(tf.convert_to_tensor(embedding.token.embeddings), token_ids)
        x = embed([rows, tf.convert_to_tensor(embedding.position.embeddings)], dropout_keys)
        for index, block in enumerate(gpt.blocks):
            x = run_block([x, *map(tf.convert_to_tensor, block.trainable_variables)],
                          gpt.block_keys(dropout_keys, index))
        return x, gpt.softmax_rows(table)

    return run


def hidden_states(gpt: GPT, jit_compile: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """token ids int32 [B, T] -> hidden states [B, T, D] without dropout and without a gradient.

    Args:
      gpt: the decoder, with blocks that are alike, as a run's are.
      jit_compile: whether the program of a block is compiled; without it there is none.
    """
    if not jit_compile:
        return gpt
    run_block = _block_program(*_kind(gpt))

    def run(token_ids):
        x = gpt.embedding(token_ids)
        for block in gpt.blocks:
            x = run_block(x, list(map(tf.convert_to_tensor, block.trainable_variables)))
        return x

    return run


def _stateless_block(block, x, variables, dropout_keys=None):
    """What `block` makes of [B, T, D] with the values `variables` for its own."""
    return block.stateless_call(variables, [], x, dropout_keys=dropout_keys)[0]


@tf.custom_gradient
def _tied(table, token_ids):
    """The rows of `token_ids` in a table, and the table: their gradients meet in one tensor.

    Left to itself, TensorFlow would hold two of the table's size, and a third, their sum.
    """
    def gradient(d_rows, d_table):
        return tf.tensor_scatter_nd_add(d_table, tf.reshape(token_ids, [-1, 1]),
                                        flatten_rows(tf.cast(d_rows, d_table.dtype))), None

    return (tf.gather(table, token_ids), tf.identity(table)), gradient
