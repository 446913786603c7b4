"""Sampling: the filters by hand, greedy against a loop without a cache, draws against shares."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import ModelConfig, SamplingConfig
from gpt_tf.generation import Generator, choose, filter_logits
from gpt_tf.model import GPT


@pytest.fixture(scope="module")
def model():
    return GPT(ModelConfig(vocabulary_size=40, num_layers=2, num_heads=2, hidden_dim=16,
                           intermediate_dim=32, max_sequence_length=24, initializer_range=0.5))


def kept(logits, **config):
    filtered = filter_logits(tf.constant([logits], tf.float32), SamplingConfig(**config)).numpy()
    return np.isfinite(filtered[0]).tolist()


def test_top_k():
    assert kept([1.0, 3.0, 2.0], top_k=2) == [False, True, True]
    assert kept([1.0, 3.0, 2.0], top_k=9) == [True, True, True]


def test_top_p():
    logits = np.log([0.1, 0.5, 0.15, 0.25])
    # The tokens before a kept one hold less than top_p: 0, 0.5, 0.75, 0.9.
    assert kept(logits, top_p=0.4) == [False, True, False, False]
    assert kept(logits, top_p=0.6) == [False, True, False, True]
    assert kept(logits, top_p=0.8) == [False, True, True, True]
    assert kept(logits, top_p=1e-9) == [False, True, False, False]


def test_draws_follow_the_probabilities():
    shares = np.array([0.5, 0.3, 0.2])
    logits = tf.tile(tf.math.log(tf.constant([shares], tf.float32)), [20000, 1])
    draws = choose(logits, SamplingConfig(), tf.constant([1, 2])).numpy()
    found = np.bincount(draws, minlength=3) / 20000
    assert np.abs(found - shares).max() < 5 * np.sqrt(0.25 / 20000)
    cold = choose(logits, SamplingConfig(temperature=0.5), tf.constant([1, 2])).numpy()
    expected = shares**2 / (shares**2).sum()
    assert np.abs(np.bincount(cold, minlength=3) / 20000 - expected).max() < 0.018


def test_greedy_equals_a_loop_without_a_cache(model):
    prompts = np.random.default_rng(0).integers(0, 40, [3, 5])
    tokens = prompts
    for _ in range(19):
        logits = model.logits(model(tf.constant(tokens, tf.int32))[:, -1])
        tokens = np.concatenate([tokens, np.argmax(logits, axis=-1)[:, None]], axis=1)
    generated = Generator(model, SamplingConfig(temperature=0.0))(prompts, 19)
    np.testing.assert_array_equal(generated, tokens[:, 5:])


def test_the_seed_decides_the_sample(model):
    generator = Generator(model, SamplingConfig())
    first = generator([[1, 2, 3]], 15, seed=1).numpy()
    np.testing.assert_array_equal(first, generator([[1, 2, 3]], 15, seed=1))
    assert not np.array_equal(first, generator([[1, 2, 3]], 15, seed=2))


@pytest.mark.parametrize("prompt, count, message", [
    ([[]], 3, "empty"), ([[1] * 20], 5, "24 positions")])
def test_errors(model, prompt, count, message):
    with pytest.raises(ValueError, match=message):
        Generator(model, SamplingConfig())(np.array(prompt, np.int32), count)
