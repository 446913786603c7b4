"""A `TaskModel` with a hidden layer, for `text_classifier.GPTTextClassifier`."""

import dataclasses

import keras

from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskHead, TaskModel
from gpt_tf.tasks.task import Task


class HiddenTaskModel(TaskModel):
    """A `TaskModel` with a layer of tanh units before the linear one.

    Args:
      hidden_dim: its units.
      gpt: the decoder.
      The others are those of `TaskModel`.
    """

    def __init__(self, hidden_dim: int, task: Task, dropout: float, seed: int, gpt: GPT):
        self._hidden_dim = hidden_dim
        # Of this configuration only the head is made, which reads the layer's outputs.
        config = dataclasses.replace(gpt.config, hidden_dim=hidden_dim, num_heads=1)
        super().__init__(config, task, dropout, seed, gpt.dtype_policy, gpt)

    def build(self, input_shape=None):
        """Makes the layer, and puts it before the head."""
        head = self.head
        del self.head
        self.head = _HiddenHead(head, self.gpt.config.hidden_dim, self._hidden_dim)


class _HiddenHead(keras.layers.Layer):
    """A head that reads [B, K, D] through a layer of tanh units."""

    def __init__(self, head: TaskHead, width: int, hidden_dim: int):
        super().__init__(name="hidden_head", dtype=head.dtype_policy)
        self.hidden = keras.layers.Dense(hidden_dim, "tanh", name="hidden",
                                         dtype=head.dtype_policy)
        self.hidden.build((None, width))
        self.head = head
        self.built = True

    def call(self, states, dropout_keys=None):
        """As `TaskHead`."""
        return self.head(self.hidden(states), dropout_keys=dropout_keys)
