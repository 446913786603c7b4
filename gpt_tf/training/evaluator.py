"""Perplexity and bits per byte of a `GPT` on held-out batches."""

from collections.abc import Iterable

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.data.manifest import Split
from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import flatten_rows, shift_targets, token_losses
from gpt_tf.model.trunk import hidden_states
from gpt_tf.tasks.metrics import language_scores
from gpt_tf.training import replicas


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
        self._hidden = hidden_states(model, jit_compile)
        self._sums = tf.function(self._sums_of_losses, jit_compile=jit_compile, autograph=False)
        self._global_sums = tf.function(self._run_replicas, autograph=False)

    def __call__(self, batches: Iterable[dict[str, tf.Tensor]], split: Split) -> dict[str, float]:
        """Measures all of `batches`.

        Args:
          batches: of `split`, all or a part of it.
          split: its totals turn the loss of a token into bits per byte.

        Returns:
          `metrics.language_scores`, with the loss of what was measured for that of the split;
          predicted_tokens: how many were measured.

        Raises:
          UserError: nothing is to be predicted in any of them.
        """
        loss = weight = 0.0
        for batch in batches:
            sums = replicas.first_replica(self._strategy, self._global_sums(batch))
            loss += float(sums[0])
            weight += float(sums[1])
        if not weight:
            raise UserError("Of the windows that were to be measured none has a second token, so "
                            "there is nothing to predict: take more batches, or longer texts.")
        return language_scores(loss / weight, split.predicted_tokens,
                               split.text_bytes) | {"predicted_tokens": weight}

    def _run_replicas(self, batch):
        return self._strategy.run(self._replica_step, args=(batch,))

    def _replica_step(self, batch):
        rows = replicas.replica_rows(batch)
        return replicas.sum_over_replicas(self._sums(
            self._hidden(rows["token_ids"]), self._model.vocabulary_table(), rows["token_ids"],
            rows["lengths"]))

    @staticmethod
    def _sums_of_losses(hidden, table, token_ids, lengths):
        targets, mask = shift_targets(token_ids, lengths)
        losses = token_losses(flatten_rows(hidden), table, flatten_rows(targets))
        return tf.reduce_sum(losses * flatten_rows(mask)), tf.reduce_sum(mask)
