"""Files by tf.data: blocks and lines, and what goes wrong on the way as sentences.

Compressed files are read by Python: tf.data takes a truncated gzip file for a whole one. TensorFlow
is imported when something is read, not before.
"""

from collections.abc import Callable, Iterable, Iterator
import functools
import gzip
import itertools
import os
from typing import Any, BinaryIO
import zlib

from gpt_tf.common.errors import UserError

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 28
_ROWS_AT_ONCE = 512
_ELEMENTS_AHEAD = 4


def read_compressed(path: str, read: Callable[[BinaryIO], Iterable[bytes]]) -> Iterator[bytes]:
    """What `read` finds in the unpacked file, part by part."""
    try:
        with gzip.open(path, "rb") as stream:
            yield from read(stream)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Cannot read {path}: "
                        f"{getattr(error, 'strerror', None) or error}.") from error


def blocks_of(stream: BinaryIO) -> Iterator[bytes]:
    """The file in blocks of BLOCK_BYTES, the last what is left."""
    return iter(functools.partial(stream.read, BLOCK_BYTES), b"")


def read_compressed_lines(path: str) -> Iterator[bytes]:
    """Lines with their ends. A small compressed file may hold one without end.

    Raises:
      UserError: the file cannot be read, or has a line of more than LONGEST_LINE bytes.
    """
    def lines(stream):
        while line := stream.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path} has a line of more than {LONGEST_LINE:,} bytes: break it.")
            yield line

    return read_compressed(path, lines)


def iterate(dataset: Any, paths: list[str]) -> Iterator[tuple[int, Any]]:
    """(file's number, value) elements of a tf.data.Dataset as numpy; errors as sentences."""
    import tensorflow as tf
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


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def filled(paths: list[str], first: int) -> list[int]:
    """Numbers of the files from `first` on that are not empty."""
    return [number for number in range(first, len(paths)) if _size(paths[number])]


def read_blocks(paths: list[str], numbers: list[int],
                first_byte: int = 0) -> Iterator[tuple[int, Iterable[bytes]]]:
    """Each file's number and blocks; of the first file, those from `first_byte` on."""
    if numbers:
        read = [paths[number] for number in numbers]
        blocks = iterate(_block_dataset(read, first_byte), read)
        for place, group in itertools.groupby(blocks, lambda element: element[0]):
            yield numbers[place], (block for _, block in group)


def _block_dataset(paths: list[str], first_byte: int) -> Any:
    """tf.data.Dataset of (file's number, tf.string): blocks of BLOCK_BYTES, the last what is left.

    Files must not be empty; of the first one the bytes before `first_byte` are left out.
    """
    import tensorflow as tf
    ranges = []  # file, its bytes before the first block, bytes of a block, bytes after the last
    for number, path in enumerate(paths):
        start = 0 if number else first_byte
        size = _size(path)
        rest = (size - start) % BLOCK_BYTES
        if size - start >= BLOCK_BYTES:
            ranges.append((number, start, BLOCK_BYTES, rest))
        if rest:
            ranges.append((number, size - rest, rest, 0))
    names = tf.constant(paths)

    def blocks(number, before, block_bytes, after):
        dataset = tf.data.FixedLengthRecordDataset(names[number], block_bytes, before, after)
        return dataset.map(lambda block: (number, block))

    columns = tuple(tf.constant(column, tf.int64) for column in zip(*ranges))
    return tf.data.Dataset.from_tensor_slices(columns).flat_map(blocks)


def read_lines(paths: list[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Each file with lines and its lines, without their ends; all files compressed or none.

    Raises:
      UserError: a file cannot be read.
    """
    if paths[0].endswith(".gz"):
        for path in paths:
            yield path, read_compressed_lines(path)
        return
    rows = iterate(_row_dataset(paths), paths)
    for number, group in itertools.groupby(rows, lambda element: element[0]):
        yield paths[number], itertools.chain.from_iterable(batch for _, batch in group)


def _row_dataset(paths: list[str]) -> Any:
    """tf.data.Dataset of (file's number, tf.string [up to _ROWS_AT_ONCE])."""
    import tensorflow as tf

    def rows(number, path):
        return tf.data.TextLineDataset(path).batch(_ROWS_AT_ONCE).map(lambda row: (number, row))

    return tf.data.Dataset.from_tensor_slices(paths).enumerate().flat_map(rows)
