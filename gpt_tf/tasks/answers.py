"""A model's answers as their readers need them: probabilities, names, scores, TSV and JSONL."""

from collections.abc import Mapping, Sequence
import json
import os

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_to_read
from gpt_tf.tasks.task import Task

HEADER = ("index", "prediction")  # of a file of --predictions, whose other columns differ


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits [..., C]: float64 [..., C]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def expected_scores(probabilities: np.ndarray, score_range: tuple[int, int]) -> np.ndarray:
    """Of probabilities [..., C] of the whole numbers of a range, its ends included: [...]."""
    low, high = score_range
    return probabilities @ np.arange(low, high + 1.0)


def class_names(task: Task) -> tuple[str, ...]:
    """The outputs of the softmax: the labels' names, or the whole numbers of a score's range."""
    if task.is_score:
        low, high = task.score_range
        return tuple(map(str, range(low, high + 1)))
    return task.label_names or task.labels


def answers(task: Task, predictions: np.ndarray) -> list[str] | list[float]:
    """The name of each predicted class [N]; or each predicted score [N], inside its range."""
    if task.is_score:
        return [float(f"{score:.6g}") for score in np.clip(predictions, *task.score_range)]
    names = class_names(task)
    return [names[prediction] for prediction in predictions]


def check_predictions(path: str) -> None:
    """Sees that a file of --predictions replaces none but its like; "" is none.

    Raises:
      UserError: another file stands there.
    """
    if not os.path.isfile(path):
        return
    with open_to_read(path) as stream:
        first = stream.read(1 << 10)
    if first and not first.startswith("\t".join(HEADER).encode()):
        raise UserError(f"--predictions={path} is there and holds no predictions: name another "
                        "file.")


def tsv_line(answer: str | float, probabilities: Sequence[float]) -> str:
    """The answer and the probabilities of the classes, if any, with tabs between."""
    return "\t".join([str(answer), *(f"{value:.6f}" for value in probabilities)]) + "\n"


def json_line(answer: str | float | None, probabilities: Mapping[str, float]) -> str:
    """{"prediction": ...}, null for no answer, and with "probabilities" the classes' by name, if
    any.
    """
    value: dict = {"prediction": answer}
    if probabilities:
        value["probabilities"] = {name: round(float(each), 6)
                                  for name, each in probabilities.items()}
    return json.dumps(value, ensure_ascii=False) + "\n"
