"""The Keras face's training beside KerasHub's GPT-2, under every policy and on four replicas."""

import subprocess
import sys

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import GPTBackbone, GPTCausalLM
from gpt_tf.training import distribution
from tests.house import ROOT
from tests.test_keras_fit import (
    NO_DROPOUT,
    SMALL,
    check_classifier,
    classifier_of,
    examples,
    lm_data,
    weights_of,
)

AS_GPT2 = NO_DROPOUT | {"initializer_range": 0.02}

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "`shuffle=True` was passed", "__array__ implementation")]


def own():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def gpt2(dtype):
    names = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim",
             "max_sequence_length")
    keras.utils.set_random_seed(0)
    return keras_nlp.models.GPT2CausalLM(keras_nlp.models.GPT2Backbone(
        **{name: SMALL[name] for name in names}, dropout=0.0, dtype=dtype))


def ours(dtype):
    return GPTCausalLM(GPTBackbone(seed=3, dtype=dtype, **SMALL | AS_GPT2))


def classifier(dtype):
    return classifier_of(dtype=dtype, dropout=0.0)


def movement(make, data, dtype, loss):
    """The loss of an update by SGD, whose steps are as long as the gradients, and its length."""
    model = make(dtype)
    model.compile(keras.optimizers.SGD(0.5), loss=loss, run_eagerly=True)
    before = [value.astype(np.float32) for value in weights_of(model)]
    loss = model.fit(**data, batch_size=24, verbose=0).history["loss"][0]
    return loss, np.sqrt(sum(np.square(now.astype(np.float32) - then).sum()
                             for now, then in zip(weights_of(model), before)))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_every_policy_trains_as_float32_does(dtype):
    """Within what GPT-2's keep to, too, and a classifier's of larger weights within rounding.

    The length of an update in bfloat16 is GPT-2's to 1.1 units on a processor without bfloat16's
    products (AVX2), which adds up in bfloat16.
    """
    unit = 2.0**-8 if "bfloat" in dtype else 2.0**-11
    of_texts, of_examples = lm_data(), dict(zip(("x", "y"), examples(16)))
    for make, data, loss, limits in (
            (gpt2, of_texts, "auto", (1e-5, 2 * unit)), (ours, of_texts, "auto", (1e-5, 2 * unit)),
            (ours, of_texts, own(), (1e-5, 2 * unit)),
            (classifier, of_examples, "auto", (unit, 2 * unit)),
            (classifier, of_examples, own(), (unit, 2 * unit))):
        expected = movement(make, data, "float32", loss)
        error = np.abs(np.divide(movement(make, data, dtype, loss), expected) - 1)
        assert (error < limits).all(), (make, loss, error)


@pytest.mark.parametrize("make, data", [
    (ours, lm_data()), (classifier, dict(zip(("x", "y"), examples(16))))],
    ids=["lm", "classifier"])
def test_how_updates_are_compiled_changes_nothing(make, data):
    # Of arrays KerasHub makes Grain's data set, which runs dry where an execution has steps left.
    batches = tf.data.Dataset.from_tensor_slices(tuple(data.values())).batch(8)
    for loss in ("auto", own()):
        found = []
        for each in ({}, dict(jit_compile=True, steps_per_execution=2)):
            model = make("float32")
            model.compile(keras.optimizers.SGD(0.1), loss=loss, **each)
            losses = model.fit(batches, epochs=2, verbose=0).history["loss"]
            found.append([*losses, *weights_of(model)])
        for value, expected in zip(*found, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_two_replicas_are_the_trainer():
    check_classifier(distribution.make_strategy("mirrored"), "similarity")


def test_four_replicas():
    done = subprocess.run([sys.executable, "-m", "tests.peers.keras_replicas"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith("whole\n"), done.stderr[-3000:]
