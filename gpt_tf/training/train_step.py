"""One update: forward and backward by micro-batches, reduction, clipping, Adam."""

import keras
import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.memory import is_out_of_memory, out_of_memory_message
from gpt_tf.common.progress import Progress
from gpt_tf.config import TrainingConfig
from gpt_tf.model.by_shape import FunctionByShape
from gpt_tf.model.objectives import LossFunction, LossSums
from gpt_tf.model.optimizer import Adam
from gpt_tf.training import replicas


class TrainStep:
    """One update: forward and backward by micro-batches, reduction, clipping, Adam.

    Forward and backward pass are XLA programs of parts of the model, the update others, and the
    reduction over replicas stands between them, where XLA's collectives are not needed. The mean
    is taken over the whole global batch by dividing after the reduction, so neither replicas nor
    micro-batches show in the result.

    Args:
      strategy: where the variables live.
      variables: what is trained.
      loss: batch -> LossSums, over the rows it is given.
      optimizer: its Adam.
      config: micro-batch and compilation.
      part_names: names of `LossSums.parts`.
      micro_batch_size: the micro-batch where `config` leaves it open: rows of a replica at once;
        0: all. It is lowered once if memory is too short for the first update.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: list[keras.Variable],
                 loss: LossFunction, optimizer: Adam, config: TrainingConfig,
                 part_names: tuple[str, ...] = (), micro_batch_size: int = 0):
        self._strategy = strategy
        self._variables = variables
        self._loss = loss
        self._part_names = part_names
        self._optimizer = optimizer
        # Without XLA an update is too many operations, some of which may have run when one fails;
        # and replicas wait for each other.
        self._may_lower = (config.micro_batch_size == 0 and config.jit_compile
                           and strategy.num_replicas_in_sync == 1)
        self._cut(config.micro_batch_size or micro_batch_size)

    def _cut(self, size: int) -> None:
        """Takes micro-batches of `size` rows from now on; 0: all rows."""
        self._size = size
        self._global_step = FunctionByShape(self.run)
        self._global_gradients = FunctionByShape(
            lambda batch: self._strategy.run(self._replica_gradients, args=(batch,)))

    def __call__(self, batch: dict[str, tf.Tensor], step: int,
                 flag: bool = False) -> dict[str, tf.Tensor]:
        """Takes update `step`, counted from 1.

        Args:
          batch: this worker's share of the global batch.
          step: number of the update.
          flag: what this worker has to tell all others.

        Returns:
          Scalars loss, weight (what it is the mean of), tokens, gradient_norm, the parts of the
          loss, and flags: how many replicas had one. All workers get the same. Of a batch that
          weighs nothing loss and gradient are zero.

        Raises:
          UserError: there is too little memory.
        """
        rate = tf.constant(self._optimizer.corrected_rate(step), tf.float32)
        before = self._optimizer.witness() if self._may_lower else []
        try:
            values = self._global_step(batch, rate, tf.constant(float(flag)))
        except tf.errors.OpError as error:
            if not is_out_of_memory(error):
                raise
            # Of a layer that was updated already, the same update would be a second one.
            self._may_lower &= all(map(np.array_equal, before, self._optimizer.witness()))
            self._lower(batch["batch_rows"].shape[0], error)
            return self(batch, step, flag)
        self._may_lower = False
        return replicas.first_replica(self._strategy, values)

    def _lower(self, rows: int, error: tf.errors.OpError) -> None:
        """Halves the micro-batch after `error`, if no variable has changed before.

        Args:
          rows: of this worker's share of a batch.
          error: want of memory.

        Raises:
          UserError: it was lowered before, or may not be.
        """
        size = self._size or rows // len(self._strategy.extended.worker_devices)
        if size == 1 or not self._may_lower:
            remedy = (f"give a --micro_batch_size below {size}" if size > 1 else
                      "make the model smaller (--num_layers, --hidden_dim), or the data's windows")
            raise UserError(out_of_memory_message(error, remedy)) from error
        self._may_lower = False
        self._cut(next(part for part in range(size // 2, 0, -1) if rows % part == 0))
        Progress.write(f"Memory was too short for {size} sequences at once: going on with "
                       f"micro-batches of {self._size}.")

    def is_finite(self) -> bool:
        """Whether every value of the variables is a finite number."""
        return all(bool(tf.reduce_all(tf.math.is_finite(variable.value)))
                   for variable in self._variables)

    def gradients(self, batch: dict[str, tf.Tensor]) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Each variable with the gradient that an update by `batch` starts from, before clipping.

        Takes no update and leaves the compiled one as it is; all workers call it together.

        Args:
          batch: as for an update.
        """
        gradients = self._global_gradients(batch)
        return list(zip(self._variables, replicas.first_replica(self._strategy, gradients)))

    def _replica_gradients(self, batch):
        gradients, sums = replicas.sum_over_replicas(
            self._sum_micro_batches(replicas.replica_rows(batch)))
        weight = _divisor(sums)
        return [gradient / weight for gradient in gradients]

    def run(self, batch: dict[str, tf.Tensor], rate: tf.Tensor, flag: tf.Tensor):
        """The update as a function to be traced, by whoever compiles it otherwise than here.

        Args:
          batch: as for an update.
          rate: float32 scalar, the optimizer's `corrected_rate`.
          flag: float32 scalar.

        Returns:
          The scalars of an update, on each replica.
        """
        return self._strategy.run(self._replica_step, args=(batch, rate, flag))

    def _replica_step(self, batch, rate, flag):
        gradients, sums = self._sum_micro_batches(replicas.replica_rows(batch))
        gradients, sums, flags = replicas.sum_over_replicas(
            (gradients, sums, tf.identity(flag)))
        weight = _divisor(sums)
        norm = tf.linalg.global_norm(gradients) / weight
        scale = self._optimizer.clip_scale(norm) / weight
        context = tf.distribute.get_replica_context()
        context.merge_call(self._optimizer.apply, args=(gradients, scale, rate))
        parts = {name: part / weight for name, part in sums.parts.items()}
        return {"loss": sums.loss / weight, "weight": sums.weight, "tokens": sums.tokens,
                "gradient_norm": norm, "flags": flags, **parts}

    def _sum_micro_batches(self, batch):
        """Gradients of the summed loss (dense, one for each variable), and the sums."""
        rows = batch["batch_rows"].shape[0]
        size = self._size or rows
        if size == rows:
            return self._sum_rows(batch)

        def part(index):
            return {name: value if not value.shape.rank else
                    tf.reshape(value, [rows // size, size, *value.shape[1:]])[index]
                    for name, value in batch.items()}

        def add(index, total):
            return index + 1, tf.nest.map_structure(tf.add, total, self._sum_rows(part(index)))

        zero = tf.zeros([])
        zeros = ([tf.zeros(v.shape) for v in self._variables],
                 LossSums(zero, zero, zero, {name: zero for name in self._part_names}))
        # One after the other: side by side they would be in memory together.
        return tf.while_loop(lambda index, _: index < rows // size, add, (0, zeros),
                             maximum_iterations=rows // size, parallel_iterations=1)[1]

    def _sum_rows(self, batch):
        with tf.GradientTape() as tape:
            sums = self._loss(batch)
        gradients = tape.gradient(sums.loss, [variable.value for variable in self._variables],
                                  unconnected_gradients="zero")
        # Adam must see the sum of a token's gradients, not one gradient for each occurrence.
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums


def _divisor(sums: LossSums) -> tf.Tensor:
    """Their weight; 1 of a batch without anything to predict, whose sums and gradients are 0."""
    return tf.where(sums.weight > 0, sums.weight, tf.ones([]))
