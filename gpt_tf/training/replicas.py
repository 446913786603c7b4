"""How a global batch and its sums cross the replicas of a `tf.distribute.Strategy`.

All replicas of a worker have its share of a global batch before them, and each takes its rows of
that. So there is one global batch whatever the number of replicas and workers.
"""

import functools

import tensorflow as tf


@functools.cache  # as the strategies of `distribution.make_strategy`, of which it is one
def one_device() -> tf.distribute.Strategy:
    """The strategy of one replica, on the first GPU of this machine or, without one, its CPU."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.OneDeviceStrategy(devices[0].name)


def replica_rows(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """This replica's rows of its worker's share of a batch; call inside `strategy.run`.

    Scalars (the step) are everybody's.
    """
    context = tf.distribute.get_replica_context()
    replicas = len(context.strategy.extended.worker_devices)
    index = context.replica_id_in_sync_group % replicas

    def rows(tensor):
        if not tensor.shape.rank:
            return tensor
        count = tensor.shape[0] // replicas
        return tensor[index * count:(index + 1) * count]

    return {name: rows(tensor) for name, tensor in batch.items()}


def sum_over_replicas(values):
    """Sums a structure of tensors over all replicas; call inside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def gather_rows(values):
    """Every replica's rows of a structure of tensors, in the order of the global batch; call
    inside `strategy.run`."""
    return tf.distribute.get_replica_context().all_gather(values, axis=0)


def first_replica(strategy: tf.distribute.Strategy, values):
    """One replica's copy of a structure in which all replicas agree."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], values)
