"""What rows of people's tables hold: cells or fields by column, texts, and what is wrong with them.

A row is (where it stands, what it holds), or (where it stands, a `BadRow`), so that rows keep their
numbers whatever is wrong with some of them. `table_files` reads them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
import os
from typing import Any, TypeVar

from gpt_tf.common.errors import UserError

TSV = "tsv"
CSV = "csv"
JSONL = "jsonl"
PARQUET = "parquet"
# Ending of a file's name -> its kind.
ENDINGS = {".tsv": TSV, ".csv": CSV, ".jsonl": JSONL, ".json": JSONL, ".parquet": PARQUET}

# What is wrong with a row, in the manifest's words.
COLUMNS = "wrong number of columns"
EMPTY = "empty"
NOT_JSON = "not JSON"
NOT_UTF8 = "not UTF-8"

# The name of a column or JSON field, or, where a file has no header, a column's number from 0.
Column = str | int
Values = dict[Column, Any]
Held = TypeVar("Held")


class BadRow(Exception):
    """What is wrong with a row; `reason` is the word under which such rows are counted."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


Rows = Iterator[tuple[str, Held | BadRow]]


def kind_of(path: str) -> str | None:
    """The kind that the ending of a file's name says; None: none of `ENDINGS`."""
    return ENDINGS.get(os.path.splitext(path)[1].lower())


def name_cells(rows: Rows[list[str]], columns: Collection[Column], place: str,
               widths: Collection[int] = ()) -> Rows[Values]:
    """The cells of each row by the names of the first, or by number.

    Args:
      rows: see `read_cells`.
      columns: that are looked for; all names, or all numbers where there is no header.
      place: names the file in errors.
      widths: allowed numbers of columns of a file without a header; empty: as its first row.

    Raises:
      UserError: a column is missing, or its name stands there twice.
    """
    header: list[str] = []
    if any(isinstance(column, str) for column in columns):
        where, first = next(rows, (place, BadRow(EMPTY, "the file is empty")))
        if isinstance(first, BadRow):
            raise UserError(f"{where}: {first}; the first line must name the columns.")
        header = [name.strip() for name in first]
        _require(columns, header, place)
        # A delimiter after the last name is no column that a row must have.
        widths = range(len(without_empty_end(header, 0)), len(header) + 1)
    for where, row in rows:
        if isinstance(row, BadRow):
            yield where, row
            continue
        if not widths:
            _require(columns, range(len(row)), place)
            widths = {len(row)}
        if header:
            row = without_empty_end(row, len(header))
        if len(row) in widths:
            yield where, dict(zip(header or range(len(row)), row))
        else:
            yield where, BadRow(COLUMNS, f"{len(row)} columns where there should be "
                                f"{' or '.join(map(str, sorted(widths)))}")


def without_empty_end(cells: list[str], width: int) -> list[str]:
    """The cells without the empty ones at the end, but `width` of them at the least."""
    while len(cells) > width and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _require(expected: Iterable[Column], found: Iterable[Column], place: str) -> None:
    found = list(found)
    missing = [str(column) for column in expected if column not in found]
    if missing:
        raise UserError(f"{place}: no column {', '.join(missing)}, but "
                        f"{', '.join(map(str, found))}; the task's columns must be those that the "
                        "first line names, or numbers from 0 where it names none.")
    twice = [str(column) for column in expected if found.count(column) > 1]
    if twice:
        raise UserError(f"{place}: the first line names {', '.join(twice)} more than once, and "
                        "which column is meant is not clear; give the others another name.")


def texts_of(values: Mapping[Column, Any], texts: Iterable[tuple[Column, ...]]) -> list[str]:
    """The texts of a row, without the spaces around them.

    Args:
      values: the row.
      texts: for each text its columns, which are joined by a space; none: an empty text. A column
        that holds a list is as many texts.

    Example: texts_of({"a": "So", "b": "it is.", "c": ["x ", "y"]}, [("a", "b"), (), ("c",)]) ==
      ["So it is.", "", "x", "y"]

    Raises:
      BadRow: a column is missing or holds no text.
    """
    parts: list[list] = []  # of each text
    for columns in texts:
        cells = [values.get(column) for column in columns]
        is_list = len(cells) == 1 and isinstance(cells[0], list)
        parts += [[cell] for cell in cells[0]] if is_list else [cells]
    if not all(isinstance(cell, str) for cells in parts for cell in cells):
        raise BadRow(COLUMNS, "no text in one of "
                     f"{', '.join(str(column) for columns in texts for column in columns)}")
    return [" ".join(cells).strip() for cells in parts]
