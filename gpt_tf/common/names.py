"""Names that are mistyped, or that name a folder where files are meant."""

from collections.abc import Iterable, Sequence
import contextlib
import difflib
import glob
import itertools
import os

from gpt_tf.common.errors import UserError

_MOST_FOLDERS = 1000  # that are looked through for the files that were meant


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Those of `names` that are most like `name`, the nearest first; none if none is like it.

    Example: nearest("boks", ["data", "books"]) gives ["books"].
    """
    return difflib.get_close_matches(name, list(names), count)


def in_utf8(text: str) -> str:
    """`text` for what takes UTF-8 alone: bytes of names that are none as Python writes them."""
    return text.encode("utf-8", "backslashreplace").decode()


def unused(path: str) -> str:
    """`path`, or where that is there, the first of path-2, path-3, ... that is not."""
    numbered = (f"{path}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.exists(each))


def check_folder(path: str | os.PathLike) -> None:
    """Sees that there is something at `path`.

    Raises:
      UserError: there is no such folder; the nearest name beside it is in the message.
    """
    path = os.path.normpath(path)
    if os.path.exists(path):
        return
    missing = path  # the highest folder on the way that is not there
    while (parent := os.path.dirname(missing)) and not os.path.exists(parent):
        missing = parent
    beside: list[str] = []
    with contextlib.suppress(OSError), os.scandir(parent or os.curdir) as entries:
        beside = [entry.name for entry in entries if entry.is_dir()]
    found = nearest(os.path.basename(missing), beside)
    hint = f"did you mean {os.path.join(parent, found[0])}?" if found else "check the path."
    raise UserError(f"{path}: no such folder; {hint}")


def find_files(flag: str, pattern: str, endings: Sequence[str] = (".txt",)) -> list[str]:
    """The files that a flag names: one, or those that a pattern such as books/*.txt matches.

    Args:
      flag: that names them.
      pattern: its value.
      endings: of the files that the command reads.

    Raises:
      UserError: there is none, or one is a folder.
    """
    paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise UserError(f"--{flag}={pattern}: there is no such file.")
    for path in paths:
        if os.path.isdir(path):
            raise refuse_folder(flag, path, endings)
    return paths


def refuse_folder(flag: str, folder: str, endings: Sequence[str]) -> UserError:
    """The error that `folder` was given where files are named, with a pattern that names them.

    Args:
      flag: that names the files.
      folder: a folder.
      endings: of the files that the command reads.
    """
    patterns = [f"*{each}" for each in _endings_in(folder, endings, 1)] or [
        f"**/*{each}" for each in _endings_in(folder, endings, _MOST_FOLDERS)]
    named = " or ".join(f"--{flag}='{os.path.join(folder, pattern)}'"
                        for pattern in patterns or [f"*{endings[0]}"])
    note = "" if patterns else f"; it holds no {', '.join(endings)} now"
    return UserError(f"--{flag}: {folder} is a folder; name files, as in {named}{note}.")


def _endings_in(folder: str, endings: Sequence[str], most: int) -> list[str]:
    """Those of `endings` that a file in the first `most` folders of `folder` has."""
    names = [name for _, _, files in itertools.islice(os.walk(folder), most) for name in files]
    return [ending for ending in endings if any(name.endswith(ending) for name in names)]
