"""One flag -> `tf.distribute.Strategy`, and how the processes of one run, the workers, act as one.

How a global batch and its sums cross the replicas of a strategy stands in `replicas`.
"""

from collections.abc import Iterator
import contextlib
import faulthandler
import functools
import os
import sys

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import lock_folder
from gpt_tf.common.memory import is_out_of_memory
from gpt_tf.data.batches import BatchShare
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.training.cluster_environment import find_workers, names_workers
from gpt_tf.training.replicas import first_replica, one_device, sum_over_replicas


def _has_workers(name: str) -> bool:
    return name == "multi_worker" or (name == "auto" and names_workers(os.environ))


@functools.cache  # two of the same devices number their collectives alike, and these mix
def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of `--strategy`, one for the whole process.

    Args:
      name: "one_device"; "mirrored", over all GPUs of this machine, or its logical CPU devices
        where it has none; "multi_worker", over all devices of the processes that TF_CONFIG or
        Slurm name, which must be made before TensorFlow has computed anything; "auto",
        multi_worker where TF_CONFIG names workers, mirrored when there is more than one GPU.

    Raises:
      UserError: multi_worker, and neither TF_CONFIG nor Slurm name this process and the others.
    """
    if _has_workers(name):
        addresses, index = find_workers(os.environ)
        return tf.distribute.MultiWorkerMirroredStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": addresses}), task_type="worker", task_id=index,
                rpc_layer="grpc"))
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return one_device()


class Cluster:
    """The processes that train one model: one, unless the strategy is multi_worker.

    All have the same flags and see the same folders. The first, the chief, alone writes: the
    others' `Checkpoints`, `BestCheckpoint` and `Reporter` are told not to, and `owning` keeps what
    they print from the terminal.

    Attributes:
      strategy: a `tf.distribute.Strategy`.
      share: the part of each batch that this worker reads; its index is the worker's number.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.share = BatchShare()
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            self.share = BatchShare(resolver.task_id, resolver.cluster_spec().num_tasks("worker"))
        self._replica_sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes for all."""
        return self.share.index == 0

    def total(self, value: int) -> int:
        """The sum of every worker's `value`; waits until all have called it."""
        if self.share.count == 1:
            return value
        replicas = len(self.strategy.extended.worker_devices)
        sums = self._replica_sum(tf.constant(value, tf.int64))
        return int(first_replica(self.strategy, sums)) // replicas

    def from_chief(self, value: int) -> int:
        """The chief's `value`; waits until all have called it."""
        return self.total(value if self.is_chief else 0)

    def _sum_over_replicas(self, value):
        # An argument is on no device yet, and a sum has to know its device.
        return self.strategy.run(lambda: sum_over_replicas(tf.identity(value)))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that every worker goes through, and that succeeds for all or for none.

        Raises:
          UserError: the block's own, or because it failed on another worker.
        """
        try:
            yield
        except UserError:
            self.total(1)
            raise
        if self.total(0):
            raise UserError("Another worker cannot go on, and its own log says why: fix that, "
                            "then run the same command on every worker again.")

    def restore_latest(self, checkpoints: Checkpoints) -> int:
        """Restores on every worker what the chief finds newest; returns its step, 0 for none.

        Raises:
          UserError: see `Checkpoints.restore_latest`; or it failed on another worker.
        """
        step = 0
        with self.together():
            if self.is_chief:
                checkpoints.remove_unfinished()
                step = checkpoints.restore_latest() or 0
                checkpoints.finish_save(step)
        step = self.from_chief(step)
        with self.together():
            if step and not self.is_chief:
                checkpoints.restore(step)
        return step

    @contextlib.contextmanager
    def owning(self, model_dir: str | None) -> Iterator[None]:
        """The block of a run: the chief has the run folder's lock and alone prints.

        Args:
          model_dir: the run folder; None: the run has none to be locked.

        Raises:
          UserError: another run owns the folder, or another worker is gone.
        """
        with contextlib.ExitStack() as stack:
            with self.together():
                if self.is_chief:
                    if model_dir is not None:
                        stack.enter_context(lock_folder(model_dir))
                else:
                    silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                    stack.enter_context(contextlib.redirect_stdout(silence))
                    stack.enter_context(contextlib.redirect_stderr(silence))
            try:
                yield
            except tf.errors.OpError as error:
                if self.share.count == 1 or is_out_of_memory(error):
                    raise
                raise UserError(
                    f"Another worker of this run was lost ({type(error).__name__}): run the same "
                    "command on every worker again, and it goes on from the last checkpoint."
                ) from error
            # The first to leave would look lost to the others.
            self.total(0)


def join(name: str, worker_timeout: float = 0.0) -> Cluster:
    """The cluster of `--strategy`; call before TensorFlow has computed anything.

    Args:
      name: see `make_strategy`.
      worker_timeout: seconds after which this process ends with 1 if another worker has not
        started, for TensorFlow waits without end; 0: so does this.

    Raises:
      UserError: see `make_strategy`.
    """
    if not _has_workers(name):
        return Cluster(make_strategy(name))
    addresses, _ = find_workers(os.environ)
    limit = f" for at most {worker_timeout:g} seconds (--worker_timeout)" if worker_timeout else ""
    print(f"Waiting{limit} for all {len(addresses)} workers: {', '.join(addresses)}.",
          file=sys.stderr, flush=True)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        if worker_timeout:
            # TensorFlow waits with Python's lock held: no exception, timer or handler gets through.
            faulthandler.dump_traceback_later(worker_timeout, exit=True, file=nowhere)
        try:
            return Cluster(make_strategy(name))
        finally:
            faulthandler.cancel_dump_traceback_later()


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int, micro_batch_size: int):
    """Raises UserError unless the global batch divides into replicas and micro-batches."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(f"--batch_size={batch_size} cannot be divided over {replicas} devices: "
                        "choose a multiple.")
    if micro_batch_size and (batch_size // replicas) % micro_batch_size:
        raise UserError(f"--micro_batch_size={micro_batch_size} must divide the "
                        f"{batch_size // replicas} sequences of a device.")
