"""Texts of a task as users give them to `gpt_tf.predict`: lines, or a table of any kind that
`pipelines.build_task` takes.

  lines    one text a line, of a task of one text
  tsv      the texts of the form with tabs between, in the order of `forms.FIELDS`; the answers
           of a multiple choice are its last columns, and its question may be empty
  csv      the same with a delimiter between, and quotes
  jsonl    {"premise": "...", "hypothesis": "..."}: the names of `forms.FIELDS`; "answers" is a
           list, and "question" may be left out
  parquet  columns of these names

A first line of a tsv or csv that names the columns which the task's own files keep its texts in, or
the form's, is a header; so are fields of these names taken. Other columns do not count. Where the
task's files have no header, their numbers of columns are taken if a row has more than the texts.

Spaces around a text do not count, nor do blank lines at the end; one in between is an error, or
no texts (of csv, it does not count).
"""

from collections.abc import Iterator
import itertools
from typing import BinaryIO

from gpt_tf.common.errors import UserError
from gpt_tf.tasks.forms import FIELDS, MULTIPLE_CHOICE
from gpt_tf.tasks.table_files import UTF8, read_cells, read_lines, read_objects
from gpt_tf.tasks.tables import (
    COLUMNS,
    CSV,
    EMPTY,
    JSONL,
    PARQUET,
    TSV,
    BadRow,
    Column,
    Rows,
    Values,
    name_cells,
    texts_of,
)
from gpt_tf.tasks.task import Task

LINES = "lines"
FORMATS = (LINES, TSV, CSV, JSONL, PARQUET)
_Texts = tuple[tuple[Column, ...], ...]


def read_texts(task: Task, stream: BinaryIO, kind: str, where: str, blank_lines: bool = False,
               encoding: str = UTF8) -> Iterator[tuple[str, list[str]]]:
    """Each row's place and its texts, as the rows come.

    Args:
      task: whose texts they are.
      stream: the file.
      kind: one of `FORMATS`.
      where: names the stream in errors.
      blank_lines: whether a blank line may stand between others.
      encoding: of a stream of text.

    Yields:
      The texts in the form's order; of multiple choice the context, the question (or "") and each
      answer; of a blank line none.

    Raises:
      UserError: a line is not in that encoding or not of that kind, a text is missing or empty, or
        there is no row.
    """
    if kind == LINES and len(FIELDS[task.form]) > 1:
        raise UserError(f"A line of text is not enough for the task {task.name}, which needs "
                        f"{', '.join(FIELDS[task.form])}: give --format={TSV} or --format={JSONL}.")
    place = ""
    for place, texts in _rows(task, stream, kind, where, encoding):
        try:
            if isinstance(texts, BadRow):
                raise texts
            _check(task, texts)
        except BadRow as bad:
            is_blank = bad is texts and bad.reason == EMPTY
            if is_blank and blank_lines:
                yield place, []
                continue
            hint = " (see --on_blank_line)" if is_blank else ""
            raise UserError(f"{place}: {bad}{hint}; correct or remove it.") from bad
        yield place, texts
    if not place:
        raise UserError(f"{where} holds no row to answer: give {', '.join(FIELDS[task.form])}, "
                        "a row a line.")


def _check(task: Task, texts: list[str]) -> None:
    """Raises BadRow unless these are the texts of a row."""
    fields, is_choice = FIELDS[task.form], task.form == MULTIPLE_CHOICE
    if len(texts) != _num_texts(task):
        named = _flat(_own_names(task))
        raise BadRow(COLUMNS, f"{len(texts)} texts where {task.name} needs {_num_texts(task)}: "
                              f"{', '.join(fields)}" + (
                                  f"; or a first line that names {', '.join(named)}"
                                  if named else ""))
    for number, text in enumerate(texts):
        if not text and not (is_choice and number == 1):
            raise BadRow(COLUMNS,
                         f"the text of {fields[min(number, len(fields) - 1)]} is empty")
        try:
            text.encode("utf-8")  # JSON may hold half of a surrogate pair
        except UnicodeEncodeError as error:
            raise BadRow(COLUMNS, f"a text is not UTF-8: {error.reason}") from error


