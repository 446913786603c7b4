"""Where documents come from: text files, rows of JSON, tensorflow-datasets. See `readers`.

Files are read and batched by tf.data, compressed ones by Python: tf.data takes a truncated gzip
file for a whole one. TensorFlow is imported when a source is read, not before.
"""

import codecs
import collections
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import gzip
import itertools
import os
from typing import Any, BinaryIO
import zlib

from gpt_tf.files import UserError, parse_json
from pipelines import catalogue

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 28
_ROWS_AT_ONCE = 512
_ELEMENTS_AHEAD = 4


class Document:
    """One document, whose text comes in blocks and may be larger than memory.

    Attributes:
      name: the file, and the row in it.
      source_bytes: bytes of the input behind the blocks taken so far, as `Corpus.total_bytes`.
    """

    def __init__(self, name: str, blocks: Iterable[tuple[str, int]]):
        self.name = name
        self.source_bytes = 0
        self._blocks = blocks

    def blocks(self) -> Iterator[str]:
        """The text in parts of at most about a MiB (a row is one part); can be taken once."""
        for text, source_bytes in self._blocks:
            self.source_bytes += source_bytes
            yield text


def _read_compressed(path: str, read: Callable[[BinaryIO], Iterable[bytes]]) -> Iterator[bytes]:
    """What `read` finds in the unpacked file, part by part."""
    try:
        with gzip.open(path, "rb") as stream:
            yield from read(stream)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Cannot read {path}: "
                        f"{getattr(error, 'strerror', None) or error}.") from error


def _blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    return iter(functools.partial(stream.read, BLOCK_BYTES), b"")


