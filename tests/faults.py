"""Faults of the disk, one at a time: the n-th write, fsync, rename, ... of a command fails, or the
command is killed there.

`faults.c`, compiled here and preloaded, stands between a process and libc. A process that was
started by `run_with_faults` imports TensorFlow and computes nothing; an `Injector` there runs
commands in a fork of it, so that a kill costs no import.
"""

from collections.abc import Callable, Iterable
import dataclasses
import errno
import importlib
import mmap
import multiprocessing
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags

from tests.commands import Done, run_command

# In the order of faults.c: writing, fsync, renaming, opening to write and making
# folders, flock, reading, opening to read, removing.
KINDS = ("write", "sync", "rename", "create", "lock", "read", "open", "remove")
KILL = 0  # in place of an error: the operation is not done, for the process is killed before it
_PLAN = "FAULTS"  # names the file that is `plan` in faults.c
_FORMAT = struct.Struct(f"={len(KINDS)}q q3i1024s1024s4x")
_SOURCE = pathlib.Path(__file__).with_name("faults.c")
_PATIENCE = 300.0  # seconds for a command, on a busy machine


def compiler() -> str | None:
    """A C compiler, if this machine has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def run_with_faults(command: list[str], **options) -> subprocess.CompletedProcess:
    """Runs a command in whose process, and those it starts, an `Injector` can be made.

    Args:
      command: its arguments.
      **options: of `subprocess.run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        shim, plan = os.path.join(folder, "faults.so"), os.path.join(folder, "plan")
        subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE", "-o", shim,
                        _SOURCE, "-ldl"], check=True)
        pathlib.Path(plan).write_bytes(bytes(_FORMAT.size))
        return subprocess.run(command, check=False, env=os.environ | {
            "LD_PRELOAD": shim, _PLAN: plan}, **options)


def is_injectable() -> bool:
    """Whether this process was started by `run_with_faults`."""
    return _PLAN in os.environ


@dataclasses.dataclass(frozen=True)
class Fault:
    """What fails.

    Args:
      kind: of `KINDS`.
      nth: which operation of that kind, from 1.
      error: the `errno`, or `KILL`.
      stays: whether all after it fail, too, as on a full disk.
    """

    kind: str
    nth: int
    error: int = KILL
    stays: bool = False

    def __str__(self) -> str:
        error = "kill" if self.error == KILL else errno.errorcode[self.error]
        return f"{self.kind} {self.nth}{' and after' if self.stays else ''}: {error}"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
      done: its exit code and what it wrote; None if it was killed.
      seen: operations by their kind.
      met: the file of the one that failed; empty where it did not come to it.
    """

    done: Done | None
    seen: dict[str, int]
    met: str


class Injector:
    """Runs commands of which one operation on files of a folder fails.

    They run one after the other in a fork of this process, and in a new one after a kill.

    Args:
      folder: whose files count.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = os.fsencode(folder)
        with open(os.environ[_PLAN], "r+b") as stream:
            self._plan = mmap.mmap(stream.fileno(), _FORMAT.size)
        self._process = self._connection = None
        _import_all()

    def call(self, function: Callable, *arguments: Any) -> Any:
        """What the function returns there; None if the process was killed.

        Raises:
          TimeoutError: it does not end.
        """
        if not self._process:
            self._connection, theirs = multiprocessing.Pipe()
            self._process = multiprocessing.get_context("fork").Process(
                target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._connection.send((function, arguments))
        try:
            if self._connection.poll(_PATIENCE):
                return self._connection.recv()
        except (EOFError, ConnectionResetError):
            self.close()
            return None
        self.close()
        raise TimeoutError(f"{arguments[0]} has not ended after {_PATIENCE:.0f} seconds.")

    def close(self) -> None:
        """Ends the process."""
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None

    def run(self, module: str, *flag_values: object, fault: Fault | None = None) -> Ended:
        """Runs `python -m module flag_values`.

        Raises:
          TimeoutError: it does not end.
        """
        where = (fault.nth, KINDS.index(fault.kind), fault.error, fault.stays) if fault else [0] * 4
        _FORMAT.pack_into(self._plan, 0, *[0] * len(KINDS), *where, self._folder, b"")
        try:
            done = self.call(run_command, module, *flag_values)
        finally:
            *seen, met = _FORMAT.unpack(self._plan)
            self._plan[:] = bytes(_FORMAT.size)  # nothing counts
        return Ended(done, dict(zip(KINDS, seen)), os.fsdecode(met.rstrip(b"\0")))


def _import_all() -> None:
    """What commands import, so that no fork has to; nothing is computed."""
    for name in ("ftfy", "spacy.lang.en", "gpt_tf.training.pretraining",
                 "gpt_tf.training.finetuning", "pipelines.building.frame", "tests.fuzz_seeds"):
        importlib.import_module(name)


def _serve(connection) -> None:
    """Does what is sent. Arithmetic is cut short, for files are what is tried: nothing is traced,
    and a text is continued by nothing."""
    import tensorflow as tf

    from gpt_tf.generation.generator import Generator
    from gpt_tf.model.by_shape import FunctionByShape
    from pipelines.building import encoders, frame
    from pipelines.corpus import word_counts

    for flag in list(flags.FLAGS.flags_by_module_dict().get(sys.argv[0], ())):
        delattr(flags.FLAGS, flag.name)  # of this program, which a command has, too
    tf.config.run_functions_eagerly(True)
    FunctionByShape.__call__ = lambda self, *inputs: self._function(*inputs)
    Generator.__call__ = lambda self, prompts, **options: list(prompts)
    frame.Encoders = word_counts.WorkerPool = _InProcess
    while True:
        function, arguments = connection.recv()
        encoders.load_tokenizer.cache_clear()  # as in a new process
        connection.send(function(*arguments))


class _InProcess:
    """Stands for pools of processes, each of which would import for seconds."""

    def __init__(self, *arguments: object):
        del arguments

    def map(self, function: Callable, items: Iterable) -> Iterable:
        """Of the pool."""
        return map(function, items)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass
