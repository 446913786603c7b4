"""Which checkpoints a folder holds: its files tell. No TensorFlow here.

  ckpt-<step>.data-00000-of-00001, ckpt-<step>.index  a checkpoint; its index takes its name last
  part.data-..., part.index                           of a save on its way, or cut off
"""

import glob
import os
import re

_FILE = re.compile(r"ckpt-(\d+)\.(index|data-\d+-of-\d+)")
UNFINISHED = "part"


def names(folder: str) -> list[str]:
    """The files of checkpoints, in no order."""
    found = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in found if _FILE.fullmatch(name)]


def step_of(name: str) -> int:
    """The update that a file of `names` is of."""
    return int(_FILE.fullmatch(name)[1])


def unfinished(folder: str) -> list[str]:
    """Paths of a save on its way, in the order in which they take their names."""
    return sorted(glob.glob(os.path.join(glob.escape(folder), f"{UNFINISHED}.*")))


def steps(folder: str) -> list[int]:
    """The updates of the checkpoints that are there, whole or damaged, oldest first.

    Data whose index has not taken its name yet is none: a save is, or was cut off, between its two
    renames.
    """
    found = names(folder)
    if [os.path.basename(path) for path in unfinished(folder)] == [f"{UNFINISHED}.index"]:
        found = [name for name in found if name.endswith(".index")]
    return sorted({step_of(name) for name in found})
