"""What a data folder says of itself: `manifest.json`, written last. `records` describes the rest."""

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

from gpt_tf.files import UserError, read_json, write_json
from gpt_tf.heuristics import HEURISTICS, NEXT_WORD, PRONOUN
from gpt_tf.metrics import METRICS
from gpt_tf.transforms import FORMS, MULTIPLE_CHOICE, num_sequences

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
LANGUAGE_MODEL = "language_model"
TASK = "task"
ZERO_SHOT = "zero_shot"

# The command that makes a folder of each kind.
_COMMANDS = {LANGUAGE_MODEL: "python -m pipelines.build_corpus",
             TASK: "python -m pipelines.build_task",
             ZERO_SHOT: "python -m pipelines.build_task --zero_shot"}
# The split of a shard, and its number.
_SHARD_NAME = re.compile(r"([a-z_]+)-[0-9]{5,}\.tfrecord")
_FRAME_BYTES = 16  # of a TFRecord, beside its record
MOST_CLASSES = 10_000
_LONGEST_NAME = 200


def is_name(text: str) -> bool:
    """Whether `text` can name a task or a class: some signs that stand on one line."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the folder, and what it must be to be whole."""

    name: str
    records: int
    bytes: int
    index_crc32c: int


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of a split, in order, and its totals.

    documents: of the source; those of a task are its rows.
    tokens: of all documents, those of windows not written included; of a task, of all sequences.
    predicted_tokens: what a language model predicts; a sequence's first token is not.
    text_bytes: raw UTF-8 bytes of the documents.
    """

    shards: tuple[Shard, ...]
    documents: int
    records: int
    tokens: int
    predicted_tokens: int
    text_bytes: int


@dataclasses.dataclass(frozen=True)
class TaskSplit(Split):
    """A split of a task.

    labelled: whether every record has a label.
    shortened: records whose text was cut to --max_length.
    left_out: reason -> rows of the source that are no records.
    """

    labelled: bool
    shortened: int
    left_out: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Task:
    """What the records of a task are, and how an answer to them is measured.

    form: one of `transforms.FORMS`.
    num_sequences: K, sequences of a record.
    labels: names of the classes, in the order of their ids; of scores, ().
    score_range: (low, high), whole numbers, of scores; of classes, ().
    metrics: names in `metrics.METRICS`; the first chooses the best checkpoint.
    """

    name: str
    form: str
    num_sequences: int
    labels: tuple[str, ...]
    score_range: tuple[int, ...]
    metrics: tuple[str, ...]

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

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Task":
        """The task that `dataclasses.asdict` made `value` of; `where` names it in errors.

        Raises:
          UserError: `value` is none.
        """
        task = _checked(cls, value, where, "make it again")
        if (not task.metrics or not set(task.metrics) <= set(METRICS)
                or len(task.score_range) not in (0, 2) or task.labels and task.score_range
                or not 2 <= task.num_classes <= MOST_CLASSES
                or len(set(task.labels)) < len(task.labels)
                or not all(map(is_name, (task.name, *task.labels)))):
            raise UserError(f"{where} describes no task: a name, two classes or more, or a score's "
                            "range, and a metric are wanted; make it again.")
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
        """As of `Task`."""
        task = super().from_json(value, where)
        if (task.is_score or task.score not in (MEAN, SUM) or task.heuristic not in HEURISTICS
                or task.decision not in (HIGHEST, THRESHOLD)
                or task.heuristic == NEXT_WORD and len(task.words) != task.num_classes):
            raise UserError(f"{where} does not say how scores become classes; make it again.")
        return task

    def _has_known_form(self) -> bool:
        sequences = 1 if self.decision == THRESHOLD else self.num_classes
        return self.form in (*FORMS, PRONOUN) and self.num_sequences == sequences


# The class of a folder's `task`, by the folder's kind.
_TASKS = {LANGUAGE_MODEL: None, TASK: Task, ZERO_SHOT: ZeroShotTask}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The folder's kind, sizes, tokenizer and splits; `task` is None in a language model's."""

    kind: str
    sequence_length: int
    vocabulary_size: int
    tokenizer_fingerprint: str
    splits: dict[str, Split]
    flags: dict[str, Any]
    task: Task | None = None
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, data_dir: str | os.PathLike) -> "Manifest":
        """Reads the manifest of a finished data folder.

        Raises:
          UserError: the folder is not finished, of another format, or its manifest was altered.
        """
        path = os.path.join(data_dir, MANIFEST_NAME)
        if not os.path.exists(path):
            raise UserError(f"No {MANIFEST_NAME} in {os.fspath(data_dir)}: it is not a finished "
                            f"data folder; build it with {' or '.join(_COMMANDS.values())} "
                            f"--output_dir={os.fspath(data_dir)} ...")
        value = read_json(path, "the data folder's manifest")
        known = value if isinstance(value, dict) else {}
        version, mend = known.get("format_version"), rebuild(known.get("kind"))
        if version != FORMAT_VERSION:
            raise UserError(f"{path}: format_version is {version!r} and this program reads "
                            f"{FORMAT_VERSION}: {mend}.")
        manifest = _checked(cls, value, path, mend)
        task = _TASKS.get(manifest.kind)
        if manifest.kind not in _TASKS or (task is None) != (manifest.task is None):
            raise UserError(f"{path}: data of kind {manifest.kind!r} is not known, or not with "
                            f"that task: {mend}.")
        splits = {name: _load_split(TaskSplit if task else Split, name, split, path, mend)
                  for name, split in manifest.splits.items()}
        smallest = _FRAME_BYTES + (0 if task else manifest.sequence_length)  # one byte a token
        if manifest.sequence_length < 2 or any(
                shard.bytes < shard.records * smallest
                for split in splits.values() for shard in split.shards):
            raise UserError(f"{path}: sequence_length cannot be {manifest.sequence_length} in "
                            f"shards of that size: {mend}.")
        return dataclasses.replace(
            manifest, splits=splits,
            task=task and task.from_json(manifest.task, f"{path}, task"))

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of what training sees: the records, whatever command made them."""
        seen = dataclasses.asdict(dataclasses.replace(self, flags={}))
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    def save(self, data_dir: str | os.PathLike) -> None:
        """Writes the manifest, which declares the folder finished: call it last."""
        write_json(os.path.join(data_dir, MANIFEST_NAME), dataclasses.asdict(self))


def rebuild(kind: str | None) -> str:
    """What to do about a damaged data folder: the end of a user's error."""
    command = _COMMANDS.get(str(kind), " or ".join(_COMMANDS.values()))
    return f"build the data folder again with {command} ... --overwrite"


