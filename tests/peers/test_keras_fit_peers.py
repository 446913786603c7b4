"""The Keras face's training beside KerasHub's GPT-2, under every policy and on four replicas."""

import subprocess
import sys

import keras
import keras_nlp
import numpy as np
import pytest

from tests.house import ROOT
from tests.test_keras_fit import (
    SMALL,
    classifier_of,
    examples,
    language_model,
    lm_data,
    moved,
    weights_of,
)

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
    return language_model(dtype=dtype, dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)


def movement(make, dtype, optimizer, loss):
    """The loss of an update, and by how much it moves the weights: all, and the most."""
    model = make(dtype)
    model.compile(optimizer(), loss=loss, weighted_metrics=None)
    before = [value.astype(np.float32) for value in weights_of(model)]
    loss = model.fit(**lm_data(), batch_size=24, verbose=0).history["loss"][0]
    norm = np.sqrt(sum(np.square(now.astype(np.float32) - then).sum()
                       for now, then in zip(weights_of(model), before)))
    return np.array([loss, norm, moved(model, before)], np.float64)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_every_policy_trains_as_float32_does(dtype):
    """By SGD, whose steps are as long as the gradients: ours no further off than twice GPT-2's."""
    def sgd():
        return keras.optimizers.SGD(0.5)

    def error(make, loss):
        expected = movement(make, "float32", sgd, loss)
        return np.abs(movement(make, dtype, sgd, loss) / expected - 1)

    theirs = error(gpt2, "auto")
    limits = np.maximum(2 * theirs, 2e-3 if "float16" == dtype[-7:] else 2e-2)
    for loss in ("auto", own()):
        assert (error(ours, loss) < limits).all(), (error(ours, loss), theirs)


@pytest.mark.parametrize("make, data", [
    (ours, lm_data()), (lambda dtype: classifier_of(dtype=dtype, dropout=0.0),
                        dict(zip(("x", "y"), examples(16))))], ids=["lm", "classifier"])
@pytest.mark.parametrize("options", [dict(jit_compile=True), dict(steps_per_execution=2)])
def test_how_an_update_is_compiled_changes_nothing(make, data, options):
    for loss in ("auto", own()):
        found = []
        for each in ({}, options):
            model = make("float32")
            model.compile(keras.optimizers.SGD(0.1), loss=loss, **each)
            losses = model.fit(**data, batch_size=8, epochs=2, verbose=0).history["loss"]
            found.append([*losses, *weights_of(model)])
        for value, expected in zip(*found, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_four_replicas():
    done = subprocess.run([sys.executable, "-m", "tests.peers.keras_replicas"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith("whole\n"), done.stderr[-3000:]
