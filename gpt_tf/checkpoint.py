"""Checkpoints of a run: saved whole, restored from the newest one that is whole; and the best."""

import glob
import math
import os
import re
import shutil
from typing import Collection

import tensorflow as tf

from gpt_tf.checkpoint_state import check_state
from gpt_tf.files import UserError, make_folder


# What TensorFlow raises about a checkpoint that is not whole.
_DAMAGE = (tf.errors.OpError, ValueError, IndexError)


class Checkpoints:
    """The checkpoints of one run folder, `<folder>/ckpt-<step>`.

    Dropout and the order of the data are functions of (seed, step), so variables and the step
    are all there is to save.

    Args:
      folder: where they stand; made when it is missing.
      groups: variables by group ("model", "mean", ...) and name.
      keep: number of newest checkpoints to keep.

    Raises:
      UserError: the folder's list of checkpoints names others, or is damaged.
    """

    def __init__(self, folder: str, groups: dict[str, dict[str, tf.Variable]], keep: int = 1):
        check_state(folder)
        self._folder = folder
        self._groups = groups
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(step=self._step, **groups)
        self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=keep)

    @property
    def latest(self) -> str | None:
        """Path prefix of the newest checkpoint, or None."""
        return self._manager.latest_checkpoint

    @property
    def steps(self) -> list[int]:
        """The updates of the checkpoints that are kept, oldest first."""
        return [int(prefix.rpartition("-")[2]) for prefix in self._manager.checkpoints]

    def restore(self, step: int) -> None:
        """Restores the checkpoint of one update, of those in `steps`.

        Raises:
          UserError: it is damaged or gone, or holds a model of another shape.
        """
        prefix = os.path.join(self._folder, f"ckpt-{step}")
        try:
            self._read(prefix)
        except _DAMAGE as error:
            raise UserError(f"Checkpoint {prefix} cannot be read ({_first_line(error)}): leave it "
                            "out, or restore it from a copy.") from error

    def save(self, step: int) -> str:
        """Saves all variables as of `step`; returns the path prefix.

        Raises:
          UserError: the disk is full or cannot be written; what was saved before is intact.
        """
        make_folder(self._folder)
        previous = self.latest
        self._step.assign(step)
        try:
            return self._manager.save(checkpoint_number=step, check_interval=False)
        except (tf.errors.OpError, OSError) as error:
            self.remove_unfinished()
            raise UserError(
                f"Cannot save a checkpoint in {self._folder}: {_first_line(error)}. "
                f"{f'{previous} is intact' if previous else 'Nothing was saved before'}; make room "
                "and run the same command again to go on from there.") from error

    def restore_latest(self) -> int | None:
        """Restores the newest whole checkpoint and returns its step; None if there is none.

        Raises:
          UserError: none of those there is whole, or they hold a model of another shape.
        """
        damaged = []
        for prefix in reversed(self._manager.checkpoints):
            try:
                self._read(prefix)
            except _DAMAGE as error:
                print(f"Checkpoint {prefix} is damaged ({_first_line(error)}); "
                      "trying the one before it.")
                damaged.append(prefix)
                continue
            return int(self._step.numpy())
        if damaged:
            raise UserError(f"No checkpoint in {self._folder} can be read: {', '.join(damaged)} "
                            "are damaged. Restore them from a copy or start a new run folder.")
        return None

    def _read(self, prefix: str) -> None:
        self._check_shapes(prefix)
        status = self._checkpoint.restore(prefix)
        status.assert_existing_objects_matched()
        # Loading a model alone leaves the moments; `_check_shapes` has seen to the rest.
        status.expect_partial()

    def _check_shapes(self, prefix: str) -> None:
        saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
        for group, variables in self._groups.items():
            for name, variable in variables.items():
                escaped = name.replace(".", "..").replace("/", ".S")
                key = f"{group}/{escaped}/.ATTRIBUTES/VARIABLE_VALUE"
                if saved.get(key) != variable.shape.as_list():
                    raise UserError(
                        f"{prefix} holds another model: {name} has shape {saved.get(key)} there "
                        f"and {variable.shape.as_list()} here. Name the run folder it belongs to.")

    def remove_unfinished(self) -> None:
        """Deletes what a save that was cut off has left."""
        kept = {os.path.basename(path) for path in self._manager.checkpoints}
        for path in glob.glob(os.path.join(glob.escape(self._folder), "ckpt-*")):
            prefix = re.match(r"ckpt-\d+", os.path.basename(path))
            if not prefix or prefix.group() in kept:
                continue
            if os.path.isdir(path):  # TensorFlow writes into "<prefix>_temp" first
                shutil.rmtree(path)
            else:
                os.remove(path)


class BestCheckpoint:
    """The weights of the best validation so far, with the scores they had.

    The scores stand in the checkpoint itself: a run that is killed, goes on from an earlier
    update and validates again finds what it had found, and keeps the same weights.

    Args:
      folder: where the checkpoint stands.
      variables: the model's, by name.
      score_names: names of a validation's scores; the first decides.

    Raises:
      UserError: the checkpoint that is there is damaged.
    """

    def __init__(self, folder: str, variables: dict[str, tf.Variable],
                 score_names: Collection[str]):
        self._scores = {name: tf.Variable(-math.inf, dtype=tf.float64, trainable=False)
                        for name in score_names}
        self._deciding = next(iter(self._scores))
        # The scores alone: the weights in memory are the run's newest.
        self._step = Checkpoints(folder, {"scores": self._scores}).restore_latest()
        self._checkpoints = Checkpoints(folder, {"model": variables, "scores": self._scores})
        self._checkpoints.remove_unfinished()

    @property
    def step(self) -> int | None:
        """The update whose weights are kept; None before the first validation."""
        return self._step

    @property
    def scores(self) -> dict[str, float]:
        """The kept weights' scores by name."""
        return {name: float(value.numpy()) for name, value in self._scores.items()}

    def offer(self, step: int, scores: dict[str, float]) -> None:
        """Keeps the weights as of `step` if their first score is above that of those kept."""
        if scores[self._deciding] > self.scores[self._deciding]:
            for name, value in self._scores.items():
                value.assign(scores[name])
            self._checkpoints.save(step)
            self._step = step


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
