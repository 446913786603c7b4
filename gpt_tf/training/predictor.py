"""Predictions of a fine-tuned model on the batches of a split."""

from collections.abc import Iterable
import dataclasses

import numpy as np
import tensorflow as tf

from gpt_tf.data.padding import in_split_order
from gpt_tf.model.by_shape import FunctionByShape
from gpt_tf.model.objectives import example_losses
from gpt_tf.model.task_model import TaskModel
from gpt_tf.model.trunk import hidden_states
from gpt_tf.tasks.answers import expected_scores, softmax
from gpt_tf.training import replicas

_COLUMNS = ("split_positions", "source_rows", "labels")  # of a batch, in the order of `Predictor`


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of the N rows of a split, in their order.

    source_rows: int64 [N], the row's number in its source.
    labels: int32 [N], or float32 [N] for scores; -1 or NaN where the source has none.
    probabilities: float32 [N, C].
    predictions: int32 [N], the likeliest class; or float32 [N], the expected score.
    loss: mean cross-entropy of the rows; NaN where the source has no labels.
    """

    source_rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    predictions: np.ndarray
    loss: float


class Predictor:
    """Predictions of a model, measured without dropout.

    Args:
      model: the model.
      strategy: whose replicas share each batch.
      jit_compile: whether to compile with XLA, once for each width of the batches.
    """

    def __init__(self, model: TaskModel, strategy: tf.distribute.Strategy,
                 jit_compile: bool = True):
        self._model = model
        self._strategy = strategy
        self._hidden = hidden_states(model.gpt, jit_compile)
        self._global_columns = FunctionByShape(self._run_replicas)

    def __call__(self, batches: Iterable[dict[str, tf.Tensor]]) -> Predictions:
        """Every row of `batches` once, by its place in the split; filling rows are dropped.

        Args:
          batches: of `data.batches.evaluation_batches`, or of the same shape; this worker's share.
        """
        return self._predictions(*in_split_order(map(self._columns, batches)))

    def _columns(self, batch) -> list[np.ndarray]:
        """The `_COLUMNS` of a global batch, and its logits, float32 [B, C]."""
        inputs = {name: batch[name] for name in ("token_ids", "lengths", *_COLUMNS)}
        return [value.numpy() for value in replicas.first_replica(
            self._strategy, self._global_columns(inputs))]

    def _predictions(self, source_rows, labels, logits) -> Predictions:
        task = self._model.task
        probabilities = softmax(logits)
        predictions = np.argmax(logits, axis=1).astype(np.int32)
        labelled = labels >= 0
        if task.is_score:
            predictions = expected_scores(probabilities, task.score_range).astype(np.float32)
            labelled = ~np.isnan(labels)
        loss = float("nan")
        if labelled.all():
            loss = float(tf.reduce_mean(example_losses(task, logits, labels)))
        return Predictions(source_rows, labels, probabilities.astype(np.float32), predictions, loss)

    def _run_replicas(self, batch):
        return self._strategy.run(self._replica_step, args=(batch,))

    def _replica_step(self, batch):
        rows = replicas.replica_rows(batch)
        token_ids = rows["token_ids"]
        logits = self._model.logits(
            self._hidden(tf.reshape(token_ids, [-1, token_ids.shape[2]])), rows["lengths"])
        return replicas.gather_rows([*(rows[name] for name in _COLUMNS), logits])