def _load_split(cls: type, name: str, value: Any, path: str, mend: str) -> Split:
    split = _checked(cls, value, f"{path}, split {name}", mend)
    shards = tuple(_checked(Shard, shard, f"{path}, split {name}", mend) for shard in split.shards)
    for shard in shards:
        found = _SHARD_NAME.fullmatch(shard.name)
        if not found or found[1] != name:
            raise UserError(f"{path}: {shard.name!r:.60} is not a shard's name in {name!r:.40}: "
                            f"{mend}.")
    if len({shard.name for shard in shards}) < len(shards):
        raise UserError(f"{path}: {name} has a shard twice: {mend}.")
    if sum(shard.records for shard in shards) != split.records:
        raise UserError(f"{path}: the shards of {name} do not add up to {split.records} records: "
                        f"{mend}.")
    if not all(shard.records for shard in shards) or cls is Split and not (
            split.records <= min(split.predicted_tokens, split.text_bytes)):
        raise UserError(f"{path}: the numbers of records and tokens of {name} cannot be: {mend}.")
    return dataclasses.replace(split, shards=shards)


# JSON's kind of a field's value, and of what is in it; values of other fields are named groups.
_KINDS = {int: (int, None), str: (str, None), bool: (bool, None), Task | None: (object, None),
          tuple[Shard, ...]: (list, dict), tuple[str, ...]: (list, str),
          tuple[int, ...]: (list, int)}


def _checked(cls: type, value: Any, where: str, mend: str) -> Any:
    """`cls` from JSON; only kinds of values are checked, nested dataclasses stay as they are."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: a group of named values is wanted: {mend}.")
    fields = dataclasses.fields(cls)
    if set(value) != {field.name for field in fields}:
        odd = sorted(set(value) ^ {field.name for field in fields})
        raise UserError(f"{where}: {', '.join(odd)} missing or not known: {mend}.")
    for field in fields:
        kind, part = _KINDS.get(field.type, (dict, None))
        got = value[field.name]
        if (kind is not object and type(got) is not kind or kind is int and not 0 <= got < 1 << 63
                or part and any(type(each) is not part for each in got)):
            raise UserError(f"{where}: {field.name} cannot be {got!r:.40}: {mend}.")
    return cls(**{name: tuple(got) if isinstance(got, list) else got
                  for name, got in value.items()})
