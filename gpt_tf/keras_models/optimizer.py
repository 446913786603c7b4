"""The released program's Adam as a Keras optimizer, for `fit`."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from gpt_tf.config import OptimizerConfig
from gpt_tf.model import optimizer

# Updates after which Adam's correction is 1 in float32 at the paper's decays.
_SETTLED = 17_000


@keras.saving.register_keras_serializable("gpt_tf")
class GPTAdam(keras.optimizers.Optimizer):
    """`optimizer.update` under `keras.Model.fit`, on one device.

    Args:
      num_steps: updates of the schedule; after them the rate stays as it is. None: a constant
        rate needs none.
      name: see `keras.optimizers.Optimizer`.
      **options: fields of `config.OptimizerConfig`.

    Raises:
      ValueError: a schedule that runs to an end, without `num_steps`.
    """

    def __init__(self, num_steps: int | None = None, name: str = "gpt_adam", **options):
        config = OptimizerConfig(**options)
        if num_steps is None and config.schedule != "constant":
            raise ValueError(f"The schedule {config.schedule!r} runs over the updates: give "
                             "their number as num_steps, or schedule='constant'.")
        super().__init__(config.learning_rate, name=name,
                         global_clipnorm=config.clip_norm or None)
        self.config = config
        self.num_steps = num_steps

    def build(self, variables):
        """Makes both moments of each variable."""
        if self.built:
            return
        super().build(variables)
        self._means = self.add_optimizer_variables(variables, "mean")
        self._squares = self.add_optimizer_variables(variables, "square")
        total = self.num_steps or _SETTLED
        self._rates = np.array([optimizer.corrected_rate(self.config, step, total)
                                for step in range(1, total + 1)], np.float32)

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update; `learning_rate` is the schedule's business here."""
        del learning_rate
        step = tf.minimum(tf.cast(self.iterations, tf.int32), len(self._rates) - 1)
        place = self._get_variable_index(variable)
        mean, square = self._means[place], self._squares[place]
        optimizer.update(self.config, variable, mean.value, square.value,
                         tf.convert_to_tensor(gradient), tf.gather(self._rates, step))

    def get_config(self):
        """Everything the constructor takes."""
        return {"num_steps": self.num_steps, "name": self.name,
                **dataclasses.asdict(self.config)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The optimizer of `get_config`."""
        del custom_objects
        return cls(**config)
