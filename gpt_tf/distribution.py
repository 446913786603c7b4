"""One flag -> `tf.distribute.Strategy`, and how a global batch and its sums cross replicas."""

import functools

import tensorflow as tf

from gpt_tf.files import UserError


@functools.cache  # two of the same devices number their collectives alike, and these mix
def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of `--strategy`, one for the whole process.

    Args:
      name: "one_device"; "mirrored", over all GPUs of this machine, or its logical CPU devices
        where it has none; "auto", mirrored when there is more than one GPU.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy(devices[0].name)


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int, micro_batch_size: int):
    """Raises UserError unless the global batch divides into replicas and micro-batches."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(f"--batch_size={batch_size} cannot be divided over {replicas} devices: "
                        "choose a multiple.")
    if micro_batch_size and (batch_size // replicas) % micro_batch_size:
        raise UserError(f"--micro_batch_size={micro_batch_size} must divide the "
                        f"{batch_size // replicas} sequences of a device.")


def replica_rows(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """This replica's rows of a global batch; call inside `strategy.run`.

    Scalars (the step) are everybody's. Slicing here, and not in the input pipeline, keeps one
    global batch whatever the number of replicas.
    """
    context = tf.distribute.get_replica_context()
    replicas, index = context.num_replicas_in_sync, context.replica_id_in_sync_group

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


def first_replica(strategy: tf.distribute.Strategy, values):
    """One replica's copy of a structure in which all replicas agree."""
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], values)
