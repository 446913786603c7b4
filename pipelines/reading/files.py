"""Files as blocks and lines, unpacked on the way, and what goes wrong with them as sentences.

Python reads them all: for hundreds of thousands of small files tf.data takes ten times as long, and
it takes a truncated gzip file for a whole one.
"""

import bz2
from collections.abc import Callable, Iterable, Iterator
import functools
import gzip
import io
import lzma
import os
from typing import Any, BinaryIO
import zlib

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_to_read

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 1 << 28
_ELEMENTS_AHEAD = 4
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


def _open_zstandard(stream: BinaryIO) -> BinaryIO:
    import pyarrow
    return io.BufferedReader(pyarrow.CompressedInputStream(stream, "zstd"))


_UNPACKERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zstandard}
PACKED = tuple(_UNPACKERS)


def packing(path: str) -> str:
    """The ending of a compressed file, in small letters; empty for any other file."""
    ending = os.path.splitext(path)[1].lower()
    return ending if ending in _UNPACKERS else ""


def read(path: str, parts: Callable[[BinaryIO], Iterable[bytes]],
         start: int = 0) -> Iterator[bytes]:
    """What `parts` finds in the unpacked file, part by part, from byte `start` on.

    Raises:
      UserError: the file cannot be read, or is not what its ending says.
    """
    with open_to_read(path) as packed:
        unpack = _UNPACKERS.get(packing(path))
        try:
            # An empty file has nothing to unpack.
            stream = unpack(packed) if unpack and packed.peek(1) else packed
            if start:
                stream.seek(start)
            yield from parts(stream)
        except _DAMAGE as error:
            raise UserError(f"Cannot read {path}: it is damaged or cut off "
                            f"({str(error).rstrip('.')}); copy it again.") from error


def read_blocks(path: str, start: int = 0) -> Iterator[bytes]:
    """The unpacked file from byte `start` on in blocks of BLOCK_BYTES, the last what is left.

    Raises:
      UserError: see `read`.
    """
    return read(path, lambda stream: iter(functools.partial(stream.read, BLOCK_BYTES), b""), start)


def read_lines(path: str, start: int = 0) -> Iterator[bytes]:
    """Lines with their ends, from byte `start` of the unpacked file on. A small compressed file may
    hold one without end.

    Raises:
      UserError: see `read`; or there is a line of more than LONGEST_LINE bytes.
    """
    def lines(stream):
        while line := stream.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path} has a line of more than {LONGEST_LINE:,} bytes: break it.")
            yield line

    return read(path, lines, start)


def bare(line: bytes) -> bytes:
    """A line without its end; it ends in "\\n", and any "\\r" is dropped.

    Example: b"a row\\r\\n" gives b"a row".
    """
    return line.removesuffix(b"\n").replace(b"\r", b"")


def iterate(dataset: Any, name: str) -> Iterator[Any]:
    """Elements of a tf.data.Dataset called `name` as numpy; errors as sentences."""
    import tensorflow as tf

    # Dropping a half-used iterator waits for the tuning thread, which may sleep for half a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    try:
        yield from (dataset.prefetch(_ELEMENTS_AHEAD).with_options(options).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise UserError(f"Cannot read {name}: {error.message.splitlines()[0][:200]}") from error
