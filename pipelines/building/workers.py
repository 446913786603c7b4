"""Work handed to processes: results in order, memory bounded, nothing left behind."""

import collections
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures.process
import multiprocessing
import os
import signal
import threading
from typing import Any
import warnings

from gpt_tf.common.errors import UserError

# Items waiting per process: enough that none is idle while a slow one is waited for.
_ITEMS_AHEAD = 4


class WorkerPool:
    """Processes that run functions of modules; fresh ones, without what this process has loaded.

    Args:
      num_workers: processes; 0 for one on each core.

    Example:
      with WorkerPool(2) as pool:
          for size in pool.map(len, ["one", "three"]):
              ...
    """

    def __init__(self, num_workers: int):
        self._num_workers = num_workers or os.cpu_count() or 1
        # A fork would hold TensorFlow's threads and memory.
        self._pool = concurrent.futures.ProcessPoolExecutor(
            self._num_workers, multiprocessing.get_context("spawn"), _start)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """`function(item)` of each item, in order, taking few more items than were given back.

        Raises:
          UserError: a process was killed.
        """
        waiting: collections.deque = collections.deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > _ITEMS_AHEAD * self._num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError("A working process was killed, most likely for want of memory; run "
                            "the same command again, with a smaller --num_workers.") from error

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *exception) -> None:
        self._pool.shutdown(cancel_futures=True)


def _start() -> None:
    # Ctrl-C reaches the whole group of processes; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the parent gives its own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, and they would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
