"""Standard output and error: UTF-8 whatever the locale, and a sentence where they fail."""

from collections.abc import Iterator
import contextlib
import io
import os
import sys
from typing import TextIO

from gpt_tf.common.errors import UserError, written_out

# What people's texts are made of beside what is printed: lines, and letters that join or do not.
_PEOPLES = "\n\t\u200c\u200d"


class _Descriptor(io.RawIOBase):
    """A file descriptor that is written to, until that fails once.

    Args:
      number: of the descriptor.
      is_log: whether nobody need read what is written: a full disk under a log and a terminal
        that was closed end no work.
    """

    def __init__(self, number: int, is_log: bool):
        self._number = number
        self._is_log = is_log

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data) -> int:
        try:
            return os.write(self._number, data)
        except OSError as error:
            # What is left in buffers has somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._number)
            if self._is_log:
                if not isinstance(error, BrokenPipeError) and self._number != 2:
                    print(f"Standard output cannot be written ({error.strerror}): the work goes on "
                          "without it.", file=sys.stderr)
                return len(data)
            if isinstance(error, BrokenPipeError):
                raise
            raise UserError(f"Cannot write to standard output: {error.strerror}.") from error


class _Terminal(io.TextIOWrapper):
    """Shows what models, labels and files may hold, and lets none of it move the cursor."""

    def write(self, text: str) -> int:
        super().write(written_out(text, _PEOPLES))
        return len(text)


@contextlib.contextmanager
def standard_streams(is_log: bool) -> Iterator[None]:
    """For the block, `sys.stdout` and `sys.stderr` are UTF-8, and fail with a sentence or not at
    all.

    Names of files that are not UTF-8 go out as they are, and so does every sign but to a
    terminal, on which standard output shows those that would move or colour it as Python does.
    A reader of standard output that goes away (head, less) ends the block without an error, or
    does not end it.

    Args:
      is_log: whether standard output is a log of the block's work, which is not for its sake.
    """
    before = sys.stdout, sys.stderr
    for number in range(3):  # a closed one would be the next file that is opened
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        # On which reading and writing fail.
        os.set_inheritable(
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY), True)
    for stream in filter(None, before):
        stream.flush()
    if _is(2, sys.stderr):  # and nobody has redirected it to a stream of their own
        sys.stderr = _text(2, True, "backslashreplace", line_buffering=True)
    if _is(1, sys.stdout):
        sys.stdout = _text(1, is_log, "surrogateescape", line_buffering=os.isatty(1))
    try:
        with contextlib.suppress(BrokenPipeError):
            yield
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
    finally:
        with contextlib.suppress(BrokenPipeError, UserError):
            sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _is(number: int, stream: TextIO | None) -> bool:
    """Whether a stream leads to a file descriptor; it is None where that was closed."""
    try:
        return stream is None or stream.fileno() == number
    except OSError:  # a StringIO has none
        return False


def _text(number: int, is_log: bool, errors: str, line_buffering: bool) -> io.TextIOWrapper:
    kind = _Terminal if number == 1 and os.isatty(number) else io.TextIOWrapper
    return kind(io.BufferedWriter(_Descriptor(number, is_log)), encoding="utf-8", errors=errors,
                line_buffering=line_buffering, newline="\n")
