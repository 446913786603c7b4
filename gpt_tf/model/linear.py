"""Products with weights, as XLA computes them fast on a processor. Letters as in `layers.py`."""

from collections.abc import Iterator
import contextlib
import math
import threading

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from gpt_tf.model.losses import on_gpu
from gpt_tf.model.recomputation import is_compiled

_SUMMANDS = 8  # rows of ones: of one row alone XLA makes a loop of its own, which is slower
_PARTS = 8  # of a product of one row


class _Products(threading.local):
    are_one_op = False
    are_of_tokens = False


_products = _Products()


@contextlib.contextmanager
def products_of_one_op() -> Iterator[None]:
    """Inside the block `project` is traced as one product of [B, T, D] and [D, F].

    A Dense layer first makes two dimensions of three. TensorFlow is faster so, but converters to
    other formats lose sight of the shapes, and what runs these then computes each op by itself.
    """
    _products.are_one_op = True
    try:
        yield
    finally:
        _products.are_one_op = False


@contextlib.contextmanager
def products_of_tokens() -> Iterator[None]:
    """Inside the block, which XLA compiles, products are traced for one new token of each text.

    They read every weight for a handful of rows, so that memory decides how long they take. XLA
    merges such a product with what stands around it, and computes it on one core then.
    """
    _products.are_of_tokens = not on_gpu()
    try:
        yield
    finally:
        _products.are_of_tokens = False


def project(layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """`layer(x)`, [B, T, D] -> [B, T, F]; in a compiled part that is trained, by `_linear`."""
    if _products.are_one_op:
        return tf.matmul(x, tf.convert_to_tensor(layer.kernel)) + layer.bias
    if _products.are_of_tokens and x.shape[1] == 1 and not layer.quantization_mode:
        return _of_tokens(x[:, 0], tf.convert_to_tensor(layer.kernel))[:, None] + layer.bias
    if not is_compiled() or on_gpu():
        return layer(x)
    return _linear(x, tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias))


def scores(x: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """x table^T of [..., D] and [V, D] -> [..., V]: the product of the tied head."""
    if _products.are_of_tokens and len(x.shape) == 2:
        return tf.transpose(_barrier(tf.matmul(table, _barrier(tf.transpose(x)))))
    return tf.tensordot(x, table, axes=[[-1], [1]])


def _of_tokens(x, kernel):
    """x kernel of [B, D] and [D, F], B small.

    One row makes a product that XLA does not divide well between cores; as products of its parts,
    side by side, it reads half as fast again. In float32 alone: rounded to less before they are
    added, the parts would make a text differ from what it is beside others.
    """
    if x.shape[0] != 1 or x.dtype != tf.float32:
        return _barrier(tf.matmul(_barrier(x), kernel))
    parts = math.gcd(kernel.shape[0], _PARTS)
    x = _barrier(tf.reshape(x, [parts, 1, -1]))
    products = tf.matmul(x, tf.reshape(kernel, [parts, -1, kernel.shape[1]]))
    return tf.reduce_sum(_barrier(products), axis=0)


@tf.custom_gradient
def _linear(x, kernel, bias):
    """x kernel + bias, of [B, T, D], [D, F] and [F].

    A product whose left factor is summed over its rows, as x^T dy, takes XLA up to twice as long as
    the same of factors that lie as it reads them. So the smaller factor is transposed before.
    And the sum of dy over rows is a product, too, for which XLA's reduction is a scan.
    """
    flat = tf.reshape(x, [-1, x.shape[-1]])

    def gradient(upstream):
        dy = _barrier(tf.reshape(upstream, [-1, kernel.shape[1]]))
        if kernel.shape[0] > kernel.shape[1]:
            d_kernel = tf.transpose(_barrier(tf.matmul(_barrier(tf.transpose(dy)), flat)))
        else:
            d_kernel = tf.matmul(_barrier(tf.transpose(_barrier(flat))), dy)
        d_bias = tf.matmul(tf.ones([_SUMMANDS, tf.shape(dy)[0]], dy.dtype), dy)[0]
        return (tf.reshape(tf.matmul(dy, kernel, transpose_b=True), tf.shape(x)), d_kernel, d_bias)

    return tf.reshape(tf.matmul(flat, kernel), [*x.shape[:-1], kernel.shape[1]]) + bias, gradient


def _barrier(x):
    """`x`, which XLA merges with nothing: it would take a transpose back into the product."""
    return xla.optimization_barrier(x)[0]
