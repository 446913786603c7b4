"""A document of a corpus, and where it begins. See `corpus`."""

import collections
from collections.abc import Callable, Iterable, Iterator
import hashlib
from typing import NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.text_files import NotUtf8, decode_blocks
from gpt_tf.tokenizer.cleaning import check_lines

# Why a file, a row or a document is passed over.
EMPTY, NOT_UTF8 = "empty", "not UTF-8"


class Position(NamedTuple):
    """Where a document begins, for reading on from there.

    part: of `Corpus`. file: of that part. row: rows, examples or documents of the file before it.
    byte: bytes of the file before it, where a reader can go to them.
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


class NotUtf8Error(UserError):
    """Text that is not UTF-8.

    Args:
      where: the file, and the byte or row.
    """

    def __init__(self, where: str):
        super().__init__(f"{where}: not UTF-8; convert the file, or leave out what is not UTF-8 "
                         "with --on_bad_utf8=skip.")


def decode(path: str, blocks: Iterable[bytes], before: int = 0) -> Iterator[tuple[str, int]]:
    """(text, bytes) of each block that completes a character, `before` bytes into a file.

    Raises:
      NotUtf8Error: some bytes are not.
    """
    try:
        for text, size in decode_blocks(blocks):
            if text:
                yield text, size
    except NotUtf8 as error:
        raise NotUtf8Error(f"{path}, byte {before + error.byte}") from error


def decode_row(where: str, data: bytes) -> str:
    """The text of a row.

    Raises:
      NotUtf8Error: it is not.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotUtf8Error(f"{where}, byte {error.start}") from error


def row_text(read: Callable[[], str], skipped: collections.Counter,
             on_bad_utf8: str = "stop") -> str | None:
    """The text of a row that counts; None of another, whose reason is counted.

    Args:
      read: gives the text.
      skipped: reason -> rows.
      on_bad_utf8: "stop" or "skip".

    Raises:
      NotUtf8Error: the text is not, and that stops.
    """
    try:
        text = read()
    except NotUtf8Error:
        if on_bad_utf8 != "skip":
            raise
        skipped[NOT_UTF8] += 1
        return None
    if is_blank(text):
        skipped[EMPTY] += 1
        return None
    return text


def is_blank(text: str) -> bool:
    """Whether there is nothing to see in a text."""
    return not text or text.isspace()
