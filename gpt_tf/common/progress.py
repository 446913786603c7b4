"""How far a long piece of work is."""

from collections.abc import Iterator
import contextlib
import sys
import time

from tqdm import tqdm


class Progress:
    """How far a long piece of work is: a bar on a terminal, a line every few seconds in a log.

    Only a thousand bytes and more are shown in thousands; other counts are exact.

    Example:
      with Progress(total=10, unit="B", description="reading") as progress:
          progress.update(4, loss="3.21")
    """

    seconds_between_lines = 15.0

    def __init__(self, total: int | None, unit: str, description: str, initial: int = 0):
        scaled = unit == "B" and (total is None or total >= 1000)
        self._format = dict(total=total, unit=unit, unit_scale=scaled, prefix=description)
        self._initial = initial  # what the rate does not count
        self._count = self._printed = initial
        self._fields: dict[str, str] = {}
        self._start = time.monotonic()
        self._next_line = self._start + self.seconds_between_lines
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, unit=unit, unit_scale=scaled, desc=description,
                             initial=initial, dynamic_ncols=True, file=sys.stderr)

    def update(self, count: int, **fields: str) -> None:
        """Adds `count` units of work done; `fields` are shown beside the rate."""
        self._count += count
        self._fields.update(fields)
        if self._bar is not None:
            self._bar.set_postfix(self._fields, refresh=False)
            self._bar.update(count)
        elif time.monotonic() >= self._next_line:
            self._print_line()
            self._next_line = time.monotonic() + self.seconds_between_lines

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Says that the block compiles, and leaves it and its unit of work out of the rate."""
        self.write(f"{self._format['prefix']}: compiling ...")
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        self._start += seconds
        self._next_line += seconds
        self._initial += 1
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds
            self._bar.initial += 1

    def _print_line(self) -> None:
        self._printed = self._count
        elapsed = time.monotonic() - self._start
        postfix = ", ".join(f"{key}={value}" for key, value in self._fields.items())
        print(tqdm.format_meter(self._count, elapsed=elapsed, initial=self._initial, ncols=0,
                                postfix=postfix, **self._format), file=sys.stderr, flush=True)

    @staticmethod
    def write(line: str) -> None:
        """Prints a line without tearing the bar, which may be another's."""
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._count > self._printed:
            self._print_line()
