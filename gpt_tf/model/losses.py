"""The language-model loss, computed without ever holding all logits. Letters as in `layers.py`."""

from collections.abc import Callable
import math

import tensorflow as tf

from gpt_tf.model.by_shape import FunctionByShape, shared

# Logits in memory at once, in floats: 2**23 are 32 MB, and large enough for a full-speed matmul of
# a processor. On a GPU 1 GB: it wants thousands of rows.
_CHUNK_FLOATS = 2**23
_GPU_FACTOR = 32
# Rows of the table in a matmul on a GPU are a multiple of this: of the paper's 40,478, which only 2
# divides, it makes products at half its rate.
_GPU_ROWS_MULTIPLE = 64


def flatten_rows(x: tf.Tensor) -> tf.Tensor:
    """[B, T, ...] -> [B T, ...]."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def _length(x: tf.Tensor):
    """Length of the first axis, a number where it is known."""
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


def on_gpu() -> bool:
    """Whether chunks are made for a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def chunk_length(vocabulary_rows: int, width: int) -> int:
    """Tokens whose logits are in memory at once.

    As many as the states are wide at least: each chunk costs a pass over the gradient of the whole
    table, which is no larger then than the chunk's logits.
    """
    floats = _CHUNK_FLOATS * (_GPU_FACTOR if on_gpu() else 1)
    return max(64, width, floats // vocabulary_rows)


def _chunks(table_shape: tf.TensorShape, *tensors):
    """Cuts tensors [N, ...] into [N / n, n, ...], n tokens a chunk, zeros filled up at the end."""
    total = _length(tensors[0])
    # Equal chunks: one that is mostly filling-up would cost as much as a full one.
    count = -(-total // chunk_length(*table_shape))
    size = -(-total // count)
    padding = -total % size
    return [tf.reshape(tf.pad(t, [[0, padding]] + [[0, 0]] * (len(t.shape) - 1)),
                       [-1, size, *t.shape[1:]]) for t in tensors]


def _log_likelihoods(hidden, table, targets):
    """Log-probability of each target: ([n], and the softmax's log-normaliser and logits)."""
    logits = tf.cast(tf.matmul(hidden, table, transpose_b=True), tf.float32)  # [n, V]
    return _of_targets(logits, targets)


def _of_targets(logits, targets):
    normaliser = tf.reduce_logsumexp(logits, axis=-1)
    target_logits = tf.gather(logits, targets, batch_dims=1)
    return target_logits - normaliser, normaliser, logits


def token_losses(hidden: tf.Tensor, table: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of each target, without a gradient (evaluation).

    Args:
      hidden: [N, D] hidden states.
      table: [V, D] output rows.
      targets: int32 [N].

    Returns:
      float32 [N], in nats.
    """
    total = _length(hidden)
    table = tf.cast(table, hidden.dtype)
    losses = tf.map_fn(lambda chunk: -_log_likelihoods(chunk[0], table, chunk[1])[0],
                       tuple(_chunks(table.shape, hidden, targets)),
                       fn_output_signature=tf.float32)
    return tf.reshape(losses, [-1])[:total]


def packed_token_losses(hidden: tf.Tensor, table: tf.Tensor, targets: tf.Tensor,
                        mask: tf.Tensor) -> tf.Tensor:
    """As `token_losses`, of the targets in `mask` alone: the softmax runs over few others.

    Args:
      hidden: [N, D] hidden states.
      table: [V, D] output rows.
      targets: int32 [N].
      mask: float32 [N] of ones and zeros.

    Returns:
      float32 [N], in nats; 0 outside the mask.
    """
    table = tf.cast(table, hidden.dtype)
    order = _packed(mask)
    hidden_chunks, target_chunks = _chunks(table.shape, tf.gather(hidden, order),
                                           tf.gather(targets, order))
    count, size = target_chunks.shape
    used = -(-tf.cast(tf.reduce_sum(mask), tf.int32) // size)

    def body(i, losses):
        return i + 1, losses.write(
            i, -_log_likelihoods(hidden_chunks[i], table, target_chunks[i])[0])

    losses = tf.TensorArray(tf.float32, size=count, element_shape=[size])
    _, losses = tf.while_loop(lambda i, _: i < used, body, (0, losses), maximum_iterations=count)
    packed = tf.reshape(losses.stack(), [-1])[:mask.shape[0]]
    return mask * tf.scatter_nd(order[:, None], packed, mask.shape)


def _packed(mask: tf.Tensor) -> tf.Tensor:
    """int32 [N], the places of the ones of a mask and then the others: a loop may stop early."""
    return tf.math.top_k(mask, k=_length(mask)).indices


def weighted_lm_loss(hidden: tf.Tensor, table: tf.Tensor, targets: tf.Tensor,
                     weights: tf.Tensor):
    """Sum of `weights` times the negative log-likelihoods of `targets`.

    Both gradients are formed chunk by chunk in the forward pass, while a chunk's logits are at
    hand: they are never all in memory and never computed twice.

    Args:
      hidden: [N, D] hidden states.
      table: [V, D] output rows.
      targets: int32 [N].
      weights: float32 [N]; 0 leaves a token out. They get no gradient.

    Returns:
      float32 scalar, in nats.
    """
    return _lm_loss(hidden, table, targets, weights, _length(hidden))


def packed_lm_loss(hidden: tf.Tensor, table: tf.Tensor, targets: tf.Tensor,
                   weights: tf.Tensor) -> tf.Tensor:
    """As `weighted_lm_loss`, on padded sequences: the softmax runs over few tokens of weight 0.

    Args:
      hidden: [B, T, D] hidden states.
      table: [V, D] output rows.
      targets: int32 [B, T].
      weights: float32 [B, T].
    """
    width = hidden.shape[-1]
    weights = tf.reshape(weights, [-1])
    counts = tf.cast(weights > 0, tf.float32)
    order = _packed(counts)
    return _lm_loss(tf.gather(tf.reshape(hidden, [-1, width]), order), table,
                    tf.gather(tf.reshape(targets, [-1]), order), tf.gather(weights, order),
                    tf.cast(tf.reduce_sum(counts), tf.int32))


@shared
def compiled(loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """`weighted_lm_loss` or `packed_lm_loss` as a program of its own, with both gradients."""
    def with_gradients(hidden, table, targets, weights):
        with tf.GradientTape() as tape:
            tape.watch([hidden, table])
            value = loss(hidden, table, targets, weights)
        return value, *tape.gradient(value, [hidden, table])

    program = FunctionByShape(with_gradients, jit_compile=True)

    @tf.custom_gradient
    def run(hidden, table, targets, weights):
        value, d_hidden, d_table = program(hidden, table, targets, weights)
        return value, lambda upstream: (tf.cast(upstream, d_hidden.dtype) * d_hidden,
                                        tf.cast(upstream, d_table.dtype) * d_table, None, None)

    return run


@tf.custom_gradient
def _lm_loss(hidden, table, targets, weights, num_tokens):
    """`weighted_lm_loss` of the first `num_tokens` tokens; the others weigh nothing."""
    total, width, rows = _length(hidden), hidden.shape[1], table.shape[0]
    compute_table = tf.cast(table, hidden.dtype)
    if on_gpu():
        compute_table = tf.pad(compute_table, [[0, -rows % _GPU_ROWS_MULTIPLE], [0, 0]])
    columns = tf.range(compute_table.shape[0])[None, :]
    chunks = _chunks(table.shape, hidden, targets, weights)
    count, size = _length(chunks[0]), _length(chunks[0][0])
    used = tf.maximum(1, -(-num_tokens // size))  # zero chunks would not stack

    def body(i, loss, d_table, d_hidden):
        h, t, w = (chunk[i] for chunk in chunks)
        logits = tf.cast(tf.matmul(h, compute_table, transpose_b=True), tf.float32)
        if compute_table.shape[0] > rows:
            logits = tf.where(columns < rows, logits, -math.inf)
        likelihoods, normaliser, logits = _of_targets(logits, t)
        # d loss / d logits = w (softmax - one_hot(target)); a comparison fuses, a scatter does not.
        one_hot = columns == t[:, None]
        d_logits = tf.exp(logits - normaliser[:, None]) - tf.cast(one_hot, tf.float32)
        d_logits = tf.cast(d_logits * w[:, None], hidden.dtype)
        d_table += tf.cast(tf.matmul(d_logits, h, transpose_a=True), tf.float32)
        d_hidden = d_hidden.write(i, tf.matmul(d_logits, compute_table))
        return i + 1, loss - tf.reduce_sum(w * likelihoods), d_table, d_hidden

    state = (0, 0.0, tf.zeros(compute_table.shape),
             tf.TensorArray(hidden.dtype, size=count, element_shape=chunks[0].shape[1:]))
    _, loss, d_table, d_hidden = tf.while_loop(lambda i, *_: i < used, body, state,
                                               maximum_iterations=count)
    d_table = d_table[:rows]
    d_hidden = tf.reshape(d_hidden.stack(), [-1, width])[:total]

    def gradient(upstream):
        return (tf.cast(upstream, hidden.dtype) * d_hidden,
                tf.cast(upstream * d_table, table.dtype), None, None, None)

    return loss, gradient


def shift_targets(token_ids: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What each position predicts, and whether there is anything to predict.

    Args:
      token_ids: int32 [B, T].
      lengths: int32 [B], tokens before the padding; 0 for a row that fills up a batch.

    Returns:
      targets int32 [B, T] (position t's is token t + 1) and float32 [B, T] of ones and zeros.

    Example:
      token_ids [[7, 8, 9, 0]], lengths [3] -> targets [[8, 9, 0, 0]], mask [[1, 1, 0, 0]]
    """
    targets = tf.pad(token_ids[:, 1:], [[0, 0], [0, 1]])
    mask = tf.sequence_mask(lengths - 1, tf.shape(token_ids)[1], dtype=tf.float32)
    return targets, mask
