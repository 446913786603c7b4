"""A dense layer whose gradients XLA computes faster on a processor. Letters as in `layers.py`."""

from collections.abc import Iterator
import contextlib
import threading

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from gpt_tf.model.losses import on_gpu
from gpt_tf.model.recomputation import is_compiled

_SUMMANDS = 8  # rows of ones: of one row alone XLA makes a loop of its own, which is slower


class _Products(threading.local):
    are_one_op = False


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


def project(layer: keras.layers.Dense, x: tf.Tensor) -> tf.Tensor:
    """`layer(x)`, [B, T, D] -> [B, T, F]; in a compiled part that is trained, by `_linear`."""
    if _products.are_one_op:
        return tf.matmul(x, tf.convert_to_tensor(layer.kernel)) + layer.bias
    if not is_compiled() or on_gpu():
        return layer(x)
    return _linear(x, tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias))


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
