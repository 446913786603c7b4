"""Scores of sequences' ends, against the model's own logits."""

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.evaluation.scoring import Scorer
from gpt_tf.model import losses
from tests import runs


def random_batch(rows=3, count=4, width=12, size=30):
    """Sequences of random tokens, the last row filling; "starts" from the first token that can be
    scored to the last."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(2, width + 1, [rows, count])
    starts = 1 + rng.integers(0, lengths - 1)
    starts[0, 0], starts[0, 1] = 1, lengths[0, 1] - 1
    lengths[-1] = starts[-1] = 0
    ids = rng.integers(0, size, [rows, count, width]) * (np.arange(width) < lengths[..., None])
    return {"token_ids": ids, "lengths": lengths, "starts": starts}


def by_logits(model, batch):
    """log-probabilities [B, K] of the scored tokens, one by one from `model.logits`."""
    table_rows = model.config.vocabulary_size
    found = np.zeros(batch["lengths"].shape)
    for place in np.ndindex(found.shape):
        length, start = batch["lengths"][place], batch["starts"][place]
        if length:
            ids = batch["token_ids"][place][:length]
            logits = model.logits(model(tf.constant([ids], tf.int32))).numpy()[0]
            predicted = runs.log_softmax(logits[:, :table_rows])
            found[place] = sum(predicted[t - 1, ids[t]] for t in range(start, length))
    return found


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("special", [0, 3])
def test_scores_are_those_of_the_logits(jit_compile, special):
    """Padding and filling rows weigh nothing; special tokens have no share of the probability."""
    model = runs.make_model(30, num_special_tokens=special)
    batch = random_batch()
    found = Scorer(model, jit_compile)(batch)
    np.testing.assert_allclose(found.log_probabilities, by_logits(model, batch), rtol=2e-6)
    np.testing.assert_array_equal(found.counts, batch["lengths"] - batch["starts"])
    assert not found.log_probabilities[-1].any()


@pytest.mark.parametrize("mask", [np.zeros(150), np.ones(150), np.arange(150) % 7 == 3])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_packed_losses_are_the_losses_in_the_mask(monkeypatch, mask, jit_compile):
    monkeypatch.setattr(losses, "_CHUNK_FLOATS", 1)  # three chunks
    rng = np.random.default_rng(0)
    hidden, table = (tf.constant(rng.normal(size=shape), tf.float32)
                     for shape in ([150, 8], [20, 8]))
    targets, mask = tf.constant(rng.integers(0, 20, 150), tf.int32), tf.constant(mask, tf.float32)
    found = tf.function(losses.packed_token_losses, jit_compile=jit_compile)(
        hidden, table, targets, mask)
    # A loss is the difference of two numbers of up to 16: half a unit of theirs is 1e-6.
    np.testing.assert_allclose(found, losses.token_losses(hidden, table, targets) * mask,
                               rtol=1e-6, atol=1e-6)


def test_new_weights_score_anew():
    model, batch = runs.make_model(30), random_batch()
    scorer = Scorer(model)
    before = scorer(batch).log_probabilities
    runs.silence(model)
    found = scorer(batch)
    np.testing.assert_allclose(found.log_probabilities, -np.log(30) * found.counts, rtol=1e-6)
    assert (found.log_probabilities != before).any()
