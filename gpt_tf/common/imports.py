"""Imports of large libraries in half their time, for a process that is a command's."""

from collections.abc import Collection, Iterator
import contextlib
import gc
import sys


@contextlib.contextmanager
def lean(absent: Collection[str]) -> Iterator[None]:
    """Inside the block, importing one of these packages fails as if it were not installed.

    A library that makes do without it is then imported without it, and the package itself can be
    imported after the block. The garbage collector rests meanwhile, and never looks at what is
    there at the end: modules and their classes are no garbage, and looking through those of
    TensorFlow again and again takes a quarter of its import, and of every tracing.

    Args:
      absent: top-level packages; those imported before the block stay as they are.
    """
    hidden = set(absent) - set(sys.modules)
    was_collecting = gc.isenabled()
    gc.disable()
    sys.modules.update(dict.fromkeys(hidden))  # None: the import statement does not find it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if was_collecting:
            gc.enable()
