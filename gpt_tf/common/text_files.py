"""The bytes of text files: byte order marks, characters that a block's end cuts, blank lines."""

import codecs
from collections.abc import Iterable, Iterator
import itertools


class NotUtf8(Exception):
    """Bytes that are not UTF-8; `byte` is where in the file they begin, from 0."""

    def __init__(self, byte: int):
        super().__init__(f"byte {byte} is not UTF-8")
        self.byte = byte


def decode_blocks(blocks: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """The text of a file that comes in blocks, without a byte order mark at its start.

    Example: the blocks b"Zo\\xc3" and b"\\xab" give ("Zo", 3) and ("\\u00eb", 1).

    Args:
      blocks: bytes, not empty.

    Yields:
      (text, bytes) of each block; a character that its end cuts goes to the next one, so that the
      text may be empty.

    Raises:
      NotUtf8: some bytes are not.
    """
    rest, position = b"", 0  # bytes of a cut character; bytes decoded before them
    for block in itertools.chain(blocks, [b""]):
        data = rest + block
        if position == 0 and data.startswith(codecs.BOM_UTF8):
            data, position = data[len(codecs.BOM_UTF8):], len(codecs.BOM_UTF8)
        try:
            text, used = codecs.utf_8_decode(data, "strict", not block)
        except UnicodeDecodeError as error:
            raise NotUtf8(position + error.start) from error
        rest, position = data[used:], position + used
        if block:
            yield text, len(block)


def number_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line and its number, from 1, without a byte order mark at the start.

    Blank lines at the end do not count. One in between comes as b"", once a line that is not blank
    follows.

    Example: [b"a\\n", b" \\n", b"b\\n", b"\\n"] gives (1, b"a\\n"), (2, b""), (3, b"b\\n").
    """
    blank = 0  # the first of the blank lines that come before this one
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            yield from ((each, b"") for each in range(blank, number))
            blank = 0
        yield number, line
