"""The commands in this process: what `python -m MODULE FLAGS` does, without its seconds of imports.

A process of its own spends about five seconds on importing TensorFlow. `run_command` runs the
module as `__main__` here instead, and puts back what a process would have taken with it: the
flags, sys.argv, sys.modules["__main__"], the standard streams, the folder, the environment, and
the filters of warnings.

What it cannot stand for, and needs a process: kills and signals, --strategy=multi_worker (its
devices must be named before TensorFlow computes), which modules are imported (--help is quick), a
reader that goes away (`| head`), a setting of TensorFlow or XLA that is read once when it starts,
and what libraries that hold on to an older sys.stderr log. Not for threads: one at a time.
"""

from collections.abc import Iterator
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import traceback
from typing import BinaryIO, NamedTuple
import warnings

from absl import flags
from absl.testing import flagsaver


class Done(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def run_command(module: str, *flag_values: object, cwd: str | os.PathLike | None = None,
                stdin: str | bytes = b"") -> Done:
    """Runs `python -m module flag_values`.

    Args:
      module: a module with `if __name__ == "__main__":`.
      *flag_values: its arguments; each is made a string.
      cwd: the folder to run in; this process's, if none is given.
      stdin: what is piped in.

    Returns:
      (exit code, stdout, stderr). An exception is, as in a process, a traceback and code 1.
    """
    stdin = stdin.encode("utf-8") if isinstance(stdin, str) else stdin
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        with _folder_and_environment(cwd), _arguments(module, flag_values), _flags(), _warnings():
            with _streams(stdin, out, err):
                code = _run_as_main(module)
        return Done(code, _content(out), _content(err))


def _run_as_main(module: str) -> int:
    """As runpy does it, which would warn of each module that a test has imported before."""
    before = sys.modules["__main__"]
    try:
        spec = importlib.util.find_spec(module)
        main = importlib.util.module_from_spec(spec)
        main.__name__ = "__main__"
        # Flags belong to the module of this name, and spawned processes look here for what to
        # import: __spec__ says the module's own name.
        sys.modules["__main__"] = main
        sys.argv[0] = spec.origin
        exec(spec.loader.get_code(module), main.__dict__)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.modules["__main__"] = before
    return 0


@contextlib.contextmanager
def _flags() -> Iterator[None]:
    """Takes away the flags that the command defines, and gives all others their values back.

    The DEFINE_ functions and every module hold the one flags.FLAGS, so it cannot be another. What
    a library defines when a command is the first to import it stays: it is not imported again.
    """
    values = flags.FLAGS
    saved = flagsaver.save_flag_values()
    was_parsed, gnu = values.is_parsed(), values.is_gnu_getopt()
    try:
        yield
    finally:
        for flag in list(values.flags_by_module_dict().get(sys.argv[0], ())):
            for name in ({flag.name, flag.short_name} & set(values)) - set(saved):
                delattr(values, name)
        values.unparse_flags()
        libraries = {name: dict(vars(values[name])) for name in set(values) - set(saved)}
        flagsaver.restore_flag_values(saved | libraries)
        values.set_gnu_getopt(gnu)
        if was_parsed:
            values.mark_as_parsed()


@contextlib.contextmanager
def _arguments(module: str, flag_values: tuple) -> Iterator[None]:
    before = sys.argv
    sys.argv = [module, *map(str, flag_values)]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _folder_and_environment(cwd: str | os.PathLike | None) -> Iterator[None]:
    folder, environment = os.getcwd(), dict(os.environ)
    try:
        os.chdir(cwd or folder)
        yield
    finally:
        os.chdir(folder)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    """A process's filters, not pytest's, which make errors of warnings; and they are printed."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning,
                         ResourceWarning):
            warnings.simplefilter("ignore", category)

        def show(message, category, filename, lineno, file=None, line=None):
            (file or sys.stderr).write(
                warnings.formatwarning(message, category, filename, lineno, line))
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _streams(stdin: bytes, out: BinaryIO, err: BinaryIO) -> Iterator[None]:
    """Leads sys.stdin, stdout and stderr, their buffers, and descriptors 1 and 2 to files.

    The descriptors, too: TensorFlow and the processes that a command starts write to them.
    """
    streams = sys.stdin, sys.stdout, sys.stderr
    for stream in streams[1:]:
        stream.flush()
    with contextlib.ExitStack() as stack:
        for number, target in ((1, out), (2, err)):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(target.fileno(), number)
        source = stack.enter_context(tempfile.TemporaryFile())
        source.write(stdin)
        source.seek(0)
        sys.stdin = io.TextIOWrapper(source, encoding="utf-8")
        # A buffer between, as in a process: sys.stdout.buffer is what holds it.
        sys.stdout, sys.stderr = (
            open(number, "w", encoding="utf-8", closefd=False, buffering=size)
            for number, size in ((1, -1), (2, 1)))
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdin, sys.stdout, sys.stderr = streams


def _content(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8")