def _num_texts(task: Task) -> int:
    answers = task.num_sequences - 1 if task.form == MULTIPLE_CHOICE else 0
    return len(FIELDS[task.form]) + answers


def _rows(task: Task, stream: BinaryIO, kind: str, where: str, encoding: str) -> Rows[list[str]]:
    """Each row's texts, of which there may be too many or too few."""
    if kind == LINES:
        for place, line in read_lines(stream, where, encoding):
            yield place, line if isinstance(line, BadRow) else [line.strip()]
    elif kind in (TSV, CSV):
        yield from _table_rows(task, stream, kind, where, encoding)
    else:
        for place, values in read_objects(stream, kind, where, encoding):
            yield place, values if isinstance(values, BadRow) else _named_texts(task, values)


def _flat(columns: _Texts) -> list[Column]:
    return list(itertools.chain.from_iterable(columns))


def _own_names(task: Task) -> _Texts:
    """The names of the columns of the task's files; none where they have numbers."""
    return task.columns if all(isinstance(each, str) for each in _flat(task.columns)) else ()


def _texts(values: Values | BadRow, columns: _Texts) -> list[str] | BadRow:
    """See `texts_of`."""
    if isinstance(values, BadRow):
        return values
    try:
        return texts_of(values, columns)
    except BadRow as bad:
        return bad


def _named_texts(task: Task, values: Values) -> list[str] | BadRow:
    """The texts of an object with the names of the task's files, or those of the form."""
    own = _own_names(task)
    if own and values.keys() >= set(_flat(own)):
        return _texts(values, own)
    texts = []
    for field in FIELDS[task.form]:
        is_list = field == "answers"
        text = values.get(field, "" if field == "question" else None)
        parts = text if is_list and isinstance(text, list) else [None if is_list else text]
        if not all(isinstance(part, str) for part in parts):
            kind = "a list of texts" if is_list else "a text"
            named = f", or the fields be named {', '.join(_flat(own))}" if own else ""
            return BadRow(COLUMNS, f"{field!r} must be {kind}{named}")
        texts += [part.strip() for part in parts]
    return texts


def _table_rows(task: Task, stream: BinaryIO, kind: str, where: str,
                encoding: str) -> Rows[list[str]]:
    form = () if task.form == MULTIPLE_CHOICE else tuple((field,) for field in FIELDS[task.form])
    headers = [columns for columns in (_own_names(task), form) if columns]
    numbers = () if _own_names(task) else task.columns
    fewest = max([_num_texts(task), *_flat(numbers)]) + 1  # columns of a row of the task's files

    def named_by(first: list[str] | BadRow) -> _Texts:
        """Those of `headers` whose columns a first row names; none if it names none's."""
        names = set() if isinstance(first, BadRow) else {name.strip() for name in first}
        return next((columns for columns in headers if names.issuperset(_flat(columns))), ())

    def is_first(cells: list[str]) -> bool:
        return bool(named_by(cells)) or bool(numbers) and len(cells) >= fewest

    cells = read_cells(stream, kind, where, encoding, is_first)
    first = next(cells, None)
    if first is None:
        return
    header = named_by(first[1])
    if kind == CSV and headers and not numbers:
        header = header or headers[0]  # whose missing columns will be named
    rows = itertools.chain([first], cells)
    if header:
        yield from ((place, _texts(values, header))
                    for place, values in name_cells(rows, _flat(header), where))
        return
    for place, row in rows:
        if numbers and not isinstance(row, BadRow) and len(row) >= fewest:
            row = _texts(dict(enumerate(row)), numbers)
        yield place, row if isinstance(row, BadRow) else [text.strip() for text in row]
