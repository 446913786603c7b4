"""Which checkpoints a folder holds: its files tell, at any instant of a save. No TensorFlow here.

  ckpt-<step>.data-00000-of-00001, ckpt-<step>.index  a checkpoint; its index takes its name last
  part.data-..., part.index, part_temp/               of a save on its way, or cut off
"""

from collections.abc import Iterable
import contextlib
import math
import os
import re
import shutil
from typing import NamedTuple

from gpt_tf.common.files import sync_folder

_FILE = re.compile(r"ckpt-(\d+)\.(index|data-\d+-of-\d+)")
_UNFINISHED = re.compile(r"part[._].*")
UNFINISHED = "part"  # the name of a save on its way
_LAST = f"{UNFINISHED}.index"  # of its files to take its name


class File(NamedTuple):
    """What tells a file from another of its name."""

    inode: int
    size: int
    modified: int  # nanoseconds


def listing(folder: str) -> dict[str, File]:
    """Name -> file, of the files of checkpoints and of a save on its way, all of one instant.

    A checkpoint that is replaced or pruned meanwhile makes another listing.
    """
    while os.path.isdir(folder):
        # One of them may be gone before it is looked at: then another stands there.
        with contextlib.suppress(FileNotFoundError):
            return {name: _file(os.path.join(folder, name)) for name in sorted(os.listdir(folder))
                    if _FILE.fullmatch(name) or _UNFINISHED.fullmatch(name)}
    return {}


def _file(path: str) -> File:
    status = os.stat(path) if os.path.exists(path) else os.lstat(path)  # a link may lead nowhere
    return File(status.st_ino, status.st_size, status.st_mtime_ns)


def data_size(folder: str) -> int:
    """Bytes of the data of all checkpoints."""
    return sum(file.size for name, file in listing(folder).items()
               if _FILE.fullmatch(name) and not name.endswith(".index"))


def steps_in(names: Iterable[str]) -> list[int]:
    """The updates of the checkpoints in a listing, whole or damaged, oldest first.

    Data whose index has not taken its name yet is none: a save is, or was cut off, between its two
    renames.
    """
    is_between = [name for name in names if name.startswith(f"{UNFINISHED}.")] == [_LAST]
    found = filter(None, map(_FILE.fullmatch, names))
    return sorted({int(match[1]) for match in found if not is_between or match[2] == "index"})


def steps(folder: str) -> list[int]:
    """`steps_in` of what is there now."""
    return steps_in(listing(folder))


def milestones(total: int, per_decade: int) -> set[int]:
    """The updates up to `total` at a logarithmic spacing: 10^(k / per_decade), rounded.

    Example (per_decade=3): 1, 2, 5, 10, 22, 46, 100, ...
    """
    if not per_decade:
        return set()
    last = math.ceil(per_decade * math.log10(total))
    steps = {round(10 ** (k / per_decade)) for k in range(last + 1)}
    return {step for step in steps if step <= total}


def publish(folder: str, step: int) -> None:
    """Gives a save its name, its index last, when its bytes have reached the disk."""
    for name in listing(folder):  # by name: "data-..." before "index"
        if name.startswith(f"{UNFINISHED}."):
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(path, os.path.join(
                folder, f"ckpt-{step}" + name.removeprefix(UNFINISHED)))
    sync_folder(folder)


def remove(folder: str, step: int) -> None:
    """Deletes a checkpoint."""
    # The index first: a part that a kill leaves is damaged, and the next save deletes it.
    for name in reversed(listing(folder)):
        match = _FILE.fullmatch(name)
        if match and int(match[1]) == step:
            os.remove(os.path.join(folder, name))


def remove_unfinished(folder: str) -> None:
    """Deletes what a save that was cut off has left."""
    found = listing(folder)
    written = {int(match[1]) for match in map(_FILE.fullmatch, found) if match}
    for step in written.difference(steps_in(found)):
        remove(folder, step)  # before the unfinished index, which tells what it is
    for name in filter(_UNFINISHED.fullmatch, found):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):  # TensorFlow writes into one first
            shutil.rmtree(path)
        else:
            os.remove(path)
