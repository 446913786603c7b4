"""Where documents come from: text files, rows of JSON, tensorflow-datasets. See `corpus`."""

import codecs
import collections
from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import itertools
import os
from typing import NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json
from gpt_tf.common.text_files import NotUtf8, decode_blocks
from gpt_tf.tokenizer.cleaning import check_lines
from pipelines.reading import catalogue, files


class Position(NamedTuple):
    """Where a document begins, for reading on from there.

    part: of `Corpus`. file: of that part. row: rows or examples of the file before it. byte: bytes
    of the file before it, where a reader can go to them.
    """

    part: int = 0
    file: int = 0
    row: int = 0
    byte: int = 0


START = Position()


class Document:
    """One document, whose text comes in blocks and may be larger than memory.

    Attributes:
      name: the file, and the row in it.
      position: where it begins.
      source_bytes: bytes of the input behind the blocks taken so far, as `Corpus.total_bytes`.
      text_bytes: UTF-8 bytes of these blocks.
    """

    def __init__(self, name: str, blocks: Iterable[tuple[str, int]], position: Position = START):
        self.name = name
        self.position = position
        self.source_bytes = self.text_bytes = 0
        self._blocks = blocks
        self._hash = hashlib.blake2b(digest_size=16)

    def blocks(self) -> Iterator[str]:
        """The text in parts of at most about a MiB (a row is one part); can be taken once.

        Raises:
          UserError: a line of more than `gpt_tf.tokenizer.cleaning.LONGEST_HELD_LINE` characters.
        """
        return check_lines(self._counted_blocks(), self.name)

    def _counted_blocks(self) -> Iterator[str]:
        for text, source_bytes in self._blocks:
            data = text.encode("utf-8")
            self._hash.update(data)
            self.text_bytes += len(data)
            self.source_bytes += source_bytes
            yield text

    @property
    def digest(self) -> bytes:
        """Of the blocks taken so far."""
        return self._hash.digest()


class _NotUtf8(UserError):

    def __init__(self, where: str):
        super().__init__(f"{where}: not UTF-8; convert the file, or leave out what is not UTF-8 "
                         "with --on_bad_utf8=skip.")


