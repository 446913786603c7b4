"""Memory: what this machine has, and what to say when it was not enough. No TensorFlow here."""

import errno
import math
import os
import pathlib
import re
import sys

# What TensorFlow, XLA and CUDA write when they get none, beside the code RESOURCE_EXHAUSTED, which
# TensorFlow also gives to a full disk.
_PHRASES = ("out of memory", "out_of_memory", "oom when allocating", "failed to allocate")
_SIZE = re.compile(r"allocat(?:e|ing) ([\d.]+) ?([KMGTP]?)i?(?:B|bytes)\b")
_TENSOR = re.compile(r"tensor with shape\[([\d,]*)\] and type (\w+)")
_BYTES = {"double": 8, "int64": 8, "uint64": 8, "half": 2, "bfloat16": 2, "bool": 1, "int8": 1}


def machine_memory(root: str | os.PathLike = "/") -> int:
    """Bytes of memory of this machine, or of this process's cgroup (v2 or v1) where that has less.

    All of it, not what is free now: what is chosen by it is the same each time.

    Args:
      root: where proc and sys are found.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_cgroup_limits(pathlib.Path(root))])


def _cgroup_limits(root: pathlib.Path) -> list[int]:
    """The limits of this process's cgroup and of those above it, in bytes."""
    mounts = root / "sys/fs/cgroup"
    limits = []
    # A line is "0::/path" of v2, "4:memory:/path" of v1.
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, file = mounts, "memory.max"
        elif "memory" in controllers.split(","):
            folder, file = mounts / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = folder / path.lstrip("/")
        # In a container the path may be the host's, and its own limit stands at the top.
        for place in (group, *(p for p in group.parents if p.is_relative_to(folder))):
            text = _read(place / file).strip()
            if text.isdigit():  # "max" is none
                limits.append(int(text))
    return limits


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # no such file, or none for us
        return ""


def size_text(size: float) -> str:
    """Bytes as a person reads them.

    Example:
      size_text(48_822_000_000) -> "45.5 GiB"
    """
    power = next(p for p in (4, 3, 2) if size >= 1024 ** p or p == 2)
    return f"{size / 1024 ** power:.1f} {'KMGT'[power - 1]}iB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory could not be had; of a full disk it does not."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if type(error).__module__.startswith("tensorflow"):
        text = str(error).lower()
        return any(phrase in text for phrase in _PHRASES)
    return isinstance(error, MemoryError)


def missing_bytes(error: BaseException) -> int | None:
    """What could not be had, as far as the error says.

    Example:
      "Out of memory while trying to allocate 1.50GiB." -> 1610612736
      "OOM when allocating tensor with shape[1024,1024] and type float on ..." -> 4194304
    """
    text = str(error)
    if found := _SIZE.search(text):
        number, unit = found.groups()
        return int(float(number.rstrip(".")) * 1024 ** " KMGTP".index(unit or " "))
    if found := _TENSOR.search(text):
        shape, kind = found.groups()
        return math.prod(int(n) for n in shape.split(",") if n) * _BYTES.get(kind, 4)
    return None


def out_of_memory_message(error: BaseException, remedy: str) -> str:
    """The sentence of an error that `is_out_of_memory`.

    Args:
      error: says what could not be had, or not.
      remedy: what to do.
    """
    missing = missing_bytes(error)
    facts = [f"{size_text(missing)} could not be had"] if missing else []
    tensorflow = sys.modules.get("tensorflow")
    if not (tensorflow and tensorflow.config.list_physical_devices("GPU")):
        facts.append(f"this machine has {size_text(machine_memory())} in all")
    return f"Out of memory: {' and '.join(facts) or 'the GPU has no more'}; {remedy}."
