"""Files in which people keep texts and labels, row by row.

  tsv      cells with tabs between and no quotes: a tab always ends a cell, a line a row
  csv      cells that may stand in quotes, and hold line ends there. The delimiter is the first of
           , ; tab and | for which the first row holds the columns that are looked for. A quote
           inside a quoted cell is written twice or, in a file that cannot be read so, as \\".
           Blank lines, and spaces after a delimiter, do not count
  jsonl    a JSON object a line
  parquet  columns with names
"""

import codecs
from collections.abc import Callable, Iterable, Iterator
import csv
import io
import re
from typing import BinaryIO

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from gpt_tf.common.text_files import number_lines
from gpt_tf.tasks.tables import (
    CSV,
    EMPTY,
    NOT_JSON,
    NOT_UTF8,
    PARQUET,
    BadRow,
    Rows,
    Values,
    without_empty_end,
)

UTF8 = "utf-8"
_DELIMITERS = ",;\t|"
_LONGEST_CELL = 1 << 28  # characters
_BLOCK_BYTES = 1 << 16  # of a file in another encoding than UTF-8, at a time
_BATCH_ROWS = 1024  # of a Parquet file at a time


def check_encoding(name: str) -> None:
    """Sees that Python knows an encoding of text.

    Raises:
      ValueError: it knows none of that name.
    """
    try:
        "a".encode(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"--encoding={name!r:.40} is no encoding of text: give utf-8, utf-16, "
                         "latin-1, cp1252 or another that Python knows.") from error


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _utf8_lines(stream: BinaryIO, place: str, encoding: str) -> Iterator[bytes]:
    """The lines with their ends, in UTF-8 whatever they were in; bad UTF-8 stays as it is."""
    if _is_utf8(encoding):
        for number, line in enumerate(stream):
            if not number and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise UserError(f"{place} is UTF-16 text, by its first two bytes: give "
                                "--encoding=utf-16.")
            yield line
        return
    decoder, rest = codecs.getincrementaldecoder(encoding)(), ""
    try:
        while block := stream.read(_BLOCK_BYTES):
            *lines, rest = (rest + decoder.decode(block)).split("\n")
            yield from (f"{line}\n".encode(UTF8) for line in lines)
        if rest := rest + decoder.decode(b"", True):
            yield rest.encode(UTF8)
    except UnicodeError as error:
        raise UserError(f"{place} is not text in the encoding {encoding} ({error}): give another "
                        "--encoding.") from error


def read_lines(stream: BinaryIO, place: str, encoding: str = UTF8) -> Rows[str]:
    """Each line without its end; blank ones at the end of the file do not count.

    Args:
      stream: lines, with their ends.
      place: names the stream in errors.
      encoding: of the stream.

    Raises:
      UserError: the stream is in another encoding.
    """
    for number, line in number_lines(_utf8_lines(stream, place, encoding)):
        where = f"{place}, line {number}"
        if not line:
            yield where, BadRow(EMPTY, "the line is blank")
            continue
        try:
            yield where, line.decode(UTF8).rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield where, BadRow(NOT_UTF8, f"byte {error.start} is not UTF-8 (see --encoding)")


def read_cells(stream: BinaryIO, kind: str, place: str, encoding: str,
               is_first: Callable[[list[str]], bool]) -> Rows[list[str]]:
    """The cells of each row, the first included.

    Args:
      stream: the file.
      kind: TSV or CSV.
      place: names the stream in errors.
      encoding: of the stream.
      is_first: whether these cells can be the first row; of CSV it decides on the delimiter.

    Raises:
      UserError: the stream is in another encoding, or has no end of a quoted cell.
    """
    if kind == CSV:
        yield from _csv_rows(stream, place, encoding, is_first)
        return
    for where, line in read_lines(stream, place, encoding):
        yield where, line if isinstance(line, BadRow) else line.split("\t")