def _decode(path: str, blocks: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """(text, bytes) of each block of a file that completes a character."""
    try:
        for text, size in decode_blocks(blocks):
            if text:
                yield text, size
    except NotUtf8 as error:
        raise _NotUtf8(f"{path}, byte {error.byte}") from error


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files of one document each, all compressed or none."""

    paths: list[str]
    on_bad_utf8: str

    def between(self, first: int, last: int) -> "TextFiles":
        """Some of the files, which another machine finds."""
        return dataclasses.replace(self, paths=_whole_paths(self.paths[first:last + 1]))

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for number, blocks in self._files(skipped, start.file):
            path = self.paths[number]
            if self.on_bad_utf8 == "skip" and not _is_utf8(path):
                skipped["not UTF-8"] += 1
                continue
            decoded = _decode(path, blocks)
            held = []
            for block in decoded:
                held.append(block)
                if not block[0].isspace():
                    yield Document(path, itertools.chain(held, decoded), Position(file=number))
                    break
            else:
                skipped["empty"] += 1

    def _files(self, skipped: collections.Counter,
               first: int) -> Iterator[tuple[int, Iterable[bytes]]]:
        """Each file's number and blocks, which are read on only while they are taken."""
        if self.paths[0].endswith(".gz"):
            for number in range(first, len(self.paths)):
                yield number, files.read_compressed(self.paths[number], files.blocks_of)
            return
        filled = files.filled(self.paths, first)
        skipped["empty"] += len(self.paths) - first - len(filled)
        yield from files.read_blocks(self.paths, filled)


def _whole_paths(paths: list[str]) -> list[str]:
    return [os.path.abspath(path) for path in paths]


def _is_utf8(path: str) -> bool:
    """Looks through the whole file, so that no part of it is used when a later part is bad."""
    try:
        if path.endswith(".gz"):
            blocks = files.read_compressed(path, files.blocks_of)
            collections.deque(_decode(path, blocks), maxlen=0)
        else:
            with open(path, "rb") as stream:
                collections.deque(_decode(path, files.blocks_of(stream)), maxlen=0)
    except _NotUtf8:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class RowFiles:
    """JSONL files of one document a row, all compressed or none. Blank rows do not count."""

    paths: list[str]
    on_bad_utf8: str
    text_field: str

    def between(self, first: int, last: int) -> "RowFiles":
        """Some of the files, which another machine finds."""
        return dataclasses.replace(self, paths=_whole_paths(self.paths[first:last + 1]))

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for position, row in self._rows(start):
            if position.row == 0:
                row = row.removeprefix(codecs.BOM_UTF8)
            if not row or row.isspace():
                continue
            name = f"{self.paths[position.file]}, row {position.row + 1}"
            try:
                text = self._text(name, row)
            except _NotUtf8:
                if self.on_bad_utf8 != "skip":
                    raise
                skipped["not UTF-8"] += 1
                continue
            if not text or text.isspace():
                skipped["empty"] += 1
            else:
                yield Document(name, [(text, len(row) + 1)], position)

    def _rows(self, start: Position) -> Iterator[tuple[Position, bytes]]:
        """Each row and where it begins; in a compressed file, all before `start` is read, too."""
        if self.paths[0].endswith(".gz"):
            for number in range(start.file, len(self.paths)):
                first = start.row if number == start.file else 0
                rows = enumerate(files.read_compressed_lines(self.paths[number]))
                for row, line in itertools.islice(rows, first, None):
                    yield Position(file=number, row=row), line
            return
        filled = files.filled(self.paths, start.file)
        for number, blocks in files.read_blocks(self.paths, filled, start.byte):
            first = start if number == start.file else Position(file=number)
            yield from _split_rows(blocks, first)

    def _text(self, name: str, row: bytes) -> str:
        try:
            value = parse_json(row.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _NotUtf8(f"{name}, byte {error.start}") from error
        except ValueError as error:
            raise UserError(f"{name}: not valid JSON ({error}); correct or remove the "
                            "row.") from error
        text = value.get(self.text_field) if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise UserError(f"{name}: no text in a field {self.text_field!r}; name the field that "
                            "holds it with --text_field.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _NotUtf8(f"{name}, character {error.start} of its text") from error
        return text


def _split_rows(blocks: Iterable[bytes], position: Position) -> Iterator[tuple[Position, bytes]]:
    """The rows of a file from `position` on, without line ends."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield position, line.replace(b"\r", b"")  # as tf.data.TextLineDataset does
            position = position._replace(row=position.row + 1, byte=position.byte + len(line) + 1)
    if rest:
        yield position, rest.replace(b"\r", b"")


# The field of an example that is its text, where it is not "text".
_DATA_SET_FIELDS = {"pg19": "book_text"}


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The split "train" of a data set that tensorflow-datasets has prepared."""

    name: str
    folder: str
    text_field: str

    def between(self, first: int, last: int) -> "DataSet":
        """The data set, which another machine finds: it has no files of its own."""
        del first, last
        folder = os.path.abspath(os.path.expanduser(self.folder)) if self.folder else ""
        return dataclasses.replace(self, folder=folder)

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        family = self.name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]
        field = _DATA_SET_FIELDS.get(family, self.text_field)
        builder = catalogue.open_builder(self.name, self.folder)
        if field not in builder.info.features:
            raise UserError(f"tfds:{self.name} has no field {field!r}, but "
                            f"{', '.join(builder.info.features)}; name one with --text_field.")
        dataset = catalogue.open_split(builder, self.name, self.folder, "train")
        dataset = dataset.skip(start.row).map(lambda example: (0, example[field]))
        read = files.iterate(dataset, [f"tfds:{self.name}"])
        for number, (_, data) in enumerate(read, start.row):
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _NotUtf8(f"tfds:{self.name}, example {number}") from error
            if family == "wiki40b":
                text = clean_wiki40b(text)
            if not text or text.isspace():
                skipped["empty"] += 1
            else:
                yield Document(f"tfds:{self.name}, example {number}", [(text, len(data))],
                               Position(row=number))


def clean_wiki40b(text: str) -> str:
    """Article text without the marks of wiki40b's structure.

    Example: the lines _START_ARTICLE_ / Rome / _START_PARAGRAPH_ / A city._NEWLINE_Old. become
      Rome / A city. / Old.
    """
    lines = text.replace("_NEWLINE_", "\n").split("\n")
    return "\n".join(line for line in lines if line and not line.startswith("_START_"))
