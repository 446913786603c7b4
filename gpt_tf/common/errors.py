"""What ends a command without a traceback: the user's errors, and signals."""

import re

_LONGEST_MESSAGE = 1200


def written_out(text: str, kept: str = "") -> str:
    """The text with signs that would move or colour a terminal, and bytes of a name that is not
    UTF-8, as Python writes them; those in `kept` stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


class UserError(Exception):
    """A mistake the user can put right. The message is one sentence: what, where, what to do.

    What it quotes may come from anywhere: characters that would move or colour a terminal are
    written as Python writes them, and the middle of what is too long is left out.
    """

    def __init__(self, message: str):
        line = written_out(message)
        if len(line) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2 - 5
            line = f"{line[:half]} [...] {line[-half:]}"
        super().__init__(line)


class Diverged(UserError):
    """A run's loss or weights are not finite; the same flags give that again."""


class Interrupted(Exception):
    """A signal ended the work at a good place: nothing is lost.

    Args:
      number: the signal.
      message: what was saved, and how to go on.
    """

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


def reason(error: BaseException) -> str:
    """What an error of the system or of TensorFlow says, in one line, without what only they know:
    the number of the error, the names of nodes and operations."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
    return re.sub(r"\{\{function_node [^}]*\}\} | \[Op:\w+\]", "", line)
