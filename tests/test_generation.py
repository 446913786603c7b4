"""Sampling: the filters by hand, greedy against a loop without a cache, draws against shares."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import GPTBackbone
from gpt_tf.config import ModelConfig, SamplingConfig
from gpt_tf.generation.sampling import Sampling, choose, filter_logits
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from tests import generators

POSITIONS = 24


@pytest.fixture(scope="module")
def model():
    return GPT(ModelConfig(vocabulary_size=40, num_layers=2, num_heads=2, hidden_dim=16,
                           intermediate_dim=32, max_sequence_length=POSITIONS,
                           initializer_range=0.5))


def kept(logits, **config):
    sampling = Sampling.of(SamplingConfig(**config))
    filtered = filter_logits(tf.constant([logits], tf.float32), *sampling[1:]).numpy()
    return np.isfinite(filtered[0]).tolist()


def test_top_k():
    assert kept([1.0, 3.0, 2.0], top_k=2) == [False, True, True]
    assert kept([1.0, 3.0, 2.0], top_k=9) == [True, True, True]
    assert kept([-1.0, -3.0, -2.0, 0.0], top_k=3) == [True, False, True, True]
    assert kept([1.0, 2.0, 2.0, 3.0], top_k=2) == [False, True, True, True]  # equals stay


def test_top_p():
    logits = np.log([0.1, 0.5, 0.15, 0.25])
    # The tokens before a kept one hold less than top_p: 0, 0.5, 0.75, 0.9.
    assert kept(logits, top_p=0.4) == [False, True, False, False]
    assert kept(logits, top_p=0.6) == [False, True, False, True]
    assert kept(logits, top_p=0.8) == [False, True, True, True]
    assert kept(logits, top_p=1e-9) == [False, True, False, False]


def test_top_p_is_of_what_top_k_leaves():
    logits = np.log([0.1, 0.5, 0.15, 0.25])
    # Of 0.5 and 0.25 the first holds two thirds.
    assert kept(logits, top_k=2, top_p=0.66) == [False, True, False, False]
    assert kept(logits, top_k=2, top_p=0.67) == [False, True, False, True]


def test_filters_equal_sorting():
    logits = np.random.default_rng(1).normal(size=[50, 300]).astype(np.float32) * 4
    order = np.argsort(-logits, axis=1)
    ranked = np.take_along_axis(logits, order, axis=1)
    by_k = logits >= ranked[:, 6:7]
    shares = np.where(by_k, np.exp(logits), 0)
    shares /= shares.sum(axis=1, keepdims=True)
    ranked = np.take_along_axis(shares, order, axis=1)
    stays = np.cumsum(ranked, axis=1) - ranked < 0.8
    expected = by_k & np.take_along_axis(stays, np.argsort(order, axis=1), axis=1)
    found = filter_logits(tf.constant(logits), tf.constant(7), tf.constant(0.8))
    np.testing.assert_array_equal(np.isfinite(found), expected)


def draws(logits, count, **config):
    keys = make_dropout_keys(1, tf.constant(2), tf.range(count))
    logits = tf.tile(tf.constant([logits], tf.float32), [count, 1])
    found = choose(logits, Sampling.of(SamplingConfig(**config)), keys).numpy()
    return np.bincount(found, minlength=logits.shape[1]) / count


def test_draws_follow_the_probabilities():
    shares, count = np.array([0.5, 0.3, 0.2]), 20000
    error = 5 * np.sqrt(0.25 / count)
    assert np.abs(draws(np.log(shares), count) - shares).max() < error
    squares = shares**2 / (shares**2).sum()
    assert np.abs(draws(np.log(shares), count, temperature=0.5) - squares).max() < error
    first_two = np.array([0.5, 0.3, 0]) / 0.8
    found = draws(np.log(shares), count, top_k=2)
    assert np.abs(found - first_two).max() < error and found[2] == 0


def greedy(model, prompt, count):
    """By a loop without a cache."""
    tokens = list(prompt)
    for _ in range(count):
        logits = model.logits(model(tf.constant([tokens[-POSITIONS:]], tf.int32))[:, -1])
        tokens.append(int(np.argmax(logits)))
    return tokens[len(prompt):]


PROMPTS = [[7, 1, 30, 2, 5], [3], [39, 38, 37, 36, 35, 34, 33, 32, 31], [11, 12]]


def make(model, past_limit="stop", max_new_tokens=12, **settings):
    return generators.make(model, max_new_tokens, past_limit=past_limit, **settings)


def test_greedy_equals_a_loop_without_a_cache(model):
    assert make(model, temperature=0.0)(PROMPTS) == [greedy(model, p, 12) for p in PROMPTS]


def test_each_new_token_has_products_of_its_own(model):
    generator, program = make(model), {}
    extend = generator._extend

    def watched(*inputs):
        program["text"] = extend.experimental_get_compiler_ir(*inputs)(stage="hlo")
        return extend(*inputs)

    generator._extend = watched
    generator([[3]])
    assert "opt-barrier" in program["text"]


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_a_quantized_decoder():
    backbone = GPTBackbone(vocabulary_size=40, num_layers=1, num_heads=2, hidden_dim=16,
                           intermediate_dim=32, max_sequence_length=POSITIONS)
    backbone.quantize("int8")
    changed = backbone.gpt
    found = generators.make(changed, 6, temperature=0.0)
    assert found(PROMPTS[:2]) == [greedy(changed, prompt, 6) for prompt in PROMPTS[:2]]
    assert found(PROMPTS[:1]) == [greedy(changed, PROMPTS[0], 6)]


def test_a_prompt_gets_what_it_gets_alone(model):
    generator = make(model, top_p=0.9)
    assert generator(PROMPTS) == [generator([prompt])[0] for prompt in PROMPTS]


def test_parts_join_to_the_whole(model):
    generator = make(model)
    parts = [part.token_ids for part in generator.stream([PROMPTS[0]], part_length=5)]
    assert [part.shape[1] for part in parts] == [5, 5, 2]
    assert np.concatenate(parts, axis=1).tolist() == generator([PROMPTS[0]])


def test_log_probabilities_are_the_models(model):
    generator = make(model, temperature=0.7, top_k=5)
    [part] = generator.stream(PROMPTS[:1])
    tokens = PROMPTS[0] + part.token_ids[0].tolist()
    logits = model.logits(model(tf.constant([tokens])))[0]
    expected = tf.gather(tf.nn.log_softmax(logits)[4:-1], tokens[5:], axis=1, batch_dims=1)
    np.testing.assert_allclose(part.log_probabilities[0], expected, rtol=0, atol=5e-6)


def test_the_seed_and_the_row_decide_the_sample(model):
    first = make(model, seed=1)(PROMPTS[:1])
    assert make(model, seed=1)(PROMPTS[:1]) == first
    assert make(model, seed=2)(PROMPTS[:1]) != first
    zero, one = make(model, seed=1)(PROMPTS[:1] * 2, rows=[0, 1])
    assert [zero] == first and one != zero


def test_full_positions_stop_a_text(model):
    generator = make(model, max_new_tokens=30)
    new = generator(PROMPTS)
    assert [len(tokens) for tokens in new] == [POSITIONS - len(prompt) for prompt in PROMPTS]
    assert new == [generator([prompt])[0] for prompt in PROMPTS]


def test_full_positions_slide_to_the_newest_half(model):
    generator = make(model, "slide", max_new_tokens=30, temperature=0.0)
    tokens = list(PROMPTS[0])
    for _ in range(30):
        if len(tokens) == POSITIONS:
            window = tokens[-POSITIONS // 2:]
        elif len(tokens) < POSITIONS:
            window = tokens
        else:  # 24 tokens, then 12 more make the positions full again
            window = tokens[POSITIONS // 2:] if len(tokens) < 36 else tokens[24:]
        logits = model.logits(model(tf.constant([window], tf.int32))[:, -1])
        tokens.append(int(np.argmax(logits)))
    assert generator(PROMPTS[:1]) == [tokens[5:]]
    assert generator(PROMPTS) == [generator([prompt])[0] for prompt in PROMPTS]
    assert len(generator([[1] * 40])[0]) == 30


@pytest.mark.parametrize("prompt, message", [([], "no tokens"), ([1] * POSITIONS, "24 positions")])
def test_errors(model, prompt, message):
    with pytest.raises(ValueError, match=message):
        make(model)([[1], prompt])
