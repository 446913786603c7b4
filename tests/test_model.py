"""The decoder's behaviour: who sees whom, padding, caches, sizes."""

import pkgutil
import re

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import ModelConfig
import gpt_tf.model
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from gpt_tf.model.linear import products_of_tokens
from gpt_tf.model.task_model import TaskHead

SMALL = ModelConfig(vocabulary_size=61, num_layers=3, num_heads=4, hidden_dim=32,
                    intermediate_dim=64, max_sequence_length=16)


@pytest.fixture(scope="module")
def model():
    return GPT(SMALL, seed=1)


@pytest.fixture
def token_ids():
    return tf.constant(np.random.default_rng(0).integers(0, 61, [3, 12]), tf.int32)


def test_the_table_of_equations_names_what_is_there():
    text = gpt_tf.model.__doc__
    names = re.findall(r"`([\w.]+\.\w+)`", text)
    assert len(names) > 20 and len(names) == len(re.findall(r"`[^`]+`", text)) - 1  # `gpt_tf`
    for name in names:
        pkgutil.resolve_name(f"gpt_tf.{name}")
    for number in range(1, 6):
        assert f"\n  equation {number}  " in text


def test_paper_size():
    # Radford et al. give no number; summed by hand from section 4.1: token table 31,087,104,
    # positions 393,216, and twelve blocks of 7,087,872.
    assert ModelConfig().num_parameters == 31_087_104 + 393_216 + 12 * 7_087_872 == 116_534_784


def test_parameter_count_is_what_the_model_has(model):
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == SMALL.num_parameters
    assert len({v.path for v in model.trainable_variables}) == len(model.trainable_variables)


def test_initial_weights():
    big = GPT(ModelConfig(vocabulary_size=500, num_layers=1, num_heads=2, hidden_dim=128,
                          intermediate_dim=256, max_sequence_length=64))
    for variable in big.trainable_variables:
        value = variable.numpy()
        if "norm/gamma" in variable.path:
            assert (value == 1).all()
        elif value.ndim == 1:
            assert (value == 0).all(), variable.path
        else:
            assert abs(value.std() / 0.02 - 1) < 5 / np.sqrt(2 * value.size), variable.path
    kernels = [v.numpy().ravel()[:1000] for v in big.trainable_variables if len(v.shape) == 2]
    assert len({k.tobytes() for k in kernels}) == len(kernels)


def test_the_seed_decides_the_weights():
    same, other = GPT(SMALL, seed=1), GPT(SMALL, seed=2)
    reference = GPT(SMALL, seed=1)
    for a, b, c in zip(reference.trainable_variables, same.trainable_variables,
                       other.trainable_variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert len(a.shape) < 2 or not np.array_equal(a.numpy(), c.numpy())


def test_a_later_token_never_changes_an_earlier_output(model, token_ids):
    before = model.logits(model(token_ids)).numpy()
    for position in (4, 11):
        changed = token_ids.numpy()
        changed[:, position] = (changed[:, position] + 1) % 61
        after = model.logits(model(tf.constant(changed))).numpy()
        np.testing.assert_array_equal(before[:, :position], after[:, :position])
        assert not np.array_equal(before[:, position], after[:, position])


def test_padding_changes_nothing_before_it(model, token_ids):
    padded = tf.pad(token_ids, [[0, 0], [0, 4]])
    np.testing.assert_allclose(model(padded)[:, :12], model(token_ids), rtol=0, atol=2e-6)


def test_cached_equals_uncached(model, token_ids):
    caches = model.empty_caches(tf.zeros([3], tf.int32), 16)
    first, caches = model.call_with_cache(token_ids[:, :5], caches)
    parts = [first]
    for t in range(5, 12):
        hidden, caches = model.call_with_cache(token_ids[:, t:t + 1], caches)
        parts.append(hidden)
    np.testing.assert_allclose(tf.concat(parts, axis=1), model(token_ids), rtol=0, atol=3e-6)
    assert int(caches[0].length) == 12


@pytest.mark.parametrize("rows", [1, 3])
def test_products_of_tokens_are_the_products(model, token_ids, rows):
    token_ids = token_ids[:rows]

    @tf.function(jit_compile=True)
    def last_logits(token_ids, caches):
        with products_of_tokens():
            hidden, _ = model.call_with_cache(token_ids[:, 11:], caches)
            return hidden, model.logits(hidden[:, 0])

    caches = model.empty_caches(tf.zeros([rows], tf.int32), 16)
    _, caches = model.call_with_cache(token_ids[:, :11], caches)
    hidden, logits = last_logits(token_ids, caches)
    expected = model(token_ids)[:, 11]
    np.testing.assert_allclose(hidden[:, 0], expected, rtol=0, atol=3e-6)
    np.testing.assert_allclose(logits, model.logits(expected), rtol=0, atol=3e-6)
    program = last_logits.experimental_get_compiler_ir(token_ids, caches)(stage="hlo")
    assert "opt-barrier" in program


def test_dropout_is_on_in_training_only(model, token_ids):
    keys = make_dropout_keys(0, tf.constant(1), tf.range(3))
    dropped = model(token_ids, dropout_keys=keys)
    np.testing.assert_array_equal(dropped, model(token_ids, dropout_keys=keys))
    assert np.abs(dropped - model(token_ids)).max() > 0.1


def test_bfloat16_keeps_float32_variables_and_logits(token_ids):
    low, full = GPT(SMALL, seed=1, dtype="mixed_bfloat16"), GPT(SMALL, seed=1)
    assert all(v.dtype == "float32" for v in low.trainable_variables)
    hidden = low(token_ids)
    assert hidden.dtype == tf.bfloat16
    logits = low.logits(hidden)
    assert logits.dtype == tf.float32
    # bfloat16 keeps 8 bits: a few roundings of values around one.
    np.testing.assert_allclose(logits, full.logits(full(token_ids)), atol=0.05)


def test_task_head_shares_its_mask_over_choices():
    head = TaskHead(SMALL, "multiple_choice", num_classes=4, rate=0.5)
    states = tf.tile(tf.random.stateless_normal([5, 1, 32], [0, 1]), [1, 4, 1])
    keys = make_dropout_keys(0, tf.constant(1), tf.range(5))
    scores = head(states, dropout_keys=keys).numpy()
    np.testing.assert_array_equal(scores, np.repeat(scores[:, :1], 4, axis=1))
    assert not np.allclose(scores, head(states))


@pytest.mark.parametrize("form, num_sequences, outputs", [
    ("classification", 1, 3), ("entailment", 1, 3), ("similarity", 2, 3),
    ("multiple_choice", 3, 1)])
def test_task_head_of_each_form(form, num_sequences, outputs):
    head = TaskHead(SMALL, form, num_classes=3, seed=4)
    kernel, bias = (variable.numpy() for variable in head.trainable_variables)
    assert kernel.shape == (32, outputs) and not bias.any()
    head.projection.bias.assign(np.arange(outputs) + 1.0)
    states = np.random.default_rng(0).normal(size=[2, num_sequences, 32]).astype(np.float32)
    expected = states.sum(axis=1) @ kernel + np.arange(outputs) + 1
    if form == "multiple_choice":
        expected = (states @ kernel)[:, :, 0] + 1
    np.testing.assert_allclose(head(tf.constant(states)), expected, rtol=1e-5, atol=1e-6)


def test_the_seed_decides_the_head():
    kernels = [TaskHead(SMALL, "classification", 3, seed=seed).projection.kernel.numpy()
               for seed in (1, 1, 2)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert abs(kernels[0].std() / 0.02 - 1) < 5 / np.sqrt(2 * kernels[0].size)
