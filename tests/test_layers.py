"""Dropout masks: their rate, their independence, and what they are a function of."""

import numpy as np
import tensorflow as tf

from gpt_tf.model.dropout import dropout, element_bits, make_dropout_keys, random_bits
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


def test_an_element_has_the_number_of_its_place_in_the_flat_row():
    keys = make_dropout_keys(3, tf.constant(1), tf.range(2))
    flat = random_bits(keys, 5, tf.constant([60])).numpy()
    np.testing.assert_array_equal(random_bits(keys, 5, tf.constant([3, 4, 5])),
                                  flat.reshape(2, 3, 4, 5))
    part = element_bits(keys, 5, tf.range(1, 3)[:, None] * 5, tf.range(2, 5))
    np.testing.assert_array_equal(part, flat.reshape(2, 12, 5)[:, 1:3, 2:])


def test_gelu_is_tensorflows_tanh_form():
    x = tf.linspace(-6.0, 6.0, 1001)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, theirs = gelu(x), tf.nn.gelu(x, approximate=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # Where tanh is near -1, float32 has 1 - tanh^2 to 1e-7 only, and the slope takes that 30 times.
    np.testing.assert_allclose(tape.gradient(ours, x), tape.gradient(theirs, x), rtol=1e-5,
                               atol=3e-6)
