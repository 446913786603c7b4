"""A task on top of the decoder: its model, the joint loss (equations 3 - 5), its predictions.

Letters as in `layers.py`, and K sequences of an example (choices, or the two orders of a pair),
C classes. The trunk sees the B K sequences of a batch side by side.
"""

import dataclasses
from typing import Callable, Iterable, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from gpt_tf import distribution
from gpt_tf.config import ModelConfig
from gpt_tf.layers import make_dropout_keys
from gpt_tf.losses import class_losses, packed_lm_loss, shift_targets, soft_classes
from gpt_tf.model import GPT, TaskHead
from gpt_tf.records import Task
from gpt_tf.tracing import FunctionByShape
from gpt_tf.training import LossSums

_COLUMNS = ("records", "indices", "labels")  # of a batch, in the order of `Predictor`


class DropoutKeys(NamedTuple):
    """Keys of `layers.make_dropout_keys`.

    sequences: uint32 [B K, 2], of the trunk: each sequence has masks of its own.
    rows: uint32 [B, 2], of the head: an example's choices share one mask.
    """

    sequences: tf.Tensor
    rows: tf.Tensor

    @classmethod
    def make(cls, seed: int, step: tf.Tensor, rows: tf.Tensor,
             num_sequences: int) -> "DropoutKeys":
        """Keys that are a function of (seed, step, row of the global batch, sequence)."""
        sequences = rows[:, None] * num_sequences + tf.range(num_sequences)
        return cls(make_dropout_keys(seed, step, tf.reshape(sequences, [-1])),
                   make_dropout_keys(seed, step, rows))


class TaskModel(keras.layers.Layer):
    """The decoder with the head of a task (section 3.2).

    Args:
      config: shape and dropout rates; `num_special_tokens` is 3.
      task: says the head's form and classes.
      classifier_dropout: rate on the head's input.
      seed: decides the initial weights.
      dtype: as of `GPT`.
      gpt: the decoder, if it is there already.

    Example:
      model = TaskModel(ModelConfig(num_special_tokens=3), manifest.task)
      logits = model(token_ids, lengths)    # int32 [B, K, T], [B, K] -> float32 [B, C]
    """

    def __init__(self, config: ModelConfig, task: Task, classifier_dropout: float = 0.1,
                 seed: int = 0, dtype="float32", gpt: GPT | None = None):
        super().__init__(name="task_model", dtype=dtype)
        self.task = task
        self.gpt = gpt or GPT(config, seed=seed, dtype=dtype)
        self.head = TaskHead(config, task.form, task.num_classes, classifier_dropout, seed, dtype)
        self.build()

    def build(self, input_shape=None):
        """Nothing is left to make."""

    def call(self, token_ids, lengths, dropout_keys: DropoutKeys | None = None):
        """Logits of the classes.

        Args:
          token_ids: int32 [B, K, T], padded at the end.
          lengths: int32 [B, K], tokens of each sequence, of which the last is the extract token;
            0 in a row that fills up a batch, whose logits mean nothing.
          dropout_keys: to train; None for no dropout.

        Returns:
          float32 [B, C].
        """
        return self.hidden_and_logits(token_ids, lengths, dropout_keys)[1]

    def hidden_and_logits(self, token_ids, lengths, dropout_keys: DropoutKeys | None = None):
        """As `call`; also the hidden states [B K, T, D] that the LM loss wants."""
        count, time = token_ids.shape[1], tf.shape(token_ids)[2]
        sequences, rows = dropout_keys or (None, None)
        hidden = self.gpt(tf.reshape(token_ids, [-1, time]), dropout_keys=sequences)
        extract = tf.reshape(tf.maximum(lengths - 1, 0), [-1])  # [B K]
        states = tf.gather(hidden, extract, axis=1, batch_dims=1)  # [B K, D]
        states = tf.reshape(states, [-1, count, hidden.shape[-1]])
        return hidden, self.head(states, dropout_keys=rows)


def loss_names(lm_coef: float) -> tuple[str, ...]:
    """Names of the parts of `joint_loss`; without a weight there is no LM loss."""
    return ("task_loss", "lm_loss") if lm_coef else ("task_loss",)


