"""Dropout masks: their rate, their independence, and what they are a function of."""

import numpy as np
import tensorflow as tf

from gpt_tf.model.dropout import dropout, make_dropout_keys
from gpt_tf.model.layers import gelu


def mask(step=1, rows=(0,), seed=3, site=5, shape=(64, 256), rate=0.1):
    keys = make_dropout_keys(seed, tf.constant(step), tf.constant(rows))
    ones = tf.ones([len(rows), *shape])
    return dropout(ones, rate, keys, site).numpy() > 0


def test_rate_and_scale():
    keys = make_dropout_keys(0, tf.constant(7), tf.range(8))
    x = dropout(tf.ones([8, 512, 256]), 0.1, keys, 2).numpy()
    # A million draws: five standard deviations of the mean are 0.0015.
    assert abs((x == 0).mean() - 0.1) < 1.5e-3
    np.testing.assert_allclose(x[x > 0], 1 / 0.9, rtol=1e-6)


def test_every_row_and_column_has_the_rate():
    x = mask(rows=range(16), shape=(256, 256))
    for axis in ((0, 1), (1, 2), (0, 2)):
        means = x.mean(axis=axis)
        count = x.size / means.size
        assert np.abs(means - 0.9).max() < 5.5 * np.sqrt(0.09 / count)


def test_masks_of_other_keys_are_uncorrelated():
    base = mask()
    size = base.size
    for other in (mask(step=2), mask(rows=(1,)), mask(seed=4), mask(site=6), mask(seed=3 + 2**30)):
        correlation = np.corrcoef(base.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(size)


def test_neighbouring_elements_are_uncorrelated():
    x = mask(shape=(2**18,)).ravel()
    for lag in (1, 2, 64, 256, 4096):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / np.sqrt(x.size)


def test_a_row_of_the_global_batch_keeps_its_mask_wherever_it_stands():
    whole = mask(rows=(0, 1, 2, 3))
    part = mask(rows=(2, 3))
    np.testing.assert_array_equal(whole[2:], part)


def test_compiled_masks_are_the_same():
    keys = make_dropout_keys(1, tf.constant(1), tf.range(4))
    x = tf.random.stateless_normal([4, 32, 16], [1, 2])
    compiled = tf.function(lambda: dropout(x, 0.3, keys, 1), jit_compile=True)()
    np.testing.assert_array_equal(compiled, dropout(x, 0.3, keys, 1))


def test_without_keys_nothing_is_dropped():
    x = tf.ones([2, 8])
    assert dropout(x, 0.5, None, 1) is x


def test_gelu_is_tensorflows_tanh_form():
    x = tf.linspace(-6.0, 6.0, 1001)
    np.testing.assert_allclose(gelu(x), tf.nn.gelu(x, approximate=True), rtol=1e-5, atol=1e-6)