def _csv_rows(stream: BinaryIO, place: str, encoding: str,
              is_first: Callable[[list[str]], bool]) -> Rows[list[str]]:
    data = stream if stream.seekable() else io.BytesIO(stream.read())

    def rows(delimiter: str, escapes: bool = False) -> Iterator[tuple[str, list[str]]]:
        data.seek(0)
        return _parse_csv(_utf8_lines(data, place, encoding), place, delimiter, escapes)

    def first(delimiter: str) -> list[str]:
        try:
            return next(rows(delimiter), ("", []))[1]
        except _BadCsv:
            return []

    def can_be_read(escapes: bool) -> bool:
        """Whether all quotes are in their places, and the rows have as many cells as the first."""
        header = first(delimiter)
        fewest = len(without_empty_end(header, 0))
        try:
            return all(fewest <= len(cells) and len(without_empty_end(cells, 0)) <= len(header)
                       for _, cells in rows(delimiter, escapes))
        except _BadCsv:
            return False

    delimiter = next((each for each in _DELIMITERS if is_first(first(each))), _DELIMITERS[0])
    yield from rows(delimiter, escapes=not can_be_read(False) and can_be_read(True))


class _BadCsv(UserError):
    """A row of a CSV file cannot be read."""


def _parse_csv(lines: Iterable[bytes], place: str, delimiter: str,
               escapes: bool) -> Iterator[tuple[str, list[str]]]:
    """Raises _BadCsv."""
    # What is not UTF-8 comes through as surrogates, which are found in their row. Some programs end
    # lines with a carriage return alone.
    text = (part for number, line in enumerate(lines)
            for part in re.split(r"(?<=\r)(?!\n)", line.removeprefix(
                b"" if number else codecs.BOM_UTF8).decode(UTF8, "surrogateescape")) if part)
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(map(_double_quotes, text) if escapes else text, delimiter=delimiter,
                        strict=True, skipinitialspace=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield f"{place}, line {start}", cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise _BadCsv(f"{place}, line {start}: {error} in a row that starts there; a quote inside "
                      "a quoted cell is written twice.") from error


def _double_quotes(line: str) -> str:
    """Quotes after a backslash as CSV writes them, twice; a backslash after another, once."""
    # Any other backslash but a double one stays as it is.
    return re.sub(r'\\(["\\])', lambda found: '""' if found[1] == '"' else "\\", line)


def read_objects(stream: BinaryIO, kind: str, place: str, encoding: str) -> Rows[Values]:
    """The fields of each row by name.

    Args:
      stream: the file.
      kind: JSONL or PARQUET.
      place: names the stream in errors.
      encoding: of a stream of text.

    Raises:
      UserError: the stream is in another encoding, or no Parquet.
    """
    if kind == PARQUET:
        yield from _parquet_rows(stream, place)
        return
    for where, line in read_lines(stream, place, encoding):
        yield where, line if isinstance(line, BadRow) else parse_object(line)


def parse_object(text: str) -> Values | BadRow:
    """The fields of a JSON object."""
    if text.lstrip().startswith("["):
        return BadRow(NOT_JSON, "not a JSON object, of which a line holds one (jq -c '.[]' makes "
                                "lines of a list)")
    try:
        value = parse_json(text)
    except ValueError as error:
        return BadRow(NOT_JSON, f"not valid JSON ({error})")
    if not isinstance(value, dict):
        return BadRow(NOT_JSON, "not a JSON object, of which a line holds one")
    return value


def _parquet_rows(stream: BinaryIO, place: str) -> Rows[Values]:
    import pyarrow
    from pyarrow import parquet  # here, as it takes long and few files are of this kind
    if not stream.seekable():
        raise UserError(f"{place}: a Parquet file has its table of contents at its end and cannot "
                        "come through a pipe: name the file.")
    number = 0
    try:
        table = parquet.ParquetFile(stream, page_checksum_verification=True)
        for batch in table.iter_batches(_BATCH_ROWS):
            for values in batch.to_pylist():
                number += 1
                yield f"{place}, row {number}", values
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{place} cannot be read as Parquet, after {number:,} rows: "
                        f"{str(error).splitlines()[0]:.200}") from error