def joint_loss(model: TaskModel, lm_coef: float,
               seed: int) -> Callable[[dict[str, tf.Tensor]], LossSums]:
    """The loss of fine-tuning, L3 = L2 + lambda L1 (equation 5).

    L2 is the mean cross-entropy of the examples. L1 is the language model's loss on the same
    sequences, the mean of each over its predicted tokens, then over the sequences, as released.
    Rows that fill up a batch weigh nothing.

    Args:
      model: whose dropout is on.
      lm_coef: lambda; 0 leaves the LM softmax out of the computation.
      seed: of the dropout masks.

    Returns:
      A function of a batch of `input.task_batches`, for `training.TrainStep`; `parts` of its
      sums are named by `loss_names`. With None as the batch's step it drops nothing.
    """
    def loss(batch: dict[str, tf.Tensor]) -> LossSums:
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        count, time = token_ids.shape[1], tf.shape(token_ids)[2]
        keys = None
        if batch["step"] is not None:
            keys = DropoutKeys.make(seed, batch["step"], batch["rows"], count)
        hidden, logits = model.hidden_and_logits(token_ids, lengths, keys)
        real = tf.cast(lengths[:, 0] > 0, tf.float32)
        losses = example_losses(model.task, logits, batch["labels"])
        total = tf.reduce_sum(real * tf.cast(losses, tf.float32))
        parts = {"task_loss": total}
        if lm_coef:
            targets, mask = shift_targets(tf.reshape(token_ids, [-1, time]),
                                          tf.reshape(lengths, [-1]))
            predicted = tf.reduce_sum(mask, axis=1, keepdims=True)
            weights = mask / tf.maximum(count * predicted, 1.0)
            parts["lm_loss"] = packed_lm_loss(hidden, model.gpt.output_table(), targets, weights)
            total += lm_coef * parts["lm_loss"]
        return LossSums(total, tf.reduce_sum(real), tf.cast(tf.reduce_sum(lengths), tf.float32),
                        parts)

    return loss


def example_losses(task: Task, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, float64 [B].

    Args:
      task: whose labels they are.
      logits: float32 [B, C].
      labels: int32 [B] classes; or float32 [B] scores, each shared by its two neighbours among
        the whole numbers (Tai et al. 2015).
    """
    if task.is_score:
        labels = soft_classes(labels - task.score_range[0], task.num_classes)
    return class_losses(logits, labels)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of the N rows of a split, in their order.

    indices: int64 [N], the row's number in its source.
    labels: int32 [N], or float32 [N] for scores; -1 or NaN where the source has none.
    probabilities: float32 [N, C].
    predictions: int32 [N], the likeliest class; or float32 [N], the expected score.
    loss: mean cross-entropy of the rows; NaN where the source has no labels.
    """

    indices: np.ndarray
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
        self._logits = tf.function(self._replica_logits, jit_compile=jit_compile)
        self._global_columns = FunctionByShape(self._run_replicas)

    def __call__(self, batches: Iterable[dict[str, tf.Tensor]]) -> Predictions:
        """Every row of `batches` once, by its place in the split; filling rows are dropped.

        Args:
          batches: of `input.evaluation_batches`, or of the same shape; this worker's share.
        """
        parts = []
        for batch in batches:
            inputs = {name: batch[name] for name in ("token_ids", "lengths", *_COLUMNS)}
            columns = [value.numpy() for value in distribution.first_replica(
                self._strategy, self._global_columns(inputs))]
            parts.append([column[columns[0] >= 0] for column in columns])
        records, *columns = (np.concatenate(column) for column in zip(*parts))
        return self._predictions(*(column[np.argsort(records)] for column in columns))

    def _predictions(self, indices, labels, logits) -> Predictions:
        task = self._model.task
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        predictions = np.argmax(logits, axis=1).astype(np.int32)
        labelled = labels >= 0
        if task.is_score:
            low, high = task.score_range
            predictions = (probabilities @ np.arange(low, high + 1.0)).astype(np.float32)
            labelled = ~np.isnan(labels)
        loss = float("nan")
        if labelled.all():
            loss = float(tf.reduce_mean(example_losses(task, logits, labels)))
        return Predictions(indices, labels, probabilities.astype(np.float32), predictions, loss)

    def _run_replicas(self, batch):
        return self._strategy.run(self._replica_step, args=(batch,))

    def _replica_step(self, batch):
        rows = distribution.replica_rows(batch)
        logits = self._logits({name: rows[name] for name in ("token_ids", "lengths")})
        return distribution.gather_rows([*(rows[name] for name in _COLUMNS), logits])

    def _replica_logits(self, batch):
        return self._model(batch["token_ids"], batch["lengths"])
