"""What a checkpoint costs: seconds of a save, beside the time of the updates between two of them.

  python -m benchmarks.saving --shape=books_small --updates=10
  python -m benchmarks.saving --shape=gpt1 --folder=/path/on/the/disk/that/matters

A save writes weights and both moments, waits until they are on the disk, and deletes the oldest;
the updates wait for it.
"""

import statistics
import tempfile
import time

from absl import flags

from benchmarks import report, training
from benchmarks.our_step import Shape, build_ours
from gpt_tf.common import cli

_FOLDER = flags.DEFINE_string("folder", None, "Where to save; by default a temporary folder.")
_SAVES = flags.DEFINE_integer("saves", 5, "Saves that are timed.", lower_bound=1)
_UPDATES = flags.DEFINE_integer("updates", 0, "Updates that are timed; 0: none.", lower_bound=0)
_SAVE_EVERY = flags.DEFINE_integer("save_every", 200, "Updates between saves.", lower_bound=1)


def time_saves(shape: Shape, folder: str) -> tuple[list[float], float]:
    """Seconds of each save, and megabytes of one."""
    from gpt_tf.config import OptimizerConfig
    from gpt_tf.model.gpt import GPT
    from gpt_tf.model.optimizer import Adam
    from gpt_tf.runs import weights
    from gpt_tf.runs.checkpoint import Checkpoints

    model = GPT(shape.model)
    optimizer = Adam(model.trainable_variables, OptimizerConfig(), num_steps=1000)
    groups = {"model": weights.model_variables(model), **optimizer.moments()}
    checkpoints = Checkpoints(folder, groups, keep=2)
    seconds = []
    for step in range(_SAVES.value + 1):
        start = time.perf_counter()
        checkpoints.save(step)
        seconds.append(time.perf_counter() - start)
    size = 4 * sum(variable.shape.num_elements() for group in groups.values()
                   for variable in group.values())
    return seconds[1:], size / 1e6  # the first traces


def time_updates(shape: Shape) -> float:
    """Median seconds of an update."""
    update = build_ours(shape)
    seconds = []
    for _ in range(_UPDATES.value + 2):
        start = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])  # the first compile


def main() -> None:
    """Prints seconds and, with --updates, the share of training time that saves take."""
    cli.import_tensorflow()
    name = flags.FLAGS.shape  # of benchmarks.training, as --vocabulary is
    shape = training.make_shape(name, flags.FLAGS.vocabulary)
    print(report.describe_machine(["tensorflow"]))
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
        seconds, size = time_saves(shape, folder)
    save = statistics.median(seconds)
    print(f"{name}: {size:.0f} MB saved in {save:.2f} s ({min(seconds):.2f}-"
          f"{max(seconds):.2f}), {size / save:.0f} MB/s.")
    if _UPDATES.value:
        update = time_updates(shape)
        share = save / (save + _SAVE_EVERY.value * update)
        print(f"An update takes {update:.3f} s: a save every {_SAVE_EVERY.value} is {share:.2%} of "
              "the time.")


if __name__ == "__main__":
    cli.run(main)
