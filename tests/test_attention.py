"""Attention, and perplexity by position, by numpy; the latter by `Evaluator`, too."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.data.batches import evaluation_batches
from gpt_tf.evaluation.attention import attention_weights
from gpt_tf.evaluation.positions import position_losses
from gpt_tf.training.evaluator import Evaluator
from gpt_tf.training.replicas import one_device
from tests import fuzz_seeds, runs

TOKENS = [5, 9, 2, 2, 7, 11, 3]


@pytest.fixture(name="model", scope="module")
def model_fixture():
    return runs.make_model(20, num_layers=3, num_heads=4)


def in_numpy(attention, x, num_heads):
    """([H, T, T], output [T, D]) of one layer, in float64."""
    query, key, value = (x @ layer.kernel.numpy() + layer.bias.numpy()
                         for layer in (attention.query, attention.key, attention.value))
    width = x.shape[1] // num_heads
    weights, mixed = [], []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / np.sqrt(width)
        scores[np.triu_indices(len(x), 1)] = -np.inf
        weights.append(np.exp(runs.log_softmax(scores)))
        mixed.append(weights[-1] @ value[:, part])
    output = attention.output_projection
    return np.stack(weights), np.concatenate(mixed, 1) @ output.kernel.numpy() + output.bias.numpy()


def test_attention_is_the_layers_own(model):
    found = attention_weights(model, TOKENS)
    assert found.shape == (3, 4, 7, 7)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    assert not np.triu(found, 1).any()
    x = model.embedding(tf.constant([TOKENS]))
    for layer, block in enumerate(model.blocks):
        weights, output = in_numpy(block.attention, x[0].numpy().astype(np.float64), 4)
        np.testing.assert_allclose(found[layer], weights, atol=1e-6)
        # The numbers above are what the layer computes with.
        np.testing.assert_allclose(block.attention(x)[0], output, rtol=1e-4, atol=1e-5)
        x = block(x)
    assert np.ptp(found[:, :, -1], axis=-1).max() > 0.2  # heads differ: the test can fail


def test_one_token_looks_at_itself(model):
    np.testing.assert_array_equal(attention_weights(model, [4]), np.ones((3, 4, 1, 1)))


def test_positions_add_up_to_the_evaluators_loss(tmp_path):
    fuzz_seeds.corpus_data(tmp_path)
    batches = evaluation_batches(tmp_path, "train", 4)
    model = runs.make_model(batches.manifest.vocabulary_size)
    found = position_losses(model, batches, jit_compile=False)
    split = batches.manifest.splits["train"]
    expected = Evaluator(model, one_device(), jit_compile=False)(batches, split)
    assert found.mean == pytest.approx(expected["loss"], rel=1e-6)
    assert found.counts.sum() == expected["predicted_tokens"] == split.predicted_tokens
    # By numpy, position by position.
    losses, counts = np.zeros((2, fuzz_seeds.LENGTH - 1))
    for batch in batches:
        ids, lengths = batch["token_ids"].numpy(), batch["lengths"].numpy()
        scores = runs.log_softmax(model.logits(model(ids)))
        for row, length in enumerate(lengths):
            for place in range(length - 1):
                losses[place] -= scores[row, place, ids[row, place + 1]]
                counts[place] += 1
    assert found.counts.tolist() == counts.tolist()
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
