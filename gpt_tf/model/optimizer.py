"""Adam with decoupled L2, as the released program computes it, on gradients already reduced.

Keras's optimizers are not used: they clip before the reduction over replicas, reduce a second
time, and square sparse gradients before merging duplicate rows.
"""

from collections.abc import Callable
import dataclasses
import itertools

import keras
import numpy as np
import tensorflow as tf

from gpt_tf.config import OptimizerConfig
from gpt_tf.model.by_shape import shared
from gpt_tf.model.schedules import corrected_rate, scheduled_rate

_OF_THE_RATE = {name: getattr(OptimizerConfig(), name) for name in (
    "learning_rate", "schedule", "warmup_steps", "clip_norm")}


def update(config: OptimizerConfig, parameter, mean, square, gradient, rate) -> None:
    """Adam's update k, counted from 1, of a parameter p with gradient g.

    As in section 4.1, Kingma & Ba 2015 (end of section 2), and with the L2 term inside the
    bias-corrected step, as released:

      m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
      lr_k = lr schedule(k / total) sqrt(1 - b2^k) / (1 - b1^k)
      p = p - lr_k (m / (sqrt(v) + eps) + l2 p)        l2 only where p's rank is above one

    Args:
      config: decays, epsilon and L2.
      parameter, mean, square: p, m and v; they are changed.
      gradient: g, dense.
      rate: float32 scalar, lr_k.
    """
    new_mean = config.beta_1 * mean + (1.0 - config.beta_1) * gradient
    new_square = config.beta_2 * square + (1.0 - config.beta_2) * tf.square(gradient)
    direction = new_mean / (tf.sqrt(new_square) + config.epsilon)
    if parameter.shape.rank > 1:
        direction += config.l2 * parameter
    mean.assign(new_mean)
    square.assign(new_square)
    parameter.assign_sub(rate * direction)


class Adam(tf.Module):
    """Adam's two moments of a list of variables, and their `update`.

    Args:
      variables: Keras variables; build under the strategy's scope.
      config: rates and decays.
      num_steps: `total` of `update`.
      jit_compile: whether the update of a layer is an XLA program.
    """

    def __init__(self, variables: list[keras.Variable], config: OptimizerConfig, num_steps: int,
                 jit_compile: bool = True):
        super().__init__(name="adam")
        self._config = config
        # The rate is given to a layer's update, which all rates share.
        self._update = _layer_update(dataclasses.replace(config, **_OF_THE_RATE), jit_compile)
        self._num_steps = num_steps
        self._names = [variable.path for variable in variables]
        self._parameters = [variable.value for variable in variables]
        self._means, self._squares = (
            [tf.Variable(tf.zeros(p.shape), trainable=False, name=f"{v.path}/{moment}")
             for v, p in zip(variables, self._parameters)] for moment in ("mean", "square"))
        # Blocks are equal: they share one program, which also holds less at once than one of all.
        self._layers = [list(places) for _, places in itertools.groupby(
            range(len(variables)), lambda place: self._names[place].split("/")[:2])]

    def moments(self) -> dict[str, dict[str, tf.Variable]]:
        """Both moments by the name of their variable, for checkpoints."""
        return {group: dict(zip(self._names, variables)) for group, variables in
                (("mean", self._means), ("square", self._squares))}

    def witness(self) -> list[np.ndarray]:
        """Numbers that tell whether any layer's update was taken since: of each a second moment,
        the smallest there is."""
        return [min((self._squares[place] for place in places),
                    key=lambda square: square.shape.num_elements()).numpy()
                for places in self._layers]

    def learning_rate(self, step: int) -> float:
        """The scheduled rate of update `step`, counted from 1, without Adam's correction."""
        return scheduled_rate(self._config, step, self._num_steps)

    def corrected_rate(self, step: int) -> float:
        """`lr_k` of `update`."""
        return corrected_rate(self._config, step, self._num_steps)

    def clip_scale(self, norm: tf.Tensor) -> tf.Tensor:
        """What the gradients are multiplied by so that their global norm is at most clip_norm."""
        if self._config.clip_norm == 0:
            return tf.ones([])
        return self._config.clip_norm / tf.maximum(norm, self._config.clip_norm)

    def apply(self, strategy: tf.distribute.Strategy, gradients, scale, corrected_rate) -> None:
        """Updates every replica's copy. Call in cross-replica context (`merge_call`).

        Args:
          strategy: where the variables live.
          gradients: dense, reduced over all replicas; one list entry for each variable.
          scale: float32 scalar, multiplies the gradients: normalisation and clipping in one.
          corrected_rate: float32 scalar of `corrected_rate`.
        """
        def on(replica, value):
            # One value that all replicas share is not held once for each.
            copies = strategy.experimental_local_results(value)
            return copies[replica if len(copies) > 1 else 0]

        groups = (self._parameters, self._means, self._squares, gradients)
        for replica in range(len(strategy.experimental_local_results(self._parameters[0]))):
            for places in self._layers:
                parts = [[on(replica, group[place]) for place in places] for group in groups]
                with tf.device(parts[0][0].device):
                    self._update(*parts, on(replica, scale), on(replica, corrected_rate))


@shared
def _layer_update(config: OptimizerConfig, jit_compile: bool) -> Callable:
    """The update of a layer; equal layers share one program."""
    def run(parameters, means, squares, gradients, scale, rate):
        for parameter, mean, square, gradient in zip(parameters, means, squares, gradients):
            update(config, parameter, mean, square, scale * gradient, rate)

    return tf.function(run, jit_compile=jit_compile, autograph=False)
