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
    """Adam with decoupled L2 and a schedule, as GPT-1 was trained (Radford et al. 2018, 4.1).

    The rate of update k is `learning_rate` times the schedule's share at k. `learning_rate` is
    Keras's: callbacks (`ReduceLROnPlateau`, `LearningRateScheduler`) and assignments change it,
    and at 0 no weight moves. Gradients are clipped after their sum over the replicas of a
    `tf.distribute.MirroredStrategy`. Moments and updates are float32 whatever a weight is.

    Args:
      num_steps: updates of the schedule; after them the rate stays as it is. None: a constant
        rate needs none.
      name: see `keras.optimizers.Optimizer`.
      learning_rate: peak rate; or a `keras.optimizers.schedules.LearningRateSchedule`, or a
        function without arguments, which stand in place of `schedule` and `warmup_steps`.
      **options: fields of `config.OptimizerConfig`: schedule ("cosine", "linear" or "constant"),
        warmup_steps, beta_1, beta_2, epsilon, l2, clip_norm.

    Raises:
      ValueError: a schedule that runs to an end, without `num_steps`; a second schedule; or a
        value that cannot be.

    Example:
      import keras
      from gpt_tf import GPTAdam

      optimizer = GPTAdam(num_steps=1000, learning_rate=6.25e-5, schedule="linear",
                          warmup_steps=2.0)
      other = GPTAdam(learning_rate=keras.optimizers.schedules.CosineDecay(6.25e-5, 1000))
    """

    def __init__(self, num_steps: int | None = None, name: str = "gpt_adam",
                 learning_rate=OptimizerConfig.learning_rate, **options):
        follows = callable(learning_rate)
        if follows:
            if num_steps is not None or {"schedule", "warmup_steps"} & set(options):
                raise ValueError("A learning_rate that is a schedule stands in place of num_steps, "
                                 "schedule and warmup_steps: leave these out.")
            options |= {"schedule": "constant", "warmup_steps": 0.0}
        elif not learning_rate >= 0:
            raise ValueError(f"learning_rate={learning_rate} must be at least 0.")
        config = OptimizerConfig(learning_rate=1.0, **options)
        if num_steps is None and config.schedule != "constant":
            raise ValueError(f"The schedule {config.schedule!r} runs over the updates: give "
                             "their number as num_steps, or schedule='constant'.")
        super().__init__(learning_rate if follows else float(learning_rate), name=name,
                         global_clipnorm=config.clip_norm or None)
        self.config = config
        self.num_steps = num_steps
        self._follows = follows
        self._given_rate = None if follows else float(learning_rate)
        self._num_scalars = len(self.variables)
        self._waiting = None

    def add_variable(self, shape, initializer="zeros", dtype=None, **kwargs):
        """Makes a moment, in float32: 0.999 is 1 in bfloat16, and 1e-8 is 0 in float16."""
        del dtype
        return super().add_variable(shape, initializer, "float32", **kwargs)

    def build(self, variables):
        """Makes both moments of each variable."""
        if self.built:
            return
        super().build(variables)
        self._means = self.add_optimizer_variables(variables, "mean")
        self._squares = self.add_optimizer_variables(variables, "square")
        total = self.num_steps or _SETTLED
        self._shares = np.array([optimizer.corrected_rate(self.config, step, total)
                                 for step in range(1, total + 1)])
        if self._waiting is not None:
            state, self._waiting = self._waiting, None
            super().load_own_variables(state)

    def load_own_variables(self, store):
        """Takes the state of `save_own_variables`: before the first update it waits for `build`,
        and one of before the first update has no moments."""
        count = len(store.keys())
        if count <= self._num_scalars:
            for index, variable in enumerate(self.variables[:count]):
                variable.assign(store[str(index)])
        elif self.built:
            super().load_own_variables(store)
        else:
            self._waiting = {name: np.array(store[name]) for name in store.keys()}

    def _clip_gradients(self, gradients):
        """Leaves them alone: the norm is that of their sum over the replicas, taken below."""
        return gradients

    def _all_reduce_sum_gradients(self, grads_and_vars):
        gradients, variables = zip(*grads_and_vars)
        # Dense: a token's gradients count as their sum, in the norm and in the moments.
        dense = [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]
        gradients, variables = zip(*super()._all_reduce_sum_gradients(zip(dense, variables)))
        return list(zip(super()._clip_gradients(gradients), variables))

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update.

        Args:
          gradient: float32, dense, summed over the replicas and clipped.
          variable: is changed.
          learning_rate: Keras's, at this update.
        """
        place = self._get_variable_index(variable)
        parameter = variable if variable.dtype == tf.float32 else _InFloat32(variable)
        optimizer.update(self.config, parameter, self._means[place].value,
                         self._squares[place].value, gradient, self._rate(learning_rate))

    def _rate(self, learning_rate) -> tf.Tensor:
        """lr_k of `optimizer.update`, float32."""
        rate = tf.cast(tf.convert_to_tensor(learning_rate), tf.float64)
        if self._given_rate is not None:
            # Keras holds it in float32: the one that was given has more digits, as the Trainer's.
            rate = tf.where(rate == np.float64(np.float32(self._given_rate)),
                            tf.constant(self._given_rate, tf.float64), rate)
        step = tf.minimum(tf.cast(self.iterations, tf.int32), len(self._shares) - 1)
        return tf.cast(rate * tf.gather(self._shares, step), tf.float32)

    def get_config(self):
        """Everything the constructor takes."""
        config = {"num_steps": self.num_steps, "name": self.name,
                  **dataclasses.asdict(self.config),
                  "learning_rate": super().get_config()["learning_rate"]}
        if self._follows:
            del config["schedule"], config["warmup_steps"]
        elif config["learning_rate"] == np.float32(self._given_rate):
            config["learning_rate"] = self._given_rate
        return config


class _InFloat32:
    """A variable of fewer bits as `optimizer.update` needs it."""

    def __init__(self, variable: tf.Variable):
        self._variable = variable
        self.shape = variable.shape

    def __rmul__(self, factor):
        return factor * tf.cast(self._variable, tf.float32)

    def assign_sub(self, change):
        """Computes in float32 and rounds once."""
        self._variable.assign(
            tf.cast(tf.cast(self._variable, tf.float32) - change, self._variable.dtype))
