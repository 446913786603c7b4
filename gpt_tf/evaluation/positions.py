"""The loss of a `GPT` by how much of the text it has seen. Letters as in `layers.py`."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import flatten_rows, shift_targets, token_losses


class PositionLosses(NamedTuple):
    """Of the predictions after 1 .. T - 1 tokens of a window.

    losses: float64 [T - 1], their summed negative log-likelihoods, in nats.
    counts: int64 [T - 1], how many these are.
    """

    losses: np.ndarray
    counts: np.ndarray

    @property
    def mean(self) -> float:
        """The mean loss of all predictions."""
        return float(self.losses.sum() / self.counts.sum())


def position_losses(model: GPT, batches: Iterable[dict[str, tf.Tensor]],
                    jit_compile: bool = True) -> PositionLosses:
    """Measures a model without dropout.

    Args:
      model: the model.
      batches: one or more, of `data.batches.evaluation_batches`, all of one shape.
      jit_compile: whether to compile with XLA.
    """
    @tf.function(jit_compile=jit_compile, autograph=False)
    def measure(token_ids, lengths):
        targets, mask = shift_targets(token_ids, lengths)
        losses = token_losses(flatten_rows(model(token_ids)), model.vocabulary_table(),
                              flatten_rows(targets))
        return (tf.reduce_sum(tf.reshape(losses, mask.shape) * mask, axis=0),
                tf.reduce_sum(mask, axis=0))

    losses = counts = 0.0
    for batch in batches:
        sums, weights = measure(batch["token_ids"], batch["lengths"])
        losses, counts = losses + sums.numpy().astype(np.float64), counts + weights.numpy()
    # Nothing follows a window's last token.
    return PositionLosses(losses[:-1], counts[:-1].astype(np.int64))
