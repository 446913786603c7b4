"""Rows of task files as they stand there, before a task says what they mean. See `rows`.

A row is (where it stands, its values by column), or (where it stands, a `BadRow`), so that rows
keep their numbers whatever is wrong with some of them.
"""

from collections.abc import Iterable, Iterator
import csv
import itertools
import math
import os
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from gpt_tf.common.text_files import number_lines
from pipelines.reading import files
from pipelines.tasks import description
from pipelines.tasks.description import Column, Source


class BadRow(Exception):
    """What is wrong with a row; `reason` is the word under which such rows are counted."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


Values = dict[Column, Any]
Rows = Iterator[tuple[str, Values | BadRow]]


def read_rows(path: str, source: Source, may_lack_label: bool) -> Rows:
    """The rows of one file, or one folder of RACE.

    Args:
      path: the file or folder.
      source: its kind, and the columns it must have.
      may_lack_label: whether a file without the label's column is right, too.

    Raises:
      UserError: the file cannot be read, or lacks a column.
    """
    if source.kind == description.RACE:
        return _race_rows(path)
    if source.kind == description.WINOGRAD:
        return _winograd_rows(path)
    if source.kind == description.JSONL:
        return ((where, line if isinstance(line, BadRow) else _parse_json(line))
                for where, line in _lines(path))
    cells = _csv_cells(path) if source.kind == description.CSV else _tsv_cells(path)
    return _table(path, cells, source, may_lack_label)


def _lines(path: str) -> Iterator[tuple[str, str | BadRow]]:
    """Each line; blank ones at the end of the file do not count."""
    for _, lines in files.read_lines([path]):
        for number, line in number_lines(lines):
            where = f"{path}, line {number}"
            if not line:
                yield where, BadRow(description.EMPTY, "the line is blank")
                continue
            try:
                yield where, line.decode("utf-8")
            except UnicodeDecodeError as error:
                yield where, BadRow(description.NOT_UTF8, f"byte {error.start} is not UTF-8")


def _tsv_cells(path: str) -> Iterator[tuple[str, list[str] | BadRow]]:
    for where, line in _lines(path):
        yield where, line if isinstance(line, BadRow) else line.split("\t")


def _csv_cells(path: str) -> Iterator[tuple[str, list[str] | BadRow]]:
    """Python reads these, as a quoted cell may hold line ends; blank lines do not count."""
    start = 1
    try:
        # What is not UTF-8 comes through as surrogates, which are found in their row.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for cells in reader:
                if cells:
                    yield f"{path}, line {start}", cells
                start = reader.line_num + 1
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error} in a row that starts there; a quote inside "
                        "a quoted cell is written twice.") from error


def _table(path: str, cells: Iterator[tuple[str, list[str] | BadRow]], source: Source,
           may_lack_label: bool) -> Rows:
    """Values by the names of the first line, or by number."""
    listed = source.part.columns if isinstance(source.part, description.ListedPart) else ()
    expected = [*source.columns, *listed, *(() if may_lack_label else [source.label])]
    header: list[str] = []
    widths = set(source.widths)
    if source.has_header:
        where, first = next(cells, (path, BadRow(description.EMPTY, "the file is empty")))
        if isinstance(first, BadRow):
            raise UserError(f"{where}: {first}; the first line must name the columns.")
        header = [name.strip() for name in first]
        _require_columns(path, expected, header)
        widths = {len(header)}
    for where, row in cells:
        if isinstance(row, BadRow):
            yield where, row
            continue
        if not widths:
            _require_columns(path, expected, range(len(row)))
            widths = {len(row)}
        if len(row) in widths:
            yield where, dict(zip(header or range(len(row)), row))
        else:
            yield where, BadRow(description.COLUMNS, f"{len(row)} columns where there should be "
                                f"{' or '.join(map(str, sorted(widths)))}")


def _require_columns(path: str, expected: list[Column], found: Iterable[Column]) -> None:
    found = list(found)
    missing = [str(column) for column in expected if column not in found]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}, but {', '.join(map(str, found))}"
                        "; name the columns as its first line does, or number them from 0.")
    twice = [str(column) for column in expected if found.count(column) > 1]
    if twice:
        raise UserError(f"{path}: the first line names {', '.join(twice)} more than once, and "
                        "which column is meant is not clear; give the others another name.")


def _parse_json(text: str) -> Values | BadRow:
    try:
        value = parse_json(text)
    except ValueError as error:
        return BadRow(description.NOT_JSON, f"not valid JSON ({error})")
    if not isinstance(value, dict):
        return BadRow(description.NOT_JSON, "not a JSON object")
    return value


def _race_rows(folder: str) -> Rows:
    """One row a question; the files in the order of their numbers."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".txt")]
        for name in sorted(names, key=_number_and_name):
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                data = stream.read()
            try:
                value = _parse_json(data.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                value = BadRow(description.NOT_UTF8, f"byte {error.start} is not UTF-8")
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


def _questions(where: str, passage: Values) -> Rows:
    """The questions of one passage, as RACE's files and tensorflow-datasets have them."""
    lists = [passage.get(name) for name in ("questions", "options", "answers")]
    if not all(isinstance(each, list) for each in lists) or len(set(map(len, lists))) != 1:
        yield where, BadRow(description.COLUMNS,
                            "questions, options and answers are not lists of one length")
        return
    for number, (question, options, answer) in enumerate(zip(*lists), start=1):
        yield f"{where}, question {number}", {
            "article": passage.get("article"), "question": question, "options": options,
            "answer": answer}


def _winograd_rows(path: str) -> Rows:
    """One row a block, as tensorflow-datasets has it: the label is the right candidate's number."""
    def is_blank(line):
        return isinstance(line[1], BadRow) and line[1].reason == description.EMPTY

    for blank, block in itertools.groupby(_lines(path), is_blank):
        if not blank:
            places, lines = zip(*block)
            yield places[0], _schema(lines)


def _schema(lines: tuple[str | BadRow, ...]) -> Values | BadRow:
    bad = [line for line in lines if isinstance(line, BadRow)]
    if bad:
        return bad[0]
    if len(lines) != 4:
        return BadRow(description.COLUMNS, f"{len(lines)} lines where there should be 4 (sentence, "
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


def read_examples(dataset: Any, where: str, label: Column, class_names: list[str]) -> Rows:
    """The rows of a split of tensorflow-datasets.

    Args:
      dataset: its tf.data.Dataset.
      where: its name.
      label: the field of the label, which is -1 in an example without one.
      class_names: names of the classes, if that field holds their ids; else empty.
    """
    numbered = files.iterate(dataset.map(lambda example: (0, example)), [where])
    for number, (_, example) in enumerate(numbered):
        place = f"{where}, example {number}"
        try:
            values = {name: _plain(value) for name, value in example.items()}
        except UnicodeDecodeError as error:
            yield place, BadRow(description.NOT_UTF8, f"byte {error.start} is not UTF-8")
            continue
        if "questions" in values:
            yield from _questions(place, values)
            continue
        if values[label] == -1:
            values[label] = None
        elif class_names:
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
