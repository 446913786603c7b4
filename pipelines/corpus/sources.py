"""Documents from files that are read from their beginning on: text, and rows of JSON."""

import codecs
import collections
from collections.abc import Iterable, Iterator
import dataclasses
import functools
import itertools
import os
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from pipelines.corpus import documents
from pipelines.corpus.documents import START, Document, NotUtf8Error, Position
from pipelines.reading import files


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files of text: each is a document, or those between the separators in it are.

    on_bad_utf8: "stop", or "skip" the files that are not UTF-8.
    separator: stands between documents; empty: a file is one.
    """

    paths: list[str]
    on_bad_utf8: str
    separator: str

    def between(self, first: int, last: int) -> "TextFiles":
        """Some of the files, which another machine finds."""
        return dataclasses.replace(self, paths=whole_paths(self.paths[first:last + 1]))

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for number in range(start.file, len(self.paths)):
            path, first = self.paths[number], start if number == start.file else START
            if self.on_bad_utf8 == "skip" and not _is_utf8(path):
                skipped[documents.NOT_UTF8] += 1
                continue
            found = False
            for position, blocks in self._parts(path, first):
                name = f"{path}, document {position.row + 1}" if self.separator else path
                decoded = documents.decode(path, blocks, position.byte)
                held = list(_up_to_text(decoded))
                if held:
                    found = True
                    yield Document(name, itertools.chain(held, decoded),
                                   position._replace(file=number))
            skipped[documents.EMPTY] += not found

    def _parts(self, path: str, start: Position) -> Iterator[tuple[Position, Iterable[bytes]]]:
        """The parts of a file between separators from `start` on: where each begins, its bytes."""
        if not self.separator:
            yield Position(), files.read_blocks(path)
            return
        # What is packed can only be read from its beginning on.
        first = Position() if files.packing(path) else start
        blocks = files.read_blocks(path, first.byte)
        for position, part in split_blocks(blocks, self.separator.encode("utf-8"), first):
            if position.row >= start.row:
                yield position, part


def _up_to_text(decoded: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The blocks up to the first with visible text; none if there is none."""
    held = []
    for block in decoded:
        held.append(block)
        if not block[0].isspace():
            yield from held
            return


def split_blocks(blocks: Iterator[bytes], separator: bytes,
                 position: Position) -> Iterator[tuple[Position, Iterator[bytes]]]:
    """The parts of a file between separators: where each begins, and its blocks.

    Example: the blocks b"one--t" and b"wo", with "--" between documents, give the parts b"one" and
      b"t", b"wo", which begin at bytes 0 and 5.

    Args:
      blocks: bytes of the file from `position` on.
      separator: not empty.
      position: of the first part.
    """
    buffer, place, before, ended = b"", 0, position.byte, False  # before: bytes ahead of the buffer

    def part() -> Iterator[bytes]:
        nonlocal buffer, place, before, ended
        while (end := buffer.find(separator, place)) < 0 and not ended:
            block = next(blocks, b"")
            ended = not block
            # The end of the buffer may be the beginning of a separator.
            end = len(buffer) if ended else max(place, len(buffer) - len(separator) + 1)
            if end > place:
                yield buffer[place:end]
            buffer, place, before = buffer[end:] + block, 0, before + end
        if end > place:
            yield buffer[place:end]
        place = end + len(separator)

    while not ended:
        current = part()
        yield position, current
        collections.deque(current, maxlen=0)  # what was not asked for
        position = position._replace(row=position.row + 1, byte=before + place)


def whole_paths(paths: list[str]) -> list[str]:
    """The paths as other processes find them."""
    return [os.path.abspath(path) for path in paths]


def _is_utf8(path: str) -> bool:
    """Looks through the whole file, so that no part of it is used when a later part is bad."""
    try:
        collections.deque(documents.decode(path, files.read_blocks(path)), maxlen=0)
    except NotUtf8Error:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class RowFiles:
    """JSONL files of one document a row. Blank rows do not count.

    on_bad_utf8: "stop", or "skip" the rows that are not UTF-8.
    text_field: see `text_in`.
    """

    paths: list[str]
    on_bad_utf8: str
    text_field: str

    def between(self, first: int, last: int) -> "RowFiles":
        """Some of the files, which another machine finds."""
        return dataclasses.replace(self, paths=whole_paths(self.paths[first:last + 1]))

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for number in range(start.file, len(self.paths)):
            path, first = self.paths[number], start if number == start.file else START
            for position, line in _rows(path, first):
                row = files.bare(line)
                if position.row == 0:
                    row = row.removeprefix(codecs.BOM_UTF8)
                if not row or row.isspace():
                    continue
                name = f"{path}, row {position.row + 1}"
                text = documents.row_text(functools.partial(self._text, name, row), skipped,
                                          self.on_bad_utf8)
                if text is not None:
                    yield Document(name, [(text, len(line))], position._replace(file=number))

    def _text(self, name: str, row: bytes) -> str:
        try:
            value = parse_json(documents.decode_row(name, row))
        except ValueError as error:
            raise UserError(f"{name}: not valid JSON ({error}); correct or remove the row. Each "
                            "line is one row: jq -c '.[]' makes rows of a list.") from error
        text = text_in(value, self.text_field, name)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise NotUtf8Error(f"{name}, character {error.start} of its text") from error
        return text


def _rows(path: str, start: Position) -> Iterator[tuple[Position, bytes]]:
    """Each line and where it begins; in a compressed file, all before `start` is read, too."""
    first = Position() if files.packing(path) else start
    row, byte = first.row, first.byte
    for line in files.read_lines(path, byte):
        if row >= start.row:
            yield Position(row=row, byte=byte), line
        row, byte = row + 1, byte + len(line)


_KINDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}


def text_in(row: Any, field: str, name: str) -> str:
    """The text in a field of a row; null is an empty text.

    Example: the field "doc.text" of {"doc": {"text": "Rome"}} is "Rome".

    Args:
      row: of JSON.
      field: its name, or the way to it through objects, with dots between.
      name: the row's, for errors.

    Raises:
      UserError: the row is no object, or has no such field, or the field holds no text.
    """
    if not isinstance(row, dict):
        raise UserError(f"{name}: not an object with fields; jq -c '.[]' makes rows of a list.")
    value: Any = row
    for part in [field] if field in row else field.split("."):
        if value is None:
            break
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{name}: no field {field!r}, but {', '.join(map(str, row)) or 'none'}"
                            "; name the field that holds the text with --text_field (doc.text is "
                            "the field text of the object doc).")
        value = value[part]
    if value is None:
        return ""
    if isinstance(value, list):
        raise UserError(f"{name}: {field!r} holds a list of {len(value)}, and a row is one text; "
                        "join them, or make each a row.")
    if not isinstance(value, str):
        raise UserError(f"{name}: {field!r} holds {_KINDS[type(value)]}, and no text; name the "
                        "field that does with --text_field.")
    return value
