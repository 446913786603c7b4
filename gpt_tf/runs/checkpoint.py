"""Checkpoints of a run: saved whole, restored from the newest one that is whole; and the best."""

from collections.abc import Collection, Iterator
import math
import os
import sys

import tensorflow as tf

from gpt_tf.common import cache
from gpt_tf.common.errors import UserError, reason
from gpt_tf.common.files import atomic_write, explain_disk_errors, make_folder
from gpt_tf.common.tensorflow_names import literal
from gpt_tf.runs import checkpoint_files
from gpt_tf.runs.checkpoint_files import UNFINISHED, listing, steps_in

# What is raised about one that is not whole: TensorFlow keeps a checksum of every tensor.
_DAMAGE = (tf.errors.OpError, OSError, ValueError, IndexError)
_LIST = "checkpoint"


def _newest(step: int) -> bytes:
    return f'model_checkpoint_path: "ckpt-{step}"\n'.encode()


class Checkpoints:
    """The checkpoints of one run folder, `<folder>/ckpt-<step>`.

    Dropout and the order of the data are functions of (seed, step), so variables and the step
    are all there is to save.

    The files tell what is there, so that no list of them can be lost. A checkpoint is written
    under another name and reaches the disk before it takes its own, its index last; those before
    it are deleted after that. The file `checkpoint`, which is written at the end, is for
    `tf.train.latest_checkpoint`, and tells a save that was cut off from one that was not.

    Whoever reads beside a run in training looks again where a checkpoint that cannot be read was
    replaced or pruned meanwhile, before it is called damaged.

    Args:
      folder: where they stand; made when it is missing.
      groups: variables by group ("model", "mean", ...) and name.
      keep: number of newest checkpoints to keep.
      keep_per_decade: of `checkpoint_files.milestones`, which are kept, too.
      writes: False on a worker that leaves writing to the chief: nothing is saved or deleted.
      remedy: what to do where none can be read.
    """

    def __init__(self, folder: str, groups: dict[str, dict[str, tf.Variable]], keep: int = 1,
                 writes: bool = True,
                 remedy: str = "restore them from a copy or start a new run folder",
                 keep_per_decade: int = 0):
        self._folder = folder
        self._remedy = cache.remedy(folder, remedy)
        self._groups = groups
        self._keep = keep
        self._keep_per_decade = keep_per_decade
        self._writes = writes
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(step=self._step, **groups)

    @property
    def latest(self) -> str | None:
        """Path prefix of the newest checkpoint, or None."""
        return self._prefix(self.steps[-1]) if self.steps else None

    @property
    def steps(self) -> list[int]:
        """The updates of the checkpoints that are kept, whole or damaged, oldest first."""
        return checkpoint_files.steps(self._folder)

    def _prefix(self, step: int) -> str:
        return os.path.join(self._folder, f"ckpt-{step}")

    def save(self, step: int) -> None:
        """Saves all variables, the state after update `step`.

        Raises:
          UserError: the disk is full or cannot be written; what was saved before is intact.
        """
        if not self._writes:
            return
        make_folder(self._folder)
        self._step.assign(step)
        try:
            with literal(self._folder) as folder:
                self._checkpoint.write(os.path.join(folder, UNFINISHED))
            checkpoint_files.publish(self._folder, step)
            self._tidy(step)
        except (tf.errors.OpError, OSError) as error:
            self.remove_unfinished()
            raise UserError(
                f"Cannot save a checkpoint in {self._folder}: {reason(error)}. "
                f"{f'{self.latest} is intact' if self.steps else 'Nothing was saved before'}; make "
                "room and run the same command again to go on from there.") from error

    def _tidy(self, step: int) -> None:
        taken = [each for each in self.steps if each <= step]
        milestones = checkpoint_files.milestones(step, self._keep_per_decade)
        kept = {*taken[-self._keep:], *milestones.intersection(taken)}
        # A later one was damaged, and the run has gone on from before it.
        for other in set(self.steps) - kept:
            checkpoint_files.remove(self._folder, other)
        with atomic_write(os.path.join(self._folder, _LIST)) as stream:
            stream.write(_newest(step))

    def _is_tidy(self, step: int) -> bool:
        try:
            with open(os.path.join(self._folder, _LIST), "rb") as stream:
                return stream.read() == _newest(step)
        except OSError:
            return False

    def finish_save(self, step: int) -> None:
        """Does what is left of the save of update `step`, the newest and whole, if it was cut off
        when it had its name: none is deleted for who looks at a finished run with other flags. On
        the worker that saves alone.

        Raises:
          UserError: the disk cannot be written.
        """
        if self._writes and self.steps[-1:] == [step] and not self._is_tidy(step):
            with explain_disk_errors(self._folder):
                self._tidy(step)

    def remove_unfinished(self) -> None:
        """Deletes what a save that was cut off has left; on the worker that saves alone."""
        if self._writes:
            checkpoint_files.remove_unfinished(self._folder)

    def restore(self, step: int) -> None:
        """Restores the checkpoint of one update, of those in `steps`.

        Raises:
          UserError: it is damaged or gone, or holds a model of another shape.
        """
        while step in steps_in(found := listing(self._folder)):
            try:
                self._read(step)
                return
            except _DAMAGE as error:
                if listing(self._folder) == found:
                    raise UserError(
                        f"Checkpoint {self._prefix(step)} cannot be read ({reason(error)}): "
                        "leave it out, or restore it from a copy.") from error
        raise UserError(f"Checkpoint {self._prefix(step)} is gone: the run keeps it no longer; "
                        "leave it out.")

    def restore_latest(self) -> int | None:
        """Restores the newest whole checkpoint and returns its step; None if there is none.

        Raises:
          UserError: none of those there is whole, or they hold a model of another shape.
        """
        damaged: list[int] = []
        found = listing(self._folder)
        while left := [step for step in steps_in(found) if step not in damaged]:
            step = left[-1]
            try:
                self._read(step)
                return step
            except _DAMAGE as error:
                before, found = found, listing(self._folder)
                if found != before:
                    damaged = []
                    continue
                damaged.append(step)
                print(f"Checkpoint {self._prefix(step)} is damaged ({reason(error)}); "
                      "trying the one before it.", file=sys.stderr)
        if damaged:
            raise UserError(f"No checkpoint in {self._folder} can be read: "
                            f"{', '.join(map(self._prefix, damaged))} are damaged; {self._remedy}.")
        return None

    def _read(self, step: int) -> None:
        """Gives the variables their values, which one reader takes out of files that it keeps
        open: they are of one checkpoint, even if that is replaced or pruned meanwhile."""
        with open(f"{self._prefix(step)}.index", "rb") as stream:
            stream.read()  # what the disk does not give is an error here; TensorFlow dies of it
        with literal(self._folder) as folder:
            try:
                reader = tf.train.load_checkpoint(os.path.join(folder, f"ckpt-{step}"))
            except MemoryError as error:  # an index is small
                raise ValueError("its index declares a size that no memory holds") from error
            shapes = reader.get_variable_to_shape_map()
            for name, key, variable in self._saved_names():
                if shapes.get(key) != variable.shape.as_list():
                    raise UserError(
                        f"{self._prefix(step)} holds another model: {name} has shape "
                        f"{shapes.get(key)} there and {variable.shape.as_list()} here. Name the "
                        "run folder it belongs to.")
            for _, key, variable in self._saved_names():
                variable.assign(reader.get_tensor(key))

    def _saved_names(self) -> Iterator[tuple[str, str, tf.Variable]]:
        """(name, its name in a checkpoint, variable) of each variable, as TensorFlow names them."""
        for group, variables in self._groups.items():
            for name, variable in variables.items():
                escaped = name.replace(".", "..").replace("/", ".S")
                yield name, f"{group}/{escaped}/.ATTRIBUTES/VARIABLE_VALUE", variable


