"""What a process does when it is told to end."""

from collections.abc import Callable, Iterator
import contextlib
import signal
from typing import Any


@contextlib.contextmanager
def handled_by(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """A block in which these signals, and SIGHUP unless it is ignored, as under nohup, call the
    handler; afterwards the handlers are as they were.

    Args:
      handler: (number, frame) -> None.
      *numbers: of signals.
    """
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers = (*numbers, signal.SIGHUP)
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, previous[number])
