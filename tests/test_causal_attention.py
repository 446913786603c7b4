"""Attention by blocks against the formula over all pairs at once, in float64 and with its masks."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.model import attention
from gpt_tf.model.dropout import dropout, make_dropout_keys

B, H, T, C, SITE = 2, 3, 11, 4, 5


def tensors(dtype, time=T):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=[B, H, time, C]), dtype) for _ in range(4)]


def all_pairs(query, key, value, rate, keys):
    """The paper's formula, whose gradient is TensorFlow's own."""
    time = query.shape[2]
    scores = tf.matmul(query, key, transpose_b=True)
    scores = tf.where(np.tri(time, dtype=bool), scores, tf.cast(-1e9, scores.dtype))
    return tf.matmul(dropout(tf.nn.softmax(scores), rate, keys, SITE), value)


def result_and_gradients(function, query, key, value, upstream):
    with tf.GradientTape() as tape:
        tape.watch([query, key, value])
        output = function(query, key, value)
    return [output, *tape.gradient(output, [query, key, value], upstream)]


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("block", [1, 4, 11, 128])
def test_result_and_gradients(monkeypatch, block, rate):
    monkeypatch.setattr(attention, "BLOCK", block)
    keys = make_dropout_keys(3, tf.constant(7), tf.range(B))
    expected = result_and_gradients(lambda *x: all_pairs(*x, rate, keys), *tensors(tf.float64))
    ours = tf.function(lambda *x: result_and_gradients(
        lambda *y: attention.causal_attention(*y, rate, keys, SITE), *x), jit_compile=True)
    for found, right in zip(ours(*tensors(tf.float32)), expected, strict=True):
        error = np.abs(found.numpy() - right.numpy()).max() / np.abs(right).max()
        assert error < 1e-6, error


def test_a_length_that_only_the_running_program_knows():
    expected = attention.causal_attention(*tensors(tf.float32)[:3])
    signature = [tf.TensorSpec([None, H, None, C])] * 3
    found = tf.function(attention.causal_attention, input_signature=signature)(
        *tensors(tf.float32)[:3])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
