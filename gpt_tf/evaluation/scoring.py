"""The log-probability that a `GPT` gives to the end of each sequence, given what is before it.

Letters as in `task_model.py`. The softmax runs over the rows of the vocabulary: a fine-tuned
model's special tokens are in no text, and get no share of the probability.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gpt_tf.model.by_shape import FunctionByShape
from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import packed_token_losses, shift_targets
from gpt_tf.model.trunk import hidden_states


class Scores(NamedTuple):
    """Of each sequence of a batch; both are 0 where it fills the batch up.

    log_probabilities: float64 [B, K], the sum over its scored tokens, in nats.
    counts: int32 [B, K], how many these are.
    """

    log_probabilities: np.ndarray
    counts: np.ndarray


class Scorer:
    """Scores sequences without dropout; the weights may change between calls.

    Example:
      Scorer(model)({"token_ids": [[[7, 8, 9, 0]]], "lengths": [[3]], "starts": [[1]]})
      # log p(8 | 7) + log p(9 | 7 8), and the count 2

    Args:
      model: the model.
      jit_compile: whether to compile with XLA, once for each shape of a batch.
    """

    def __init__(self, model: GPT, jit_compile: bool = True):
        self._model = model
        self._hidden = hidden_states(model, jit_compile)
        self._losses = FunctionByShape(packed_token_losses, jit_compile)
        self._scores = FunctionByShape(self._run)

    def __call__(self, batch: Mapping[str, tf.Tensor]) -> Scores:
        """Scores a batch.

        Args:
          batch: "token_ids" int32 [B, K, T], padded at the end; "lengths" int32 [B, K], tokens of
            each sequence, 0 in one that fills the batch up; "starts" int32 [B, K], the first
            scored token, at least 1, as nothing predicts the first of all.
        """
        inputs = [tf.convert_to_tensor(batch[name], tf.int32)
                  for name in ("token_ids", "lengths", "starts")]
        scores = self._scores(*inputs)
        return Scores(*(value.numpy() for value in scores))

    def _run(self, token_ids, lengths, starts):
        time = token_ids.shape[2]
        rows = tf.reshape(token_ids, [-1, time])  # [B K, T]
        hidden = self._hidden(rows)
        targets, mask = shift_targets(rows, tf.reshape(lengths, [-1]))
        # Position t predicts token t + 1.
        is_scored = tf.range(1, time + 1) >= tf.reshape(starts, [-1, 1])
        mask *= tf.cast(is_scored, tf.float32)
        losses = self._losses(
            tf.reshape(hidden, [-1, hidden.shape[-1]]), self._model.vocabulary_table(),
            tf.reshape(targets, [-1]), tf.reshape(mask, [-1]))
        # In float64 equal words sum to equal scores, however many stand beside them.
        losses = tf.cast(tf.reshape(losses, [-1, time]), tf.float64)
        return (tf.reshape(-tf.reduce_sum(losses, axis=1), token_ids.shape[:2]),
                tf.reshape(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), token_ids.shape[:2]))
