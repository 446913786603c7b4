"""A user's own task: spec.json -> a description like those in the TASKS table.

Classes, in a file with the columns `body` and `kind` among others:
  {"name": "tickets", "form": "classification", "fields": {"text": "body"}, "label": "kind",
   "labels": ["bug", "wish"], "metrics": ["f1", "accuracy"]}

Scores, in a file without a header: columns by number, from 0:
  {"name": "alike", "form": "similarity", "fields": {"first": 1, "second": 2}, "label": 0,
   "score_range": [0, 5], "metrics": ["pearson"]}

A choice of three answers, which are columns, or one JSON field that holds a list of three:
  {"name": "quiz", "form": "multiple_choice", "label": "right", "labels": ["a", "b", "c"],
   "fields": {"context": "story", "question": "asked", "answers": ["end1", "end2", "end3"]},
   "metrics": ["accuracy"]}

fields: the texts of the form (see `gpt_tf.tasks.forms.FIELDS`) -> a column's name, its number, or a
  JSON field. The question of a choice may be left out.
labels: the classes as the file spells them, in the order of their ids; numbers and true or false
  count as JSON spells them. The second is what f1 calls positive. Of a choice, one an answer.
metrics: accuracy, f1, matthews of classes; pearson, spearman of scores. The first one chooses the
  best checkpoint.
"""

from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json
from gpt_tf.tasks import forms
from gpt_tf.tasks.task import MOST_CLASSES, is_name
from pipelines.tasks.description import ANY, Source, TaskDescription
from pipelines.tasks.labels import spelled

_KEYS = {"name", "form", "fields", "label", "labels", "score_range", "metrics"}
CLASS_METRICS = ("accuracy", "f1", "matthews")
SCORE_METRICS = ("pearson", "spearman")
_MAY_LACK = {"question"}


def load(path: str) -> TaskDescription:
    """The task that a spec.json describes.

    Raises:
      UserError: the file cannot be read, or describes no task.
    """
    value = read_json(path, "the task's description")
    try:
        return _describe(value)
    except ValueError as error:
        raise UserError(f"{path}: {error}; pipelines/tasks/spec.py has examples.") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _describe(value: Any) -> TaskDescription:
    _require(isinstance(value, dict), "expected a JSON object")
    for key in ("name", "form", "fields", "label", "metrics"):
        _require(key in value, f"{key!r} is missing")
    unknown = sorted(set(value) - _KEYS)
    _require(not unknown, f"{', '.join(unknown)} not known; known are {', '.join(sorted(_KEYS))}")
    _require(isinstance(value["name"], str) and is_name(value["name"].strip()),
             "'name' must be a word")
    form = value["form"]
    _require(form in forms.FORMS, f"'form' must be one of {', '.join(forms.FORMS)}")
    texts = _texts(form, value["fields"])
    columns = [column for columns in texts for column in columns] + [value["label"]]
    _require(_is_column(value["label"]), "'label' must be a column's name or number")
    _require(len({isinstance(column, str) for column in columns}) == 1,
             "columns must be all names, or all numbers where the file has no header")
    labels, score_range = _labels(value, form)
    return TaskDescription(
        value["name"].strip(), form, labels, _metrics(value["metrics"], labels), score_range,
        exported={split: Source(ANY, texts, value["label"], (split,))
                  for split in ("train", "validation", "test")})


def _is_column(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int and value >= 0


def _texts(form: str, fields: Any) -> tuple[tuple[str | int, ...], ...]:
    expected = forms.FIELDS[form]
    _require(isinstance(fields, dict) and set(expected) - _MAY_LACK <= set(fields) <= set(expected),
             f"'fields' must name the columns of {', '.join(expected)}")
    texts = []
    for name in expected:
        column = fields.get(name)
        if name == "answers" and isinstance(column, list):
            _require(all(map(_is_column, column)), "'answers' must be columns' names or numbers")
            texts += [(each,) for each in column]
        else:
            _require(column is None and name in _MAY_LACK or _is_column(column),
                     f"the field {name!r} must be a column's name or number")
            texts.append(() if column is None else (column,))
    return tuple(texts)


def _labels(value: dict, form: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The labels, and the range of the scores, one of which is empty."""
    _require(("labels" in value) != ("score_range" in value),
             "either 'labels' or 'score_range' is expected")
    if "score_range" in value:
        given = value["score_range"]
        _require(form != forms.MULTIPLE_CHOICE, "a choice has 'labels', one for each answer")
        _require(isinstance(given, list) and [type(each) for each in given] == [int, int]
                 and 0 < given[1] - given[0] < MOST_CLASSES,
                 "'score_range' must be [low, high], whole numbers not far apart")
        return (), tuple(given)
    given = value["labels"]
    _require(isinstance(given, list) and all(isinstance(each, (str, int)) for each in given),
             "'labels' must be a list of names")
    labels = tuple(map(spelled, given))
    _require(1 < len(labels) <= MOST_CLASSES and len(set(labels)) == len(labels)
             and all(map(is_name, labels)),
             f"'labels' must be two or more, {MOST_CLASSES:,} at most, and differ; each a line of "
             "text")
    if form == forms.MULTIPLE_CHOICE and isinstance(value["fields"]["answers"], list):
        answers = len(value["fields"]["answers"])
        _require(len(labels) == answers, f"{answers} answers need as many 'labels'")
    return labels, ()


def _metrics(given: Any, labels: tuple[str, ...]) -> tuple[str, ...]:
    known = CLASS_METRICS if labels else SCORE_METRICS
    _require(isinstance(given, list) and bool(given) and all(each in known for each in given)
             and len(set(given)) == len(given),
             f"'metrics' must be a list of some of {', '.join(known)}")
    _require("f1" not in given or len(labels) == 2, "f1 is for two labels")
    return tuple(given)
