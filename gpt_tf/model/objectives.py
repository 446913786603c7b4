"""What the paper minimises, and nothing else: L1 (equation 1), L2 (equation 4), L3 (equation 5).

Letters as in `layers.py`, and K sequences of an example (choices, or the two orders of a pair),
C classes. How the LM softmax is computed without ever holding all logits stands in `losses.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import (
    compiled,
    flatten_rows,
    packed_lm_loss,
    shift_targets,
    weighted_lm_loss,
)
from gpt_tf.model.task_model import DropoutKeys, TaskModel
from gpt_tf.model.trunk import Trunk, compiled_trunk, whole_trunk
from gpt_tf.tasks.task import Task


class LossSums(NamedTuple):
    """Sums over a batch, so that parts of it add up to the whole: float32 scalars.

    loss: the summed loss; divided by `weight`, the mean that is minimised.
    weight: number of things summed (predicted tokens; examples).
    tokens: tokens read, for the rate.
    parts: losses that `loss` is made of, to be reported by name; they are summed as it is.
    """

    loss: tf.Tensor
    weight: tf.Tensor
    tokens: tf.Tensor
    parts: dict[str, tf.Tensor] = {}


LossFunction = Callable[[dict[str, tf.Tensor]], LossSums]


def language_model_loss(model: GPT, seed: int, jit_compile: bool = False) -> LossFunction:
    """The loss of pre-training, L1 (equation 1): the mean over all predicted tokens of a batch.

    Args:
      model: whose dropout is on.
      seed: of the dropout masks.
      jit_compile: whether the parts are compiled with XLA, each for itself.

    Returns:
      A function of a batch of `batches.Batches`, for `train_step.TrainStep`.
    """
    trunk, lm_loss = _parts(model, weighted_lm_loss, jit_compile)

    def loss(batch: dict[str, tf.Tensor]) -> LossSums:
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        hidden, table = trunk(
            token_ids, make_dropout_keys(seed, batch["step"], batch["batch_rows"]))
        targets, mask = shift_targets(token_ids, lengths)
        total = lm_loss(flatten_rows(hidden), table, flatten_rows(targets), flatten_rows(mask))
        return LossSums(total, tf.reduce_sum(mask),
                        tf.cast(tf.reduce_sum(lengths), tf.float32))

    return loss


def joint_loss(model: TaskModel, lm_coef: float, seed: int,
               jit_compile: bool = False) -> LossFunction:
    """The loss of fine-tuning, L3 = L2 + lambda L1 (equation 5).

    L2 is the mean cross-entropy of the examples. L1 is the language model's loss on the same
    sequences, the mean of each over its predicted tokens, then over the sequences, as released.
    Rows that fill up a batch weigh nothing.

    Args:
      model: whose dropout is on.
      lm_coef: lambda; 0 leaves the LM softmax out of the computation.
      seed: of the dropout masks.
      jit_compile: whether the parts are compiled with XLA, each for itself.

    Returns:
      A function of a batch of `batches.task_batches`, for `train_step.TrainStep`; `parts` of its
      sums are named by `loss_names`. With None as the batch's step it drops nothing. If the batch
      has "weights", float [B], an example counts as often as its weight says, in both losses and
      in the number that they are divided by.
    """
    trunk, lm_loss = _parts(model.gpt, packed_lm_loss, jit_compile)

    def loss(batch: dict[str, tf.Tensor]) -> LossSums:
        token_ids, lengths = batch["token_ids"], batch["lengths"]
        count, time = token_ids.shape[1], tf.shape(token_ids)[2]
        sequences = tf.reshape(token_ids, [-1, time])
        keys = DropoutKeys(None, None)
        if batch["step"] is not None:
            keys = DropoutKeys.make(seed, batch["step"], batch["batch_rows"], count)
        hidden, table = trunk(sequences, keys.sequences)
        logits = model.logits(hidden, lengths, keys.rows)
        examples, given = tf.cast(lengths[:, 0] > 0, tf.float32), batch.get("weights")
        if given is not None:
            examples *= tf.cast(given, tf.float32)
        losses = example_losses(model.task, logits, batch["labels"])
        total = tf.reduce_sum(examples * tf.cast(losses, tf.float32))
        parts = {"task_loss": total}
        if lm_coef:
            targets, mask = shift_targets(sequences, tf.reshape(lengths, [-1]))
            predicted = tf.reduce_sum(mask, axis=1, keepdims=True)
            weights = mask / tf.maximum(count * predicted, 1.0)
            if given is not None:
                weights *= tf.repeat(examples, count)[:, None]
            parts["lm_loss"] = lm_loss(hidden, table, targets, weights)
            total += lm_coef * parts["lm_loss"]
        return LossSums(total, tf.reduce_sum(examples),
                        tf.cast(tf.reduce_sum(lengths), tf.float32), parts)

    return loss


def _parts(gpt: GPT, lm_loss: Callable, jit_compile: bool) -> tuple[Trunk, Callable]:
    """The decoder and the LM loss, as they are or as compiled parts."""
    if jit_compile:
        return compiled_trunk(gpt), compiled(lm_loss)
    return whole_trunk(gpt), lm_loss


def loss_names(lm_coef: float) -> tuple[str, ...]:
    """Names of the parts of `joint_loss`; without a weight there is no LM loss."""
    return ("task_loss", "lm_loss") if lm_coef else ("task_loss",)


def example_losses(task: Task, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example (equation 4), float64 [B].

    Args:
      task: whose labels they are.
      logits: float32 [B, C].
      labels: int32 [B] classes; or float32 [B] scores, each shared by its two neighbours among
        the whole numbers (Tai et al. 2015).
    """
    if task.is_score:
        labels = soft_classes(labels - task.score_range[0], task.num_classes)
    return class_losses(logits, labels)


def soft_classes(scores: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Shares each score between the two whole numbers beside it (Tai et al. 2015).

    Args:
      scores: float [B], between 0 and num_classes - 1.
      num_classes: C.

    Returns:
      float64 [B, C]; a row's expected class is its score.

    Example:
      2.25 of 4 classes -> [0, 0, 0.75, 0.25]
    """
    classes = tf.range(num_classes, dtype=tf.float64)
    distance = tf.abs(tf.cast(scores, tf.float64)[:, None] - classes)
    return tf.maximum(1.0 - distance, 0.0)


def class_losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example.

    In float64, which costs nothing for these few numbers: a bias shared by all choices has a
    gradient of zero, and Adam magnifies the rounding that is left in its place.

    Args:
      logits: float32 [B, C].
      labels: int32 [B], or float64 [B, C] of `soft_classes`.

    Returns:
      float64 [B], in nats.
    """
    logits = tf.cast(logits, tf.float64)
    if len(labels.shape) == 2:
        return tf.nn.softmax_cross_entropy_with_logits(labels, logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
