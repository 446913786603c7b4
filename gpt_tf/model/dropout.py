"""Dropout by a hash: every mask is a pure function of (seed, update, row, place, element)."""

import tensorflow as tf


def _mix(x: tf.Tensor) -> tf.Tensor:
    """A bijection of uint32 whose every output bit depends on every input bit.

    Two multiply-xorshift rounds with the constants that C. Wellons found by search ("Prospecting
    for Hash Functions", 2018; lowbias32, bias 0.17).
    """
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x = x * tf.constant(0x7FEB352D, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))
    x = x * tf.constant(0x846CA68B, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def make_dropout_keys(seed: int, step: tf.Tensor, batch_rows: tf.Tensor) -> tf.Tensor:
    """Keys that make every dropout mask a pure function of (seed, step, row of the batch).

    Args:
      seed: the run's seed, below 2**31; or an int32 scalar.
      step: integer scalar, the number of the update.
      batch_rows: integer [B], each sequence's row in the global batch, so that replicas and
        micro-batches drop what one big batch would.

    Returns:
      uint32 [B, 2], to be given to the model as `dropout_keys`.
    """
    words = []
    for word in (0, 1):
        key = 2 * tf.cast(seed, tf.uint32) + tf.constant(word, tf.uint32)
        key = _mix(_mix(key) + tf.cast(step, tf.uint32))
        words.append(_mix(key + tf.cast(batch_rows, tf.uint32)))
    return tf.stack(words, axis=-1)


def random_bits(keys: tf.Tensor, site: int, row_shape: tf.Tensor) -> tf.Tensor:
    """Random numbers that are a hash of (key of the row, site, element).

    Counter-based numbers need no state, so a resumed run draws what the uninterrupted one would,
    and XLA fuses them into the loops around them (its own generator costs more than a matmul).

    Args:
      keys: uint32 [B, 2] of `make_dropout_keys`.
      site: number of the place in the model; numbers of different places are independent.
      row_shape: integer [R], shape of a row.

    Returns:
      uint32 [B, *row_shape].
    """
    places, stride = [], 1
    for axis, length in reversed(list(enumerate(tf.unstack(row_shape)))):
        place = tf.range(length) * stride
        places.append(tf.reshape(place, [-1] + [1] * (row_shape.shape[0] - axis - 1)))
        stride = stride * length
    return element_bits(keys, site, *reversed(places))


def element_bits(keys: tf.Tensor, site: int, *places: tf.Tensor) -> tf.Tensor:
    """`random_bits` of some elements of a row alone.

    Args:
      keys, site: as there.
      *places: int32, together of the shape [*E]; their sum is an element's place in a row that is
        laid out flat. One for each axis: what has the shape of all elements and hangs on nothing
        would become a constant of the program, of megabytes.

    Returns:
      uint32 [B, *E].
    """
    rank = max(len(place.shape) for place in places)
    hashed, second = (
        tf.reshape(_mix(keys[:, word] + tf.constant(site, tf.uint32)), [-1] + [1] * rank)
        for word in (0, 1))
    for place in places:
        hashed += tf.cast(place, tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    hashed = tf.bitwise.bitwise_xor(_mix(hashed), second) * tf.constant(0x2C1B3C6D, tf.uint32)
    return tf.bitwise.bitwise_xor(
        hashed, tf.bitwise.right_shift(hashed, tf.constant(15, tf.uint32)))


def dropout(x: tf.Tensor, rate: float, keys: tf.Tensor | None, site: int) -> tf.Tensor:
    """Inverted dropout whose mask is a function of (key of the row, site, element).

    Args:
      x: float [B, ...].
      rate: probability of a zero.
      keys: uint32 [B, 2] of `make_dropout_keys`, or None for no dropout.
      site: see `random_bits`.

    Returns:
      A tensor like `x`.
    """
    if keys is None or rate == 0.0:
        return x
    return drop(x, rate, random_bits(keys, site, tf.shape(x)[1:]))


def drop(x: tf.Tensor, rate: float, bits: tf.Tensor) -> tf.Tensor:
    """Zero where `bits`, uint32 like `x`, are below `rate` of their range; else x / (1 - rate)."""
    keep = bits >= tf.constant(int(rate * 2**32), tf.uint32)
    dropped = tf.where(keep, x * tf.cast(1.0 / (1.0 - rate), x.dtype), tf.zeros([], x.dtype))
    dropped.set_shape(x.shape)  # or the lengths are unknown in a graph for any number of rows
    return dropped
