"""Adam against a hand-computed update, and against Keras's AdamW where the two coincide."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import OptimizerConfig
from gpt_tf.model.optimizer import Adam


def make(values, **config):
    variables = [keras.Variable(value, name=f"v{i}") for i, value in enumerate(values)]
    defaults = dict(schedule="constant", warmup_steps=0, learning_rate=0.1)
    return variables, Adam(variables, OptimizerConfig(**{**defaults, **config}), 100)


def apply(optimizer, gradients, step, scale=1.0):
    optimizer.apply(tf.distribute.get_strategy(), [tf.constant(g) for g in gradients],
                    tf.constant(scale), tf.constant(optimizer.corrected_rate(step), tf.float32))


def test_first_update_by_hand():
    # m = 0.1 g, v = 0.001 g^2; lr_1 = 0.1 sqrt(0.001) / 0.1, so the step is 0.1 sign(g), and the
    # matrix also loses lr_1 * 0.01 * p = 0.1 * 0.0316228 / 0.1 * 0.01 * 2.
    (vector, matrix), optimizer = make([np.float32([1.0]), np.float32([[2.0]])], epsilon=1e-12)
    apply(optimizer, [np.float32([0.5]), np.float32([[-4.0]])], step=1)
    np.testing.assert_allclose(vector.numpy(), [0.9], rtol=1e-6)
    np.testing.assert_allclose(matrix.numpy(), [[2.1 - 0.0316227766 * 0.02]], rtol=1e-6)


def test_equals_kerass_adam_without_l2():
    # Keras puts epsilon beside sqrt(v) too, so at l2 = 0 the two are one formula.
    rng = np.random.default_rng(0)
    start = rng.normal(size=[5, 3]).astype(np.float32)
    (ours,), optimizer = make([start], l2=0.0, learning_rate=0.01)
    theirs = keras.Variable(start)
    reference = keras.optimizers.Adam(0.01, epsilon=1e-8)
    for step in range(1, 21):
        gradient = rng.normal(size=[5, 3]).astype(np.float32)
        apply(optimizer, [gradient], step)
        reference.apply([tf.constant(gradient)], [theirs])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-6, atol=2e-6)


def test_all_rates_share_the_program_of_an_update():
    one, other, decayed = (make([np.float32([1.0])], **config)[1]._update for config in (
        {}, {"learning_rate": 0.2, "schedule": "cosine", "warmup_steps": 5, "clip_norm": 0.0},
        {"l2": 0.5}))
    assert one is other and one is not decayed


@pytest.mark.parametrize("norm, expected", [(0.5, 1.0), (1.0, 1.0), (4.0, 0.25)])
def test_clip_scale(norm, expected):
    _, optimizer = make([np.float32([1.0])])
    assert float(optimizer.clip_scale(tf.constant(norm))) == expected


def test_schedule_counts_updates_from_one():
    _, optimizer = make([np.float32([1.0])], schedule="linear", warmup_steps=10)
    assert optimizer.learning_rate(1) == pytest.approx(0.1 * 0.1 * 0.99)
    assert optimizer.learning_rate(10) == pytest.approx(0.1 * 0.9)
    assert optimizer.learning_rate(100) == 0.0
