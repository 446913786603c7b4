"""The decoder with the head of a task (section 3.2, equation 3, Figure 1).

Letters as in `layers.py`, and K sequences of an example (choices, or the two orders of a pair),
C classes. The trunk sees the B K sequences of a batch side by side.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from gpt_tf.config import ModelConfig
from gpt_tf.model.dropout import dropout, make_dropout_keys
from gpt_tf.model.gpt import GPT, part_seed
from gpt_tf.model.layers import DecoderBlock
from gpt_tf.tasks.task import Task


class TaskHead(keras.layers.Layer):
    """The linear layer Wy, with its bias as released (equation 3, Figure 1).

    The form of a task says what it reads: one sequence of each example; the two orders of a
    "similarity", whose states are summed before it; or the choices of a "multiple_choice", each
    of which it gives one score.

    Args:
      config: the trunk's.
      form: one of `forms.FORMS`.
      num_classes: C, outputs of the softmax.
      rate: dropout on the states it reads.
      seed: decides the initial kernel, N(0, 0.02).
    """

    def __init__(self, config: ModelConfig, form: str, num_classes: int, rate: float = 0.1,
                 seed: int = 0, dtype="float32", name="task_head"):
        super().__init__(name=name, dtype=dtype)
        self._form = form
        self._rate = rate
        self._site = 1 + config.num_layers * DecoderBlock.num_sites
        self.projection = keras.layers.Dense(
            1 if form == "multiple_choice" else num_classes, name="projection",
            dtype=self.dtype_policy, kernel_initializer=keras.initializers.RandomNormal(
                stddev=config.initializer_range, seed=part_seed(seed, config.num_layers + 1)))
        self._width = config.hidden_dim
        self.build()

    def build(self, input_shape=None):
        """Makes the projection."""
        self.projection.build((None, self._width))

    def call(self, states, dropout_keys=None):
        """Logits of the classes.

        Args:
          states: [B, K, D], the hidden state at the extract token of each sequence.
          dropout_keys: uint32 [B, 2]; the mask is shared by an example's choices, as released.

        Returns:
          float32 [B, C].
        """
        if self._form == "similarity":
            states = tf.reduce_sum(states, axis=1, keepdims=True)
        if dropout_keys is not None:
            mask = dropout(tf.ones_like(states[:, :1]), self._rate, dropout_keys, self._site)
            states = states * mask
        logits = tf.cast(self.projection(states), tf.float32)  # [B, K or 1, 1 or C]
        return tf.reshape(logits, [-1, logits.shape[1] * logits.shape[2]])


class DropoutKeys(NamedTuple):
    """Keys of `dropout.make_dropout_keys`.

    sequences: uint32 [B K, 2], of the trunk: each sequence has masks of its own.
    rows: uint32 [B, 2], of the head: an example's choices share one mask.
    """

    sequences: tf.Tensor
    rows: tf.Tensor

    @classmethod
    def make(cls, seed: int, step: tf.Tensor, batch_rows: tf.Tensor,
             num_sequences: int) -> "DropoutKeys":
        """Keys that are a function of (seed, step, row of the global batch, sequence)."""
        sequences = batch_rows[:, None] * num_sequences + tf.range(num_sequences)
        return cls(make_dropout_keys(seed, step, tf.reshape(sequences, [-1])),
                   make_dropout_keys(seed, step, batch_rows))


class TaskModel(keras.layers.Layer):
    """The decoder with the head of a task (section 3.2).

    Args:
      config: shape and dropout rates; `num_special_tokens` is 3.
      task: says the head's form and classes.
      classifier_dropout: rate on the head's input.
      seed: decides the initial weights.
      dtype: see `GPT`.
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
        sequences, rows = dropout_keys or (None, None)
        hidden = self.gpt(tf.reshape(token_ids, [-1, tf.shape(token_ids)[2]]),
                          dropout_keys=sequences)
        return self.logits(hidden, lengths, rows)

    def logits(self, hidden, lengths, dropout_keys=None):
        """Logits of the classes from the hidden states [B K, T, D] of `call`'s sequences; with the
        head's keys, `DropoutKeys.rows`."""
        extract = tf.reshape(tf.maximum(lengths - 1, 0), [-1])  # [B K]
        states = tf.gather(hidden, extract, axis=1, batch_dims=1)  # [B K, D]
        states = tf.reshape(states, [-1, lengths.shape[1], hidden.shape[-1]])
        return self.head(states, dropout_keys=dropout_keys)
