"""What a task is, as a data folder's manifest and a fine-tuned run describe it."""

import dataclasses
from typing import Any

from gpt_tf.common import fields
from gpt_tf.common.errors import UserError
from gpt_tf.tasks.forms import FORMS, MULTIPLE_CHOICE, num_sequences
from gpt_tf.tasks.heuristics import HEURISTICS, NEXT_WORD, PRONOUN
from gpt_tf.tasks.metrics import METRICS
from gpt_tf.tasks.tables import Column

MOST_CLASSES = 10_000
_LONGEST_NAME = 200
_MAY_LACK = ("label_names", "columns")


def is_name(text: str) -> bool:
    """Whether `text` can name a task or a class: visible text on one line."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _are_columns(value: Any) -> bool:
    """Whether JSON says what `Task.columns` is."""
    return isinstance(value, list) and all(
        isinstance(text, list) and all(isinstance(column, str) or type(column) is int
                                       and column >= 0 for column in text) for text in value)


@dataclasses.dataclass(frozen=True)
class Task:
    """What the records of a task are, and how an answer to them is measured.

    form: one of `forms.FORMS`.
    num_sequences: K, sequences of a record.
    labels: the classes as the data's source spells them, in the order of their ids; of scores, ().
    score_range: (low, high), whole numbers, of scores; of classes, ().
    metrics: names in `metrics.METRICS`; the first chooses the best checkpoint.
    label_names: what people are shown for `labels`; empty: the labels themselves.
    columns: for each text of the form those that its files keep it in (see `tables.texts_of`), so
      that `gpt_tf.predict` finds it in files like them; empty: not known.
    """

    name: str
    form: str
    num_sequences: int
    labels: tuple[str, ...]
    score_range: tuple[int, ...]
    metrics: tuple[str, ...]
    label_names: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    columns: tuple[tuple[Column, ...], ...] = dataclasses.field(default=(), kw_only=True)

    @property
    def is_score(self) -> bool:
        """Whether a label is a number in `score_range`, not a class."""
        return bool(self.score_range)

    @property
    def num_classes(self) -> int:
        """Outputs of the softmax; of scores, one for each whole number of the range."""
        if self.is_score:
            low, high = self.score_range
            return high - low + 1
        return len(self.labels)

    @property
    def published(self) -> "Task":
        """The task without names: what decides the bytes of its records."""
        return dataclasses.replace(self, label_names=(), columns=())

    def to_json(self) -> dict[str, Any]:
        """The task's fields; those that may be empty only where they are not."""
        value = dataclasses.asdict(self)
        return {name: value[name] for name in value if name not in _MAY_LACK or value[name]}

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Task":
        """The task that `to_json` made `value` of; `where` names it in errors.

        Raises:
          UserError: `value` describes no task.
        """
        if isinstance(value, dict):
            value = dict.fromkeys(_MAY_LACK, []) | value
            columns, value["columns"] = value["columns"], []
        task = fields.from_json(cls, value, where, "make it again")
        if not _are_columns(columns):
            raise UserError(f"{where} describes no task: its columns cannot be {columns!r:.40}; "
                            "make it again.")
        task = dataclasses.replace(task, columns=tuple(map(tuple, columns)))
        if (not task.metrics or not set(task.metrics) <= set(METRICS)
                or len(task.score_range) not in (0, 2) or task.labels and task.score_range
                or not 2 <= task.num_classes <= MOST_CLASSES
                or len(set(task.labels)) < len(task.labels)
                or not all(map(is_name, (task.name, *task.labels)))):
            raise UserError(f"{where} describes no task: a name, two classes or more, or a score's "
                            "range, and a metric are expected; make it again.")
        names = task.label_names
        if names and not (len(names) == len(set(names)) == len(task.labels)
                          and all(map(is_name, names))):
            raise UserError(f"{where} describes no task: its {len(task.labels)} labels need as "
                            "many label_names, all different, or none; make it again.")
        if not task._has_known_form():
            raise UserError(f"{where} describes no task: the form {task.form!r:.40} has other "
                            f"sequences than {task.num_sequences}, or is not known; make it "
                            "again.")
        return task

    def _has_known_form(self) -> bool:
        return (self.form in FORMS
                and self.num_sequences == num_sequences(self.form, self.num_classes)
                and not (self.is_score and self.form == MULTIPLE_CHOICE))


# How the log-probabilities of a sequence's scored tokens become its score.
MEAN = "mean"
SUM = "sum"

# How scores become a class.
HIGHEST = "highest"
THRESHOLD = "threshold"


@dataclasses.dataclass(frozen=True)
class ZeroShotTask(Task):
    """A task that a pre-trained model answers as it is (section 5, "Zero-shot Behaviors").

    heuristic: one of `heuristics.HEURISTICS`: which texts the sequences are made of, and which of
      their tokens are scored.
    prompt, words: of the heuristic NEXT_WORD what is appended to the text, and the word that
      stands for each label; else "" and ().
    score: MEAN or SUM, of the log-probabilities of a sequence's scored tokens.
    decision: HIGHEST, the sequence with the highest score is the class, the first of equals; or
      THRESHOLD, the class is 1 where the one sequence's score is above a threshold: the one that
      has the best Matthews correlation on the split "train".
    """

    heuristic: str
    prompt: str
    words: tuple[str, ...]
    score: str
    decision: str

    @classmethod
    def from_json(cls, value: Any, where: str) -> "ZeroShotTask":
        """See `Task`."""
        task = super().from_json(value, where)
        if (task.is_score or task.score not in (MEAN, SUM) or task.heuristic not in HEURISTICS
                or task.decision not in (HIGHEST, THRESHOLD)
                or task.heuristic == NEXT_WORD and len(task.words) != task.num_classes):
            raise UserError(f"{where} does not say how scores become classes; make it again.")
        return task

    def _has_known_form(self) -> bool:
        sequences = 1 if self.decision == THRESHOLD else self.num_classes
        return self.form in (*FORMS, PRONOUN) and self.num_sequences == sequences
