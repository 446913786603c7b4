"""The user's cache: folders that can be made again, each made once."""

from collections.abc import Callable
import fcntl
import os
import re

from gpt_tf.common.files import explain_disk_errors, make_folder, tidy_folder


def root() -> str:
    """`gpt_tf` in $XDG_CACHE_HOME, or else in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # as the XDG specification has it
        home = os.path.expanduser("~/.cache")
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
    with explain_disk_errors(path):
        stream = open(f"{path}.lock", "a")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        tidy_folder(root(), re.escape(name))
        if not os.path.isdir(path):
            make(path)
    return path