def _lines_of(path: str, stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends. A small compressed file may hold one without end."""
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UserError(f"{path} has a line of more than {LONGEST_LINE:,} bytes: break it.")
        yield line


class _NotUtf8(UserError):

    def __init__(self, where: str):
        super().__init__(f"{where}: not UTF-8; convert the file, or leave out what is not UTF-8 "
                         "with --on_bad_utf8=skip.")


def iterate(dataset: Any, paths: list[str]) -> Iterator[tuple[int, Any]]:
    """(file's number, value) elements of a tf.data.Dataset as numpy; errors as sentences."""
    import tensorflow as tf  # pylint: disable=import-outside-toplevel
    number = 0
    # Dropping a half-used iterator waits for the tuning thread, which may sleep for half a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    try:
        for number, value in (dataset.prefetch(_ELEMENTS_AHEAD).with_options(options)
                              .as_numpy_iterator()):
            yield int(number), value
    except tf.errors.OpError as error:
        raise UserError(f"Cannot read {paths[number]} or the file after it: "
                        f"{error.message.splitlines()[0][:200]}") from error


def _decode(path: str, blocks: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """(text, bytes) of each block of a file; a character cut by a block's end goes to the next."""
    rest, position = b"", 0  # bytes of a cut character; bytes decoded before them
    for block in itertools.chain(blocks, [b""]):
        data = rest + block
        if position == 0 and data.startswith(codecs.BOM_UTF8):
            data, position = data[len(codecs.BOM_UTF8):], len(codecs.BOM_UTF8)
        try:
            text, used = codecs.utf_8_decode(data, "strict", not block)
        except UnicodeDecodeError as error:
            raise _NotUtf8(f"{path}, byte {position + error.start}") from error
        rest, position = data[used:], position + used
        if text:
            yield text, len(block)


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files of one document each, all compressed or none."""

    paths: list[str]
    on_bad_utf8: str

    def documents(self, skipped: collections.Counter) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for path, blocks in self._files(skipped):
            if self.on_bad_utf8 == "skip" and not _is_utf8(path):
                skipped["not UTF-8"] += 1
                continue
            decoded = _decode(path, blocks)
            held = []
            for block in decoded:
                held.append(block)
                if not block[0].isspace():
                    yield Document(path, itertools.chain(held, decoded))
                    break
            else:
                skipped["empty"] += 1

    def _files(self, skipped: collections.Counter) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Each file and its blocks, which are read on only while they are taken."""
        if self.paths[0].endswith(".gz"):
            for path in self.paths:
                yield path, _read_compressed(path, _blocks_of)
            return
        filled = [path for path in self.paths if os.path.getsize(path)]
        skipped["empty"] += len(self.paths) - len(filled)
        if filled:
            blocks = iterate(_block_dataset(filled), filled)
            for number, group in itertools.groupby(blocks, lambda element: element[0]):
                yield filled[number], (block for _, block in group)


def _is_utf8(path: str) -> bool:
    """Looks through the whole file, so that no part of it is used when a later part is bad."""
    try:
        if path.endswith(".gz"):
            collections.deque(_decode(path, _read_compressed(path, _blocks_of)), maxlen=0)
        else:
            with open(path, "rb") as stream:
                collections.deque(_decode(path, _blocks_of(stream)), maxlen=0)
    except _NotUtf8:
        return False
    return True


def _block_dataset(paths: list[str]) -> Any:
    """tf.data.Dataset of (file's number, tf.string): blocks of BLOCK_BYTES, the last what is left.

    Files must not be empty.
    """
    import tensorflow as tf  # pylint: disable=import-outside-toplevel
    ranges = []  # file, its bytes before the first block, bytes of a block, bytes after the last
    for number, path in enumerate(paths):
        size = os.path.getsize(path)
        rest = size % BLOCK_BYTES
        if size >= BLOCK_BYTES:
            ranges.append((number, 0, BLOCK_BYTES, rest))
        if rest:
            ranges.append((number, size - rest, rest, 0))
    names = tf.constant(paths)

    def blocks(number, before, block_bytes, after):
        dataset = tf.data.FixedLengthRecordDataset(names[number], block_bytes, before, after)
        return dataset.map(lambda block: (number, block))

    columns = tuple(tf.constant(column, tf.int64) for column in zip(*ranges))
    return tf.data.Dataset.from_tensor_slices(columns).flat_map(blocks)


@dataclasses.dataclass(frozen=True)
class RowFiles:
    """JSONL files of one document a row, all compressed or none. Blank rows do not count."""

    paths: list[str]
    on_bad_utf8: str
    text_field: str

    def documents(self, skipped: collections.Counter) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for path, rows in read_lines(self.paths):
            for number, row in enumerate(rows, start=1):
                if number == 1:
                    row = row.removeprefix(codecs.BOM_UTF8)
                if not row or row.isspace():
                    continue
                name = f"{path}, row {number}"
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
                    yield Document(name, [(text, len(row) + 1)])

    def _text(self, name: str, row: bytes) -> str:
        try:
            value = parse_json(row.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _NotUtf8(f"{name}, byte {error.start}") from error
        except ValueError as error:
            raise UserError(f"{name}: not valid JSON ({error}); mend or remove the row.") from error
        text = value.get(self.text_field) if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise UserError(f"{name}: no text in a field {self.text_field!r}; name the field that "
                            "holds it with --text_field.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _NotUtf8(f"{name}, character {error.start} of its text") from error
        return text


def read_lines(paths: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Each file with lines and its lines, without their ends; all files compressed or none.

    Raises:
      UserError: a file cannot be read.
    """
    if paths[0].endswith(".gz"):
        for path in paths:
            yield path, _read_compressed(path, functools.partial(_lines_of, path))
        return
    rows = iterate(_row_dataset(paths), paths)
    for number, group in itertools.groupby(rows, lambda element: element[0]):
        yield paths[number], itertools.chain.from_iterable(batch for _, batch in group)


def _row_dataset(paths: list[str]) -> Any:
    """tf.data.Dataset of (file's number, tf.string [up to _ROWS_AT_ONCE])."""
    import tensorflow as tf  # pylint: disable=import-outside-toplevel

    def rows(number, path):
        return tf.data.TextLineDataset(path).batch(_ROWS_AT_ONCE).map(lambda row: (number, row))

    return tf.data.Dataset.from_tensor_slices(paths).enumerate().flat_map(rows)


# The field of an example that is its text, where it is not "text".
_DATA_SET_FIELDS = {"pg19": "book_text"}


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The split "train" of a data set that tensorflow-datasets has prepared."""

    name: str
    folder: str
    text_field: str

    def documents(self, skipped: collections.Counter) -> Iterator[Document]:
        """See `Corpus.documents`."""
        family = self.name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]
        field = _DATA_SET_FIELDS.get(family, self.text_field)
        builder = catalogue.open_builder(self.name, self.folder)
        if field not in builder.info.features:
            raise UserError(f"tfds:{self.name} has no field {field!r}, but "
                            f"{', '.join(builder.info.features)}; name one with --text_field.")
        dataset = catalogue.open_split(builder, self.name, self.folder, "train")
        dataset = dataset.map(lambda example: (0, example[field]))
        for number, (_, data) in enumerate(iterate(dataset, [f"tfds:{self.name}"])):
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _NotUtf8(f"tfds:{self.name}, example {number}") from error
            if family == "wiki40b":
                text = clean_wiki40b(text)
            if not text or text.isspace():
                skipped["empty"] += 1
            else:
                yield Document(f"tfds:{self.name}, example {number}", [(text, len(data))])


def clean_wiki40b(text: str) -> str:
    """Article text without the marks of wiki40b's structure.

    Example: the lines _START_ARTICLE_ / Rome / _START_PARAGRAPH_ / A city._NEWLINE_Old. become
      Rome / A city. / Old.
    """
    lines = text.replace("_NEWLINE_", "\n").split("\n")
    return "\n".join(line for line in lines if line and not line.startswith("_START_"))
