"""The layers of `text_classifier.GPTTextClassifier` above its backbone."""

import dataclasses

import keras
import tensorflow as tf

from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import DropoutKeys, TaskHead, TaskModel
from gpt_tf.tasks.task import Task


def lengths_of(inputs) -> tf.Tensor:
    """{"padding_mask": [B, K, T]} -> int32 [B, K], tokens of each sequence."""
    return tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int32), axis=-1)


class TaskOutputs(keras.layers.Layer):
    """A `TaskModel` as a layer of {"token_ids", "padding_mask"}; its trunk is the backbone's.

    Args:
      model: the model.
      activation: of the logits; None for none.
      seed: of the dropout when it is called with `training=True`.
    """

    def __init__(self, model: TaskModel, activation, seed: int, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.model = model
        self._activation = keras.activations.get(activation)
        self._seeds = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """int32 [B, K, T] each -> float32 [B, C]."""
        lengths, keys = lengths_of(inputs), None
        if training:
            seed, step = tf.unstack(tf.cast(self._seeds.next(), tf.int32))
            keys = DropoutKeys.make(seed, step, tf.range(tf.shape(lengths)[0]), lengths.shape[1])
        return self._activation(self.model(inputs["token_ids"], lengths, keys))


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
