"""Programs that XLA has compiled for the processors of this machine, kept in the user's cache.

TensorFlow can keep such programs in a folder, and what it loads from there is the machine code that
it would make again. But a command fails if that folder cannot be written or holds a damaged file.
So TensorFlow's folder is in memory here. It is filled from the user's cache when a command starts,
and what is new in it is written there when the command ends:

  ~/.cache/gpt_tf/compiled/MACHINE-PROGRAM

PROGRAM is TensorFlow's name, a digest of the program; MACHINE one of all else that decides the
code (`_machine`). A file begins with the SHA-256 of the rest: one that is damaged is passed over.
Commands may share the folder, as a file is whole or absent.
"""

import atexit
from collections.abc import Collection
import contextlib
import hashlib
import os
import platform
import re
import sys
from types import ModuleType

from gpt_tf.common import cache
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write, make_folder

LIMIT = 128 << 20  # bytes of all files together; a command holds those of its own in memory
_FLAGS, _DIRECTORY = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory="
_MEMORY = "ram://gpt_tf_compiled"  # a file system of TensorFlow's own
_DIGEST_BYTES = hashlib.sha256().digest_size
# The lines of /proc/cpuinfo that tell processors apart for which other code is made.
_PROCESSOR = re.compile(r"^(?:vendor_id|model name|CPU part|flags|Features)\s*:.*$", re.MULTILINE)


def request() -> bool:
    """Asks TensorFlow for a cache, which it heeds if it is not imported yet.

    Returns:
      Whether `fill` is to follow: not where TensorFlow is imported, or TF_XLA_FLAGS names a folder.
    """
    given = os.environ.get(_FLAGS, "")
    if "tensorflow" in sys.modules or _DIRECTORY in given:
        return False
    # Code for a GPU depends on more than can be told here.
    os.environ[_FLAGS] = (f"{given} {_DIRECTORY}{_MEMORY} "
                          "--tf_xla_persistent_cache_device_types=CPU").strip()
    return True


def fill(tf: ModuleType) -> None:
    """Gives TensorFlow this command's programs, and keeps the new ones when the process ends.

    A cache that cannot be read or written costs the time to compile, and nothing else.

    Args:
      tf: TensorFlow, just imported.
    """
    memory = tf.io.gfile
    memory.makedirs(_MEMORY)
    with contextlib.suppress(OSError, UserError, tf.errors.OpError):
        folder = os.path.join(cache.root(), "compiled")
        make_folder(folder)
        machine = _machine(tf)
        for name in os.listdir(folder):
            program = _read(os.path.join(folder, name)) if name.startswith(machine) else b""
            if program:
                with memory.GFile(f"{_MEMORY}/{name.removeprefix(machine)}", "wb") as stream:
                    stream.write(program)
        atexit.register(_keep, tf, folder, machine, memory.listdir(_MEMORY))


def _machine(tf: ModuleType) -> str:
    """The start of the names of files whose code this process would make, too."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            processors = sorted(set(_PROCESSOR.findall(stream.read())))
    except OSError:
        processors = [platform.node()]
    # What was traced before a program is part of its name: no two commands have one in common.
    command = os.path.basename(sys.argv[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    decides = (command, processors, platform.machine(), cores, tf.version.GIT_VERSION,
               tf.version.COMPILER_VERSION, *map(os.environ.get, (
                   _FLAGS, "XLA_FLAGS", "TF_NUM_INTRAOP_THREADS")))
    return f"{hashlib.sha256(repr(decides).encode()).hexdigest()[:16]}-"


def _read(path: str) -> bytes:
    """The program in a file; b"" if it is damaged, or gone."""
    try:
        with open(path, "rb") as stream:
            digest, program = stream.read(_DIGEST_BYTES), stream.read()
    except OSError:
        return b""
    return program if hashlib.sha256(program).digest() == digest else b""


def _keep(tf: ModuleType, folder: str, machine: str, known: Collection[str]) -> None:
    """Writes the programs that are not `known`; then the oldest files go, as the limit has it."""
    memory = tf.io.gfile
    with contextlib.suppress(OSError, UserError, tf.errors.OpError):
        for name in set(memory.listdir(_MEMORY)) - set(known):
            with memory.GFile(f"{_MEMORY}/{name}", "rb") as stream:
                program = stream.read()
            with atomic_write(os.path.join(folder, f"{machine}{name}")) as stream:
                stream.write(hashlib.sha256(program).digest() + program)
        total = 0
        for entry in sorted(os.scandir(folder), key=lambda each: -each.stat().st_mtime_ns):
            total += entry.stat().st_size
            if total > LIMIT:
                os.unlink(entry)
