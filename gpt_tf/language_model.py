"""Language modelling with a `GPT`: its training loss, and its measure on held-out text."""

from typing import Callable, Iterable

import tensorflow as tf

from gpt_tf import distribution
from gpt_tf.layers import make_dropout_keys
from gpt_tf.losses import shift_targets, token_losses, weighted_lm_loss
from gpt_tf.metrics import language_scores
from gpt_tf.model import GPT
from gpt_tf.records import Split
from gpt_tf.training import LossSums


def training_loss(model: GPT, seed: int) -> Callable[[dict[str, tf.Tensor]], LossSums]:
    """The loss of pre-training (equation 1): the mean over all predicted tokens of a batch.

    Args:
      model: whose dropout is on.
      seed: of the dropout masks.

    Returns:
      A function of a batch of `input.Batches`, for `training.TrainStep`.
    """
    def loss(batch: dict[str, tf.Tensor]) -> LossSums:
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        hidden = model(token_ids,
                       dropout_keys=make_dropout_keys(seed, batch["step"], batch["rows"]))
        targets, mask = shift_targets(token_ids, lengths)
        total = weighted_lm_loss(_rows(hidden), model.output_table(), _rows(targets), _rows(mask))
        return LossSums(total, tf.reduce_sum(mask),
                        tf.cast(tf.reduce_sum(lengths), tf.float32))

    return loss


def _rows(x: tf.Tensor) -> tf.Tensor:
    """[B, T, ...] -> [B T, ...]."""
    return tf.reshape(x, [-1, *x.shape[2:]])


class Evaluator:
    """Perplexity and bits per byte of a model on batches of a split.

    Args:
      model: measured without dropout.
      strategy: whose replicas share each batch.
      jit_compile: whether to compile with XLA.
    """

    def __init__(self, model: GPT, strategy: tf.distribute.Strategy, jit_compile: bool = True):
        self._model = model
        self._strategy = strategy
        self._sums = tf.function(self._replica_sums, jit_compile=jit_compile)
        self._global_sums = tf.function(self._run_replicas)

    def __call__(self, batches: Iterable[dict[str, tf.Tensor]], split: Split) -> dict[str, float]:
        """Measures all of `batches`.

        Args:
          batches: of `split`, all or a part of it.
          split: its totals turn the loss of a token into bits per byte.

        Returns:
          `metrics.language_scores`, with the loss of what was measured for that of the split;
          predicted_tokens: how many were measured.
        """
        loss = weight = 0.0
        for batch in batches:
            sums = distribution.first_replica(self._strategy, self._global_sums(batch))
            loss += float(sums[0])
            weight += float(sums[1])
        return language_scores(loss / weight, split.predicted_tokens,
                               split.text_bytes) | {"predicted_tokens": weight}

    def _run_replicas(self, batch):
        return self._strategy.run(self._replica_step, args=(batch,))

    def _replica_step(self, batch):
        return distribution.sum_over_replicas(self._sums(distribution.replica_rows(batch)))

    def _replica_sums(self, batch):
        hidden = self._model(batch["token_ids"])
        targets, mask = shift_targets(batch["token_ids"], batch["lengths"])
        losses = token_losses(_rows(hidden), self._model.vocabulary_table(), _rows(targets))
        return tf.reduce_sum(losses * _rows(mask)), tf.reduce_sum(mask)
