"""The file of ours in another program's folder: what of a run that layout has no place for."""

import dataclasses
import json
import os
from typing import Any

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from gpt_tf.config import ModelConfig
from gpt_tf.interop import tensors
from gpt_tf.interop.mapping import Tuned
from gpt_tf.interop.targets import KEPT
from gpt_tf.tasks.task import Task

SPECIAL_ROWS = "special_tokens"  # among the arrays: rows of the token table that have no place
_KEY = "gpt_tf"


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
      layout: the layout that it completes.
      settings: fields of `ModelConfig`.
      step: the update that the weights are of.
      task: of a fine-tuned run.
      max_length: of a fine-tuned run, the longest sequence of its data, in tokens; else 0.
      arrays: float32, by name.
    """

    layout: str
    settings: dict[str, Any]
    step: int
    task: Task | None
    max_length: int
    arrays: dict[str, np.ndarray]

    @property
    def tuned(self) -> Tuned | None:
        """What fine-tuning added; None in a language model."""
        head = {name: array for name, array in self.arrays.items() if name != SPECIAL_ROWS}
        return Tuned(self.task, self.max_length, head) if self.task else None

    def save(self, folder: str) -> None:
        """Writes `KEPT`: the arrays, and the rest as JSON in its metadata.

        Raises:
          UserError: the disk is full or the place cannot be written.
        """
        values = {"layout": self.layout, "settings": self.settings, "step": self.step,
                  "task": self.task and self.task.to_json(),
                  "max_length": self.max_length}
        tensors.write(os.path.join(folder, KEPT), self.arrays, {_KEY: json.dumps(values)})

    @classmethod
    def load(cls, folder: str, layout: str) -> "Kept | None":
        """Reads `KEPT`; None in a folder that has none, as others make it.

        Raises:
          UserError: it is damaged, was altered, or belongs to another layout.
        """
        path = os.path.join(folder, KEPT)
        if not os.path.exists(path):
            return None
        arrays, metadata = tensors.read(path)
        arrays, _ = tensors.to_float32(arrays, path)
        try:
            values = parse_json(metadata[_KEY])
            kept = cls(**values, arrays=arrays)
            is_ours = kept._has_right_types()
        except (KeyError, TypeError, ValueError, AttributeError):
            is_ours = False
        if not is_ours:
            raise UserError(f"{path} is not what python -m gpt_tf.convert writes: copy it again, "
                            "or remove it to take the other files alone.")
        if kept.layout != layout:
            raise UserError(f"{path} was written with --to={kept.layout} and this is "
                            f"--from={layout}: remove it to take the other files alone.")
        task = kept.task and Task.from_json(kept.task, path)
        return dataclasses.replace(kept, task=task)

    def _has_right_types(self) -> bool:
        fields = {field.name: type(field.default) for field in dataclasses.fields(ModelConfig)}
        return all(type(number) is int and 0 <= number < 1 << 31
                   for number in (self.step, self.max_length)) and all(
            type(value) is fields.get(name) for name, value in self.settings.items())
