"""A function in two programs: its gradients, and what is computed twice."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model import layers
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import compiled, weighted_lm_loss
from gpt_tf.model.recomputation import Recomputed, is_compiled, keep
from gpt_tf.model.trunk import compiled_trunk, hidden_states, whole_trunk

CONFIG = ModelConfig(vocabulary_size=50, num_layers=3, num_heads=2, hidden_dim=16,
                     intermediate_dim=48, max_sequence_length=12)


def two_products(tensors):
    x, first, second = tensors
    return keep(tf.tanh(keep(x @ first)) @ second)


def inputs():
    generator = tf.random.Generator.from_seed(3)
    return [generator.normal(shape, dtype=tf.float64) for shape in ([5, 4], [4, 6], [6, 2])]


def test_gradients_are_the_functions():
    tensors, results = inputs(), []
    for function in (two_products, Recomputed(two_products)):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = tf.reduce_sum(tf.square(function(tensors)))
        results.append([total, *tape.gradient(total, tensors)])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert not is_compiled() and keep(tensors[0]) is tensors[0]


def test_the_backward_pass_has_the_gradients_products_alone():
    recomputed, tensors = Recomputed(two_products), inputs()
    output, kept = recomputed._forward(tensors)
    assert len(kept) == 2
    program = tf.function(recomputed._run_backward, jit_compile=True)
    hlo = program.experimental_get_compiler_ir(tensors, kept, output)(stage="optimized_hlo")
    # Two for each product; and the tanh, which is cheap, again.
    assert len(re.findall(r" = \S+ dot\(", hlo)) == 4 and "tanh" in hlo


@pytest.mark.parametrize("dropout", [True, False])
def test_the_compiled_trunk_is_the_trunk(dropout):
    model = GPT(CONFIG, seed=2)
    token_ids = tf.reshape(tf.range(24) * 7 % 50, [2, 12])
    keys = make_dropout_keys(1, tf.constant(3), tf.range(2)) if dropout else None
    results = []
    for trunk in (whole_trunk(model), compiled_trunk(model)):
        with tf.GradientTape() as tape:
            hidden, table = trunk(token_ids, keys)
            loss = tf.reduce_sum(tf.square(tf.nn.log_softmax(hidden @ tf.transpose(table))))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        results.append([hidden, *map(tf.convert_to_tensor, gradients)])
    for ours, theirs in zip(*results):
        # The keys' biases have a gradient of zero.
        assert tf.norm(ours - theirs) <= 2e-6 * max(float(tf.norm(theirs)), 1.0)


def test_blocks_and_decoders_share_a_program(monkeypatch):
    traced = []
    call = layers.FeedForward.call
    monkeypatch.setattr(layers.FeedForward, "call",
                        lambda layer, x: traced.append(layer) or call(layer, x))
    config = dataclasses.replace(CONFIG, intermediate_dim=40)  # of no other test
    models = [GPT(config), GPT(config, seed=1), GPT(dataclasses.replace(config, dropout=0.2)),
              GPT(config, dtype="mixed_bfloat16")]
    token_ids = tf.zeros([2, 12], tf.int32)
    for of, run in ((lambda model: compiled_trunk(model)(token_ids, None)[0], "to train"),
                    (lambda model: hidden_states(model, jit_compile=True)(token_ids), "to use")):
        traced.clear()
        hidden = list(map(of, models))
        assert len(traced) == 3, run  # the second finds the first's
        # Each with the weights of its own.
        for ours, model in zip(hidden, models[:2]):
            np.testing.assert_allclose(ours, whole_trunk(model)(token_ids, None)[0], atol=2e-6)
        assert np.abs(hidden[0] - hidden[1]).max() > 0.1


def test_what_the_process_decides_of_products_decides_a_program():
    is_on = tf.config.experimental.tensor_float_32_execution_enabled()
    before = compiled(weighted_lm_loss)
    assert compiled(weighted_lm_loss) is before
    tf.config.experimental.enable_tensor_float_32_execution(not is_on)
    try:
        assert compiled(weighted_lm_loss) is not before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(is_on)
    assert compiled(weighted_lm_loss) is before
