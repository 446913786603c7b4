"""Names of folders that TensorFlow takes as they stand, whatever is in them. No TensorFlow here."""

from collections.abc import Iterator
import contextlib
import os
import re
import tempfile

# What its readers of checkpoints and SavedModels take for a pattern, what its file systems take for
# the name of a protocol, and bytes that are not UTF-8, as `os.fsdecode` gives them.
_TAKEN_OTHERWISE = re.compile(r"[*?\[\\\ud800-\udfff]|://")


def is_literal(path: str) -> bool:
    """Whether TensorFlow takes the name as it stands."""
    return not _TAKEN_OTHERWISE.search(path)


@contextlib.contextmanager
def literal(folder: str) -> Iterator[str]:
    """A name for `folder` that TensorFlow takes as it stands, inside the block: its own, or that of
    a temporary link to it.

    Example: with literal("runs/lr[0.1]") as name, name is like "/tmp/gpt_tf-x2k1/folder".

    Args:
      folder: a folder that is there.
    """
    if is_literal(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="gpt_tf-") as place:
        link = os.path.join(place, "folder")
        os.symlink(os.path.realpath(folder), link)
        yield link