class BestCheckpoint:
    """The weights of the best validation so far, with the scores they had.

    The scores stand in the checkpoint itself: a run that is killed, goes on from an earlier
    update and validates again finds what it had found, and keeps the same weights.

    Args:
      folder: where the checkpoint stands.
      variables: the model's, by name.
      score_names: names of a validation's scores; the first decides.
      lowest_is_best: whether the first score is a loss.
      writes: see `Checkpoints`.

    Raises:
      UserError: the checkpoint that is there is damaged.
    """

    def __init__(self, folder: str, variables: dict[str, tf.Variable],
                 score_names: Collection[str], lowest_is_best: bool = False,
                 writes: bool = True):
        self._sign = -1 if lowest_is_best else 1
        self._scores = {name: tf.Variable(self._sign * -math.inf, dtype=tf.float64,
                                          trainable=False) for name in score_names}
        self._deciding = next(iter(self._scores))
        # The scores alone: the weights in memory are the run's newest.
        self._step = Checkpoints(folder, {"scores": self._scores}, remedy=(
            f"restore them from a copy, or remove {folder}: the best is chosen anew, then"
        )).restore_latest()
        self._checkpoints = Checkpoints(folder, {"model": variables, "scores": self._scores},
                                        writes=writes)
        self._checkpoints.remove_unfinished()
        if self._step is not None:
            self._checkpoints.finish_save(self._step)

    @property
    def step(self) -> int | None:
        """The update whose weights are kept; None before the first validation."""
        return self._step

    @property
    def scores(self) -> dict[str, float]:
        """The kept weights' scores by name."""
        return {name: float(value.numpy()) for name, value in self._scores.items()}

    def offer(self, step: int, scores: dict[str, float]) -> None:
        """Keeps the weights after update `step` if their first score is better than the kept
        ones'."""
        if self._sign * scores[self._deciding] > self._sign * self.scores[self._deciding]:
            for name, value in self._scores.items():
                value.assign(scores[name])
            self._checkpoints.save(step)
            self._step = step
