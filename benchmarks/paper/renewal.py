"""A process that starts itself anew when it has grown.

TensorFlow keeps every gradient function that was traced until the process ends: over a hundred MiB
for each fine-tuning run, of no use to another.
"""

import math
import os
import sys
import time

_MOST_GROWTH = 3 << 30  # bytes


def resident_bytes() -> int:
    """Memory of this process that is resident now."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Renewal:
    """The process as it was when this was made."""

    def __init__(self):
        self._first = resident_bytes()

    def renew_if_large(self, end: float) -> None:
        """Starts the same command in place of this process where that has grown by 3 GiB; call
        between runs, as the command goes on where it was.

        Args:
          end: the instant of `time.monotonic` at which --max_minutes are over; infinite: never.
        """
        if resident_bytes() - self._first < _MOST_GROWTH:
            return
        rest = [] if math.isinf(end) else [
            # The last of equal flags counts.
            f"--max_minutes={max((end - time.monotonic()) / 60, 1e-3):g}"]
        sys.stdout.flush()
        os.execv(sys.executable, [*sys.orig_argv, *rest])
