"""Task files -> rows of a task, streaming: texts in the order of the form, and a label.

`--input` is
  a folder           with the files that the task's publisher made; which layout it is, is found
  DPR/train.c.txt    one of these files, of whatever name: the training split
  tfds:glue/sst2     a data set that tensorflow-datasets has prepared, under --tfds_dir
and of any task, a user's own or one as data hubs export it, whose files end in .tsv (no quotes),
.csv (with quotes), .jsonl or .parquet
  tickets.tsv        the training split
  tickets/           a folder with train.*, and validation.* (or dev.*) and test.* if there are any,
                     or with train-00000-of-00002.parquet and the like
  train=a.tsv,validation=b.csv

A bad row has the wrong number of columns, an unknown label, no text or text that is not UTF-8, or
is no JSON. It stops the reading with its file and line, or is left out and counted; one that the
publisher's files are known to have is always left out and counted. Spaces around a text do not
count. A label may be spelled as another number (1.0 for 1); no label is an empty one, or -1.
"""

import collections
from collections.abc import Callable, Generator
import contextlib
import functools
import math
from typing import Any, NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_to_read
from gpt_tf.tasks import forms, heuristics
from gpt_tf.tasks.table_files import UTF8
from gpt_tf.tasks.tables import (
    COLUMNS,
    EMPTY,
    NOT_UTF8,
    BadRow,
    Column,
    Rows,
    Values,
    texts_of,
)
from pipelines.reading import catalogue
from pipelines.tasks import description, layouts
from pipelines.tasks.description import Source, TaskDescription
from pipelines.tasks.labels import class_of, is_no_label, score_of, spelled, spelled_number
from pipelines.tasks.raw_rows import read_examples, read_rows

# A row with its number in the split.
_Numbered = Generator[tuple[int, str, Values | BadRow]]


class Row(NamedTuple):
    """One example of a task.

    index: number of the row in its source split, from 0; rows that are left out count.
    texts: of the form, in order; of multiple choice the context, the question (or "") and each
      answer.
    label: id of the class, or the score; None without one.
    where: its file and line.
    """

    index: int
    texts: tuple[str, ...]
    label: int | float | None
    where: str


class RowSource:
    """The rows of one split, in a fixed order; may be read several times.

    Attributes:
      left_out: reason -> rows that the last reading left out.
      labelled: whether the rows have labels; None before the first row is read.
    """

    def __init__(self, task: TaskDescription, split: str, source: Source,
                 read: Callable[[], _Numbered], on_bad_row: str):
        self._task = task
        self._source = source
        self._read = read
        self._skips = on_bad_row == "skip"
        self._may_lack_labels = layouts.may_lack_labels(split)
        self.left_out: collections.Counter[str] = collections.Counter()
        self.labelled: bool | None = None

    @property
    def columns(self) -> tuple[tuple[Column, ...], ...]:
        """Of each text, the columns that it is read from."""
        return self._source.texts

    def rows(self) -> Generator[Row]:
        """Each row that is not left out.

        Raises:
          UserError: a file cannot be read, or a row is bad and may not be left out.
        """
        self.left_out.clear()
        self.labelled = None
        with contextlib.closing(self._read()) as rows:
            for number, where, values in rows:
                try:
                    row = self._row(number, where, values)
                except BadRow as bad:
                    if bad.reason not in self._task.defects and not self._skips:
                        raise UserError(f"{where}: {bad}; correct or remove the row, or leave out "
                                        "such rows with --on_bad_row=skip.") from bad
                    self.left_out[bad.reason] += 1
                else:
                    yield row

    def _row(self, number: int, where: str, values: Values | BadRow) -> Row:
        if isinstance(values, BadRow):
            raise values
        label = self._label(values)
        if self._source.index is not None:
            number = _number(values.get(self._source.index), self._source.index)
        return Row(number, self._texts(values), label, where)

    def _texts(self, values: Values) -> tuple[str, ...]:
        texts = tuple(texts_of(values, self._source.texts))
        if len(texts) != self._task.num_texts:
            raise BadRow(COLUMNS, f"{len(texts)} texts where there should be "
                                  f"{self._task.num_texts}")
        for number, text in enumerate(texts):
            is_question = self._task.form == forms.MULTIPLE_CHOICE and number == 1
            if not text and not is_question:
                raise BadRow(EMPTY, "a text is empty")
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise BadRow(NOT_UTF8, "a text is not UTF-8 (see --encoding)") from error
        if (self._task.form == heuristics.PRONOUN
                and not heuristics.find_pronoun(sentence=texts[0], pronoun=texts[1])):
            raise BadRow(description.NO_PRONOUN, f"the pronoun {texts[1]!r:.40} is no word of the "
                                                 "sentence")
        return texts

    def _label(self, values: Values) -> int | float | None:
        """The label; the first row says whether the rows have one."""
        value = values.get(self._source.label)
        if isinstance(value, (list, dict)):
            raise BadRow(description.BAD_LABEL, "the label is neither text nor a number")
        is_nothing = value is None or isinstance(value, float) and math.isnan(value)
        text = "" if is_nothing else spelled(value)
        if spelled_number(text) in self._task.no_gold:
            raise BadRow(description.NO_GOLD, "its annotators did not agree on a label")
        has_label = bool(text) and not is_no_label(text, self._task)
        if not has_label and not self._may_lack_labels:
            raise BadRow(description.NO_LABEL, "there is no label")
        if self.labelled is None:
            self.labelled = has_label
        if has_label != self.labelled:
            raise BadRow(description.NO_LABEL, "some rows have a label and others have none")
        if not has_label:
            return None
        if self._task.score_range:
            return score_of(text, *self._task.score_range)
        return class_of(text, self._task)


