"""Another program's arrays and our variables: names, shapes, every value used exactly once."""

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.config import ModelConfig
from gpt_tf.tasks.task import Task


class Tuned(NamedTuple):
    """What fine-tuning adds to a decoder.

    task: what it answers.
    max_length: the longest sequence that it was trained for, in tokens.
    head: float32 arrays of the linear layer, by their released names.
    """

    task: Task
    max_length: int
    head: dict[str, np.ndarray]


class Found(NamedTuple):
    """A model in another program's folder.

    config: its shape and settings.
    arrays: of the decoder, float32, by the foreign names.
    where: names the folder or file of the arrays in errors.
    notes: what the user should know of them.
    tuned: of a fine-tuned one.
    """

    config: ModelConfig
    arrays: dict[str, np.ndarray]
    where: str
    notes: list[str]
    tuned: Tuned | None = None


class Leftover(NamedTuple):
    """What of a model does not stand in a layout's files as it is.

    settings: fields of `ModelConfig` that have no place.
    arrays: by name, float32, that have none.
    notes: what the user should know of the others.
    """

    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One foreign array and our variables, whose values stand in it side by side.

    Attributes:
      name: the other program's name.
      variables: ours, in the order in which their values are joined.
      axis: the axis of our values along which they are joined.
      is_convolution: the array is a kernel of 1-wide convolutions, with a leading axis of one.
    """

    name: str
    variables: tuple[keras.Variable, ...]
    axis: int = -1
    is_convolution: bool = False

    def join(self, values: list[np.ndarray]) -> np.ndarray:
        """Our values (weights, gradients) -> the foreign array."""
        joined = np.concatenate([np.asarray(value) for value in values], axis=self.axis)
        return joined[None] if self.is_convolution else joined

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """The foreign array -> our values.

        Raises:
          ValueError: the array is not of the size of our variables together.
        """
        expected = self.join([np.empty(v.shape, np.float32) for v in self.variables]).shape
        if array.shape != expected:
            raise ValueError(f"{self.name} has shape {array.shape}; the model needs {expected}.")
        array = array[0] if self.is_convolution else array
        sizes = [variable.shape[self.axis] for variable in self.variables]
        return np.split(array, np.cumsum(sizes)[:-1], axis=self.axis)


def collect(entries: list[Entry]) -> dict[str, np.ndarray]:
    """The variables' values under the foreign names."""
    return {entry.name: entry.join([variable.numpy() for variable in entry.variables])
            for entry in entries}


def fill(entries: list[Entry], arrays: dict[str, np.ndarray], where: str) -> None:
    """Gives the variables their values from the foreign arrays.

    Args:
      entries: every variable exactly once.
      arrays: by foreign name; float32.
      where: names their file in errors.

    Raises:
      UserError: an array is missing, has no place in the model, or is of another shape.
    """
    expected = {entry.name for entry in entries}
    for what, names in (("lacks", expected - arrays.keys()),
                        ("holds what the model has no place for:", arrays.keys() - expected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{where} {what} {min(names)}{more}: take all files from one GPT-1 "
                            "language model.")
    for entry in entries:
        try:
            values = entry.split(arrays[entry.name])
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
        for variable, value in zip(entry.variables, values):
            variable.assign(value)
