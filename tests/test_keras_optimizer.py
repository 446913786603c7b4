"""GPTAdam: the Trainer's Adam to the bit, at the rate that Keras says, and from file to file."""

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import GPTAdam
from gpt_tf.config import OptimizerConfig
from gpt_tf.model.optimizer import Adam
from tests.test_keras_fit import (
    CONSTANT,
    OPTIMIZER,
    STEPS,
    language_model,
    lm_data,
    moved,
    weights_of,
)

# Keras says these of every KerasNLP model that is fed arrays, or saved.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "`shuffle=True` was passed", "__array__ implementation")]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_optimizer_is_the_trainers_to_the_bit(schedule):
    options = dict(learning_rate=2.5e-4, schedule=schedule, warmup_steps=2.0, clip_norm=0.0)
    gradients = np.random.default_rng(0).normal(size=[9, 3, 2]).astype(np.float32)
    ours, theirs = keras.Variable(tf.zeros([3, 2])), keras.Variable(tf.zeros([3, 2]))
    trainer = Adam([ours], OptimizerConfig(**options), len(gradients), jit_compile=False)
    optimizer = GPTAdam(num_steps=len(gradients), **options)
    one = tf.ones([])
    for step, gradient in enumerate(gradients, 1):
        trainer.apply(tf.distribute.get_strategy(), [tf.constant(gradient)], one,
                      tf.constant(trainer.corrected_rate(step), tf.float32))
        optimizer.apply([tf.constant(gradient)], [theirs])
        np.testing.assert_array_equal(theirs, ours)


def rates(optimizer, count=4, before=lambda step: None):
    """How far each update moves a weight whose gradient is always 1: by Adam's rate."""
    weight = keras.Variable(tf.zeros([1]))
    for step in range(count):
        before(step)
        start = float(weight[0])
        optimizer.apply([tf.ones([1])], [weight])
        yield start - float(weight[0])


def test_the_rate_is_what_keras_says():
    np.testing.assert_allclose(list(rates(GPTAdam(learning_rate=0.1, **CONSTANT))), 0.1, rtol=1e-5)
    optimizer = GPTAdam(num_steps=4, learning_rate=0.1, schedule="linear", warmup_steps=0.0)
    settings = [0.1, 0.01, 0.0, 0.3]
    found = list(rates(optimizer, before=lambda step: setattr(
        optimizer, "learning_rate", settings[step])))
    np.testing.assert_allclose(found, np.multiply(settings, [0.75, 0.5, 0.25, 0.0]), rtol=1e-5)
    assert keras.optimizers.deserialize(
        keras.optimizers.serialize(optimizer)).get_config() == optimizer.get_config()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    optimizer = GPTAdam(learning_rate=schedule)
    np.testing.assert_allclose(list(rates(optimizer)), [0.1, 0.05, 0.025, 0.0125], rtol=1e-5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    np.testing.assert_allclose(list(rates(again)), [0.1, 0.05, 0.025, 0.0125], rtol=1e-5)
    assert GPTAdam(**CONSTANT).get_config()["learning_rate"] == OptimizerConfig.learning_rate


def test_callbacks_change_the_rate():
    model = language_model()
    model.compile(GPTAdam(learning_rate=1e-2, **CONSTANT), run_eagerly=True)
    before = weights_of(model)
    model.fit(**lm_data(), verbose=0, callbacks=[
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)])
    assert moved(model, before) == 0
    model.optimizer.learning_rate = 1e-2
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.01, patience=0, min_delta=1e9)
    steps = []
    model.fit(**lm_data(), epochs=3, verbose=0, callbacks=[plateau, keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: before.__setitem__(slice(None), weights_of(model)),
        on_epoch_end=lambda epoch, logs: steps.append(moved(model, before)))])
    assert steps[1] > 5e-3 and steps[2] < 2e-4  # the first epoch is what the second is held to


def test_low_precision_weights_move_by_the_rate():
    for dtype in ("bfloat16", "float16"):
        weight = keras.Variable(tf.zeros([1]), dtype=dtype)
        optimizer = GPTAdam(learning_rate=0.1, **CONSTANT)
        for _ in range(20):
            optimizer.apply([tf.cast([1e-4], dtype)], [weight])
        assert weight.dtype == dtype and float(weight[0]) == pytest.approx(-2, rel=0.02)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_saved_optimizer_goes_on(tmp_path, dtype):
    def make():
        model = language_model(dtype=dtype)
        model.compile(GPTAdam(num_steps=STEPS, **OPTIMIZER), sampler="greedy", run_eagerly=True)
        return model

    def update(model):
        model.fit(**lm_data(), batch_size=8, verbose=0)
        return weights_of(model)

    model = make()
    update(model)
    model.optimizer.learning_rate = 1e-3
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    expected = update(model)
    loaded = [keras.models.load_model(tmp_path / "model.keras")]
    assert isinstance(loaded[0].sampler, keras_nlp.samplers.GreedySampler)
    if dtype == "float32":  # Keras's optimizer of scaled losses leaves a state that comes too early
        loaded.append(make())
        loaded[1].load_weights(tmp_path / "model.weights.h5")
    for each in loaded:
        for ours, theirs in zip(update(each), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options, message", [
    (dict(schedule="cosine"), "num_steps"),
    (dict(learning_rate=keras.optimizers.schedules.CosineDecay(0.1, 5), schedule="linear"),
     "leave these out"),
    (dict(learning_rate=-1.0, schedule="constant"), "must be at least 0")])
def test_an_optimizer_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        GPTAdam(**options)