def _number(value: Any, column: Column | None) -> int:
    """The number of a row in its split; CSV holds it as text."""
    if not str(value).isdecimal():
        raise BadRow(COLUMNS, f"{column} should be the row's number and is {value!r:.40}")
    return int(value)


def open_task(task: TaskDescription, input: str, tfds_dir: str, on_bad_row: str,
              encoding: str = UTF8) -> dict[str, RowSource]:
    """Finds the splits of a task; those that are not at hand are absent.

    Args:
      task: see `table.find_task`.
      input: a folder, file, list of files or tfds:NAME; see the module's text.
      tfds_dir: where prepared data sets stand; empty for tensorflow-datasets' own place.
      on_bad_row: "stop", or "skip" and count bad rows.
      encoding: of text files.

    Returns:
      Split -> its rows, in the order train, validation, test.

    Raises:
      UserError: no file of the task is there, or the data set is not the task's or not prepared.
    """
    if input.startswith("tfds:"):
        return _open_catalogue(task, input.removeprefix("tfds:"), tfds_dir, on_bad_row)
    layout = layouts.find_layout(task, input, encoding)
    return {split: RowSource(task, split, source,
                             functools.partial(_read_files, split, source, encoding), on_bad_row)
            for split, source in layout.items()}


def _read_files(split: str, source: Source, encoding: str) -> _Numbered:
    def every() -> Rows[Values]:
        for path in source.paths:
            yield from read_rows(path, source, layouts.may_lack_labels(split), encoding)

    with contextlib.closing(every()) as rows:  # and with them the file
        yield from _part_of(rows, source)


def _part_of(rows: Rows[Values], source: Source) -> _Numbered:
    """The rows that are in the source's part of its file, with their numbers in the file."""
    numbered = ((number, where, values) for number, (where, values) in enumerate(rows))
    part = source.part
    if isinstance(part, description.DrawnPart):
        every = list(numbered)
        return (every[number] for number in part.numbers(len(every)))
    if isinstance(part, description.ListedPart):
        listed = _listed(part.file, len(part.columns))
        return (row for row in numbered if part.is_listed == (
            not isinstance(row[2], BadRow)
            and tuple(row[2][column] for column in part.columns) in listed))
    return numbered


def _listed(path: str, columns: int) -> set[tuple[str, ...]]:
    with open_to_read(path) as stream:
        return {tuple(line.decode("utf-8", "replace").rstrip("\r\n").split("\t")[:columns])
                for line in stream}


def _open_catalogue(task: TaskDescription, name: str, tfds_dir: str,
                    on_bad_row: str) -> dict[str, RowSource]:
    layout = task.catalogue.get(name.partition(":")[0])
    if layout is None:
        names = " or ".join(f"tfds:{known}" for known in task.catalogue) or "its files"
        raise UserError(f"--input=tfds:{name} does not hold the task {task.name}; give {names}.")
    builder = catalogue.open_builder(name, tfds_dir)
    opened = {}
    for split, source in layout.items():
        theirs = source.paths[0]
        dataset = catalogue.open_split(builder, name, tfds_dir, theirs)
        read = functools.partial(_read_catalogue, dataset, f"tfds:{name}, {theirs}", source,
                                 _class_names(builder, source))
        opened[split] = RowSource(task, split, source, read, on_bad_row)
    return opened


def _read_catalogue(dataset, where: str, source: Source, class_names: list[str]) -> _Numbered:
    return _part_of(read_examples(dataset, where, source.label, class_names), source)


def _class_names(builder, source: Source) -> list[str]:
    """The names of the classes, by the ids of tensorflow-datasets; empty: it has no ids."""
    features = builder.info.features
    return getattr(features[source.label], "names", []) if source.label in features else []
