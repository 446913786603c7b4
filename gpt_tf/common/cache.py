"""The user's cache: folders that can be made again, each made once."""

from collections.abc import Callable, Mapping
import hashlib
import os
import re

import gpt_tf
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import lock_file, make_folder, open_to_read, tidy_folder


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


def holds(path: str) -> bool:
    """Whether a folder is one of the cache's, which no user has named."""
    try:
        return os.path.realpath(os.path.dirname(os.path.abspath(path))) == os.path.realpath(root())
    except UserError:
        return False


def remedy(path: str, otherwise: str) -> str:
    """What to do about something damaged.

    Args:
      path: the folder that it stands in, or one in that of a run.
      otherwise: the remedy outside of the cache.
    """
    for folder in (path, os.path.dirname(path)):
        if holds(folder):
            return f"remove {folder}, and it is made anew"
    return otherwise


def digest(paths: Mapping[str, str]) -> str:
    """32 digits that name the content of files, under this release.

    Args:
      paths: name -> path; the names count, and not where the files are.

    Raises:
      UserError: one cannot be read.
    """
    found = hashlib.sha256(gpt_tf.__version__.encode())
    for name in sorted(paths):
        with open_to_read(paths[name]) as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        found.update(os.fsencode(name) + b"\0" + content)
    return found.hexdigest()[:32]


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
