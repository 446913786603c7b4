"""What a run has reported: the rows of its `metrics.jsonl`, read. No TensorFlow here."""

from collections.abc import Iterator, Sequence
import os
from typing import NamedTuple

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_input
from gpt_tf.common.names import check_folder
from gpt_tf.common.small_files import parse_json

METRICS = "metrics.jsonl"
_LIMIT = 1 << 31


class Row(NamedTuple):
    """A line as it stands, its update, and name -> value, NaN where that was not finite."""

    line: bytes
    step: int
    values: dict[str, float]


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a `metrics.jsonl`; a last line cut short by a kill is left out.

    Raises:
      UserError: a line is no row.
    """
    with open_input(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _row(line)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
                raise UserError(f"{path}, line {number} is no row of metrics: remove the line, or "
                                "move the file away.") from error


def _row(line: bytes) -> Row:
    values = parse_json(line.decode())
    step = values.pop("step")
    if type(step) is not int or not 0 <= step < _LIMIT or not all(
            value is None or type(value) in (int, float) for value in values.values()):
        raise ValueError("no update, or no numbers")
    return Row(line, step, {name: float("nan" if value is None else value)
                            for name, value in values.items()})


def load_rows(model_dir: str) -> list[Row]:
    """The rows of a run folder; none where it has reported nothing.

    Raises:
      UserError: there is no such folder, or a line is no row.
    """
    check_folder(model_dir)
    path = os.path.join(model_dir, METRICS)
    return list(read_rows(path)) if os.path.exists(path) else []


def curve(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The course of one scalar: updates int64 [N], values float64 [N], NaN if not finite."""
    found = [(row.step, row.values[name]) for row in rows if name in row.values]
    return (np.array([step for step, _ in found], np.int64),
            np.array([value for _, value in found], np.float64))
