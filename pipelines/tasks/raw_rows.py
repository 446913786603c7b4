"""Rows of task files as they stand there, before a task says what they mean. See `rows`.

A row is (where it stands, its values by column), or (where it stands, a `BadRow`), so that rows
keep their numbers whatever is wrong with some of them.
"""

from collections.abc import Callable
import itertools
import math
import os
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_to_read
from gpt_tf.tasks.table_files import parse_object, read_cells, read_lines, read_objects
from gpt_tf.tasks.tables import (
    COLUMNS,
    CSV,
    EMPTY,
    NOT_UTF8,
    TSV,
    BadRow,
    Column,
    Rows,
    Values,
    name_cells,
)
from pipelines.reading import files
from pipelines.tasks import description
from pipelines.tasks.description import Source


def read_rows(path: str, source: Source, may_lack_label: bool, encoding: str) -> Rows[Values]:
    """The rows of one file, or one folder of RACE.

    Args:
      path: the file or folder.
      source: its kind, and the columns it must have.
      may_lack_label: whether a file without the label's column is right, too.
      encoding: of text.

    Raises:
      UserError: the file cannot be read, is in another encoding or lacks a column.
    """
    if source.kind == description.RACE:
        yield from _race_rows(path, encoding)
        return
    with open_to_read(path) as stream:
        if source.kind == description.WINOGRAD:
            yield from _winograd_rows(read_lines(stream, path, encoding))
        elif source.kind in (TSV, CSV):
            columns = source.required(may_lack_label)
            cells = read_cells(stream, source.kind, path, encoding,
                               lambda first: holds(first, source, may_lack_label))
            yield from name_cells(cells, columns, path, source.widths)
        else:
            yield from read_objects(stream, source.kind, path, encoding)


def holds(first: list[str], source: Source, may_lack_label: bool) -> bool:
    """Whether a table with these cells in its first row has the columns of a source."""
    found = [name.strip() for name in first] if source.has_header else range(len(first))
    return (set(source.required(may_lack_label)) <= set(found)
            and (not source.widths or len(first) in source.widths))


def first_row(path: str, kind: str, encoding: str,
              is_first: Callable[[list[str]], bool] = bool) -> list[str]:
    """The first cells of a table, or the names of the first row's fields; none if it has no row.

    Args:
      path: a file of one of the kinds of `gpt_tf.tasks.tables`.
      kind: which.
      encoding: of text.
      is_first: see `read_cells`.

    Raises:
      UserError: see `read_rows`.
    """
    with open_to_read(path) as stream:
        rows = (read_cells(stream, kind, path, encoding, is_first) if kind in (TSV, CSV) else
                read_objects(stream, kind, path, encoding))
        _, first = next(rows, (path, []))
        rows.close()
    return [] if isinstance(first, BadRow) else list(first)


def _race_rows(folder: str, encoding: str) -> Rows[Values]:
    """One row a question; the files in the order of their numbers."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".txt")]
        for name in sorted(names, key=_number_and_name):
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                data = stream.read()
            try:
                value = parse_object(data.decode(encoding).removeprefix("\ufeff"))
            except UnicodeDecodeError as error:
                value = BadRow(NOT_UTF8, f"byte {error.start} is not {encoding} (see --encoding)")
            if isinstance(value, BadRow):
                yield path, value
            else:
                yield from _questions(path, value)
    except OSError as error:
        raise UserError(f"Cannot read {error.filename}: {error.strerror}.") from error


def _number_and_name(name: str) -> tuple[float, str]:
    """9.txt stands before 10.txt."""
    number = name.removesuffix(".txt")
    return (int(number) if number.isdecimal() else math.inf), name


def _questions(where: str, passage: Values) -> Rows[Values]:
    """The questions of one passage, as RACE's files and tensorflow-datasets have them."""
    lists = [passage.get(name) for name in ("questions", "options", "answers")]
    if not all(isinstance(each, list) for each in lists) or len(set(map(len, lists))) != 1:
        yield where, BadRow(COLUMNS,
                            "questions, options and answers are not lists of one length")
        return
    for number, (question, options, answer) in enumerate(zip(*lists), start=1):
        yield f"{where}, question {number}", {
            "article": passage.get("article"), "question": question, "options": options,
            "answer": answer}


def _winograd_rows(lines: Rows[str]) -> Rows[Values]:
    """One row a block, as tensorflow-datasets has it: the label is the right candidate's number."""
    def is_blank(line):
        return isinstance(line[1], BadRow) and line[1].reason == EMPTY

    for blank, block in itertools.groupby(lines, is_blank):
        if not blank:
            places, schema = zip(*block)
            yield places[0], _schema(schema)


def _schema(lines: tuple[str | BadRow, ...]) -> Values | BadRow:
    bad = [line for line in lines if isinstance(line, BadRow)]
    if bad:
        return bad[0]
    if len(lines) != 4:
        return BadRow(COLUMNS, f"{len(lines)} lines where there should be 4 (sentence, "
                                           "pronoun, candidates, answer) and a blank one")
    sentence, pronoun, listed, answer = (line.strip() for line in lines)
    candidates = [candidate.strip() for candidate in listed.split(",")]
    # The vocabulary is in lower case: how a candidate is capitalised says nothing.
    spelled = [candidate.lower() for candidate in candidates]
    if answer.lower() not in spelled:
        return BadRow(description.BAD_LABEL,
                      f"the answer {answer!r:.40} is none of {', '.join(candidates)}")
    return {"sentence": sentence, "pronoun": pronoun, "candidates": candidates,
            "label": str(spelled.index(answer.lower()))}


def read_examples(dataset: Any, where: str, label: Column, class_names: list[str]) -> Rows[Values]:
    """The rows of a split of tensorflow-datasets.

    Args:
      dataset: its tf.data.Dataset.
      where: its name.
      label: the field of the label.
      class_names: names of the classes, if that field holds their ids; else empty.
    """
    for number, example in enumerate(files.iterate(dataset, where)):
        place = f"{where}, example {number}"
        try:
            values = {name: _plain(value) for name, value in example.items()}
        except UnicodeDecodeError as error:
            yield place, BadRow(NOT_UTF8, f"byte {error.start} is not UTF-8")
            continue
        if "questions" in values:
            yield from _questions(place, values)
            continue
        if class_names and values[label] >= 0:  # -1: the example has none
            values[label] = class_names[values[label]]
        yield place, values


def _plain(value: Any) -> Any:
    """numpy's and tf.RaggedTensorValue's values as Python's."""
    if hasattr(value, "to_list"):
        value = value.to_list()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value
