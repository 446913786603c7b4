"""The user's cache: folders that can be made again, each made once."""

from collections.abc import Callable
import os
import re

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import lock_file, make_folder, tidy_folder


def root() -> str:
    """`gpt_tf` in $XDG_CACHE_HOME, or else in ~/.cache.

    Raises:
      UserError: this user has no home.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # as the XDG specification has it
        home = os.path.expanduser("~/.cache")
    if not os.path.isabs(home):
        raise UserError("This user has no home folder to keep a cache in: set XDG_CACHE_HOME to a "
                        "folder.")
    return os.path.join(home, "gpt_tf")


def folder(name: str, make: Callable[[str], object]) -> str:
    """The folder `name` of the cache, made if it is not there.

    Processes that want it at the same time wait for the one that makes it.

    Args:
      name: says all that decides what is in it.
      make: is given the path, and makes the folder there, whole or not at all.

    Raises:
      UserError: the cache cannot be written.
    """
    path = os.path.join(root(), name)
    if os.path.isdir(path):
        return path
    make_folder(root())
    with lock_file(f"{path}.lock", waits=True):
        tidy_folder(root(), re.escape(name))
        if not os.path.isdir(path):
            make(path)
    return path
