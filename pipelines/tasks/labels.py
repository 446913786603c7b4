"""A label as a file spells it -> the id of a class, a score, or none."""

import json
from typing import Any
import unicodedata

from gpt_tf.common.names import nearest
from gpt_tf.tasks.tables import BadRow
from pipelines.tasks.description import BAD_LABEL, TaskDescription

_MOST_NAMED = 12  # classes that an error lists


def spelled(value: Any) -> str:
    """A label of a file or of spec.json as text: 1 -> "1", true -> "true", " bug" -> "bug"."""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def spelled_number(text: str) -> str:
    """A whole number without its point, as tables with gaps are exported: "1.0" -> "1"."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def is_no_label(text: str, task: TaskDescription) -> bool:
    """Whether it is the -1 that stands for no label; not where -1 is a class or a score."""
    is_one = "-1" in task.labels or bool(task.score_range) and task.score_range[0] <= -1
    return spelled_number(text) == "-1" and not is_one


def score_of(text: str, low: int, high: int) -> float:
    """The score.

    Raises:
      BadRow: it is no number, or out of range.
    """
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not low <= score <= high:
        raise BadRow(BAD_LABEL, f"the score {text!r:.40} is not a number from {low} to {high}")
    return score


def class_of(text: str, task: TaskDescription) -> int:
    """The id of a class, by its label, by the name of a published number, or by the number of a
    published name, as data hubs give it.

    Raises:
      BadRow: the task has no such class; the nearest one is in the message.
    """
    labels, number = task.labels, spelled_number(text)
    for spellings in (labels, task.label_names, [] if task.is_own else _numbers_of(labels)):
        for each in (text, number):
            if each in spellings:
                return list(spellings).index(each)
    more = len(labels) - _MOST_NAMED
    listed = ", ".join(labels[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    raise BadRow(BAD_LABEL, f"the label {text!r:.40} is none of {listed}{_hint(text, labels)}")


def _numbers_of(labels: tuple[str, ...]) -> list[str]:
    """The ids of labels that are no numbers themselves."""
    is_number = any(label.isdecimal() for label in labels)
    return [] if is_number else [str(number) for number in range(len(labels))]


def _plain(text: str) -> str:
    """The text as people see it, in lower case."""
    return unicodedata.normalize("NFKC", text).casefold()


def _hint(text: str, labels: tuple[str, ...]) -> str:
    """The label that was meant, and how the two differ where that cannot be seen."""
    by_look = {_plain(label): label for label in labels}
    found = nearest(_plain(text), by_look)
    if not found:
        return ""
    meant = by_look[found[0]]
    alike = _plain(text) == found[0] and text.casefold() != meant.casefold()
    return (f"; did you mean {meant!r}?" if not alike else
            f"; {meant!r} looks like it and is {ascii(meant)}, and this is {ascii(text)}")
