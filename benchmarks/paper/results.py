"""What is kept of a finished run, and what runs of one cell come to."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
import statistics
from typing import Any

import numpy as np

from benchmarks.paper.arms import Arm
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder
from gpt_tf.common.small_files import read_json, write_json

TRAINED_BY = "gpt_tf.finetune"


@dataclasses.dataclass(frozen=True)
class Cell:
    """An arm on a task: a learning rate is chosen for it, and each seed is a run.

    rows: training rows, drawn anew for each seed; 0: all.
    num_epochs: 0: as many as the settings say.
    """

    task: str
    arm: Arm
    rows: int = 0
    num_epochs: float = 0

    @property
    def data_name(self) -> str:
        """The task, and how much of it: for names of files."""
        return f"{self.task}-{self.rows}" if self.rows else self.task


def check_same(path: str, found: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Raises UserError where the run that `path` tells of had other flags than `flags`."""
    for name in sorted(flags.keys() | found.keys()):
        if flags.get(name) != found.get(name):
            raise UserError(f"{path} is of a run with {name} {found.get(name)!r}, and now it is "
                            f"{flags.get(name)!r}: name another --work_dir.")


def begin_or_check(folder: str, flags: Mapping[str, Any]) -> None:
    """Writes the flags of a run that begins into its folder.

    Raises:
      UserError: a run with others has begun there.
    """
    path = os.path.join(folder, "identity.json")
    if os.path.exists(path):
        check_same(path, read_json(path, "a run on its way"), flags)
    else:
        write_json(path, flags)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run.

    flags: of `gpt_tf.finetune`, all that decide the run.
    course: the scalars of each validation, with its epoch; None where one was not finite.
    seconds: of the session that finished it.
    scores: metric -> value at the last update; empty where the run diverged.
    labels, answers: of the validation rows in their order, the answers those of the last update.
    trained_by: the program.
    """

    task: str
    rows: int
    arm: str
    rate: float
    seed: int
    flags: dict[str, Any]
    course: list[dict[str, float | None]]
    seconds: float
    scores: dict[str, float]
    labels: list[float]
    answers: list[float]
    trained_by: str = TRAINED_BY

    @classmethod
    def load(cls, path: str, flags: Mapping[str, Any]) -> "Result | None":
        """What `save` wrote; None where nothing is.

        Raises:
          UserError: the run had other flags than `flags`, or the file is none of ours.
        """
        if not os.path.exists(path):
            return None
        value = read_json(path, "a finished run")
        fields = {field.name: field.default is dataclasses.MISSING
                  for field in dataclasses.fields(cls)}
        if not {name for name, is_needed in fields.items() if is_needed} <= set(value) <= (
                fields.keys()):
            raise UserError(f"{path} is no finished run of this program: remove it.")
        result = cls(**value)
        check_same(path, result.flags, flags)
        return result

    def save(self, path: str) -> None:
        """Writes the file, whole or not at all."""
        make_folder(os.path.dirname(path))
        write_json(path, dataclasses.asdict(self))

    @property
    def summary(self) -> dict[str, Any]:
        """All but labels and answers, for the JSON of a table."""
        return {name: value for name, value in dataclasses.asdict(self).items()
                if name not in ("labels", "answers")}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the seeds of a cell have come to so far.

    rate: the learning rate that was chosen; None: not yet.
    runs: the finished ones, in the order of their seeds; those that diverged are left out.
    diverged: how many did.
    asked: how many seeds there are to be.
    """

    rate: float | None
    runs: Sequence[Result]
    diverged: int
    asked: int

    def scores(self, metric: str) -> list[float]:
        """Of each run, at its last update."""
        return [run.scores[metric] for run in self.runs]

    def median(self, metric: str) -> float:
        """Of the runs; NaN where there is none."""
        return statistics.median(self.scores(metric)) if self.runs else math.nan

    def spread(self, metric: str) -> float:
        """The highest less the lowest of the runs; NaN where there are none."""
        scores = self.scores(metric)
        return max(scores) - min(scores) if scores else math.nan

    @property
    def finished(self) -> int:
        """How many seeds are done, those that diverged among them."""
        return len(self.runs) + self.diverged

    @property
    def labels(self) -> np.ndarray:
        """Of the N validation rows: [N]."""
        return np.array(self.runs[0].labels)

    @property
    def answers(self) -> np.ndarray:
        """Of the S runs to the N validation rows: [S, N]."""
        return np.array([run.answers for run in self.runs])

    def cell(self, metric: str) -> str:
        """For a table, in percent: median and range, and how many runs are missing."""
        found = [100 * score for score in self.scores(metric)]
        notes = [f"{self.diverged} diverged"] * bool(self.diverged) + [
            f"{self.finished} of {self.asked}"] * (self.finished < self.asked)
        return percent(found) + "".join(f" [{note}]" for note in notes)


def percent(values: Sequence[float]) -> str:
    """Median and range of values that are percentages; "" of none."""
    if not values:
        return ""
    text = f"{statistics.median(values):.1f}"
    return text if len(values) == 1 else f"{text} ({min(values):.1f} to {max(values):.1f})"
