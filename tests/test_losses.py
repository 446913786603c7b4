"""The chunked LM loss against TensorFlow's own cross-entropy over all logits at once."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.model import losses
from gpt_tf.model.objectives import class_losses, soft_classes


def case(n=150, width=16, rows=97):
    rng = np.random.default_rng(0)
    hidden = tf.Variable(rng.normal(size=[n, width]).astype(np.float32))
    table = tf.Variable(rng.normal(size=[rows, width]).astype(np.float32))
    targets = tf.constant(rng.integers(0, rows, n), tf.int32)
    weights = tf.constant(rng.integers(0, 3, n).astype(np.float32))
    return hidden, table, targets, weights


def plain(hidden, table, targets):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        targets, tf.matmul(hidden, table, transpose_b=True))


@pytest.mark.parametrize("chunk_floats", [1, 97 * 64, 2**23])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_loss_and_gradients(monkeypatch, chunk_floats, jit_compile):
    monkeypatch.setattr(losses, "_CHUNK_FLOATS", chunk_floats)
    hidden, table, targets, weights = case()

    @tf.function(jit_compile=jit_compile)
    def ours():
        with tf.GradientTape() as tape:
            loss = 3.0 * losses.weighted_lm_loss(hidden, table, targets, weights)
        return loss, tape.gradient(loss, [hidden, table])

    with tf.GradientTape() as tape:
        expected = 3.0 * tf.reduce_sum(weights * plain(hidden, table, targets))
    loss, gradients = ours()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for ours_, theirs in zip(gradients, tape.gradient(expected, [hidden, table])):
        np.testing.assert_allclose(ours_, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_packed_loss_of_padded_sequences(monkeypatch, jit_compile):
    monkeypatch.setattr(losses, "_CHUNK_FLOATS", 97 * 64)
    hidden, table, targets, _ = case(n=160)
    hidden, targets = tf.reshape(hidden, [10, 16, 16]), tf.reshape(targets, [10, 16])
    weights = tf.sequence_mask([16, 3, 0, 9, 1, 15, 2, 8, 4, 5], 16, dtype=tf.float32) / 7.0

    @tf.function(jit_compile=jit_compile)
    def ours():
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            loss = 3.0 * losses.packed_lm_loss(hidden, table, targets, weights)
        return loss, tape.gradient(loss, [hidden, table])

    with tf.GradientTape() as tape:
        tape.watch(hidden)
        expected = 3.0 * tf.reduce_sum(weights * tf.nn.sparse_softmax_cross_entropy_with_logits(
            targets, tf.tensordot(hidden, table, [[2], [1]])))
    loss, gradients = ours()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for ours_, theirs in zip(gradients, tape.gradient(expected, [hidden, table])):
        np.testing.assert_allclose(ours_, theirs, rtol=1e-5, atol=2e-6)


def test_packed_loss_leaves_padding_alone(monkeypatch):
    monkeypatch.setattr(losses, "_CHUNK_FLOATS", 1)  # 64 rows a chunk
    hidden, table, targets, _ = case(n=256)
    real = np.random.default_rng(1).permutation(256) < 64
    hidden.assign(np.where(real[:, None], hidden.numpy(), np.nan))
    loss = losses.packed_lm_loss(
        tf.reshape(hidden, [16, 16, -1]), table, tf.reshape(targets, [16, 16]),
        tf.reshape(tf.constant(real, tf.float32), [16, 16]))
    expected = plain(tf.boolean_mask(hidden, real), table, tf.boolean_mask(targets, real))
    np.testing.assert_allclose(loss, tf.reduce_sum(expected), rtol=1e-6)


def test_soft_classes():
    soft = soft_classes(tf.constant([2.25, 0.0, 3.0, 0.6]), 4).numpy()
    np.testing.assert_allclose(
        soft, [[0, 0, 0.75, 0.25], [1, 0, 0, 0], [0, 0, 0, 1], [0.4, 0.6, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(soft @ np.arange(4), [2.25, 0, 3, 0.6], atol=1e-7)


def test_token_losses(monkeypatch):
    monkeypatch.setattr(losses, "_CHUNK_FLOATS", 97 * 64)
    hidden, table, targets, _ = case()
    np.testing.assert_allclose(losses.token_losses(hidden, table, targets),
                               plain(hidden, table, targets), rtol=1e-5, atol=1e-6)


def test_shift_targets_example():
    targets, mask = losses.shift_targets(tf.constant([[7, 8, 9, 0], [5, 0, 0, 0], [0, 0, 0, 0]]),
                                         tf.constant([3, 1, 0]))
    np.testing.assert_array_equal(targets[0], [8, 9, 0, 0])
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_class_losses_are_exact_and_their_gradient_sums_to_zero():
    logits = np.random.default_rng(1).normal(size=[64, 4]).astype(np.float32)
    labels = np.arange(64) % 4
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        values = class_losses(variable, tf.constant(labels))
    exact = logits.astype(np.float64)
    expected = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(64), labels]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    # Each row's true sum is zero; what is left is one float32 rounding of each entry.
    gradient = tape.gradient(values, variable).numpy().astype(np.float64)
    assert np.abs(gradient.sum(axis=1)).max() < 1e-7
