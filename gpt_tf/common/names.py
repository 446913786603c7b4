"""Names that are mistyped, and the files that names, globs and folders mean."""

from collections.abc import Iterable, Sequence
import contextlib
import difflib
import glob
import itertools
import os
import re
import sys

from gpt_tf.common.errors import UserError, written_out

_MOST_COMMAS = 8  # in the name of one file


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Those of `names` that are most like `name`, the nearest first; none if none is like it.

    Example: nearest("boks", ["data", "books"]) gives ["books"].
    """
    return difflib.get_close_matches(name, list(names), count)


def in_utf8(text: str) -> str:
    """`text` for what takes UTF-8 alone: bytes of names that are none as Python writes them."""
    return text.encode("utf-8", "backslashreplace").decode()


def file_stem(name: str) -> str:
    """A part of a file's name for what a user may have called anything: its letters and digits,
    of which 80 bytes at the most.

    Example: file_stem("Is it A/B?") is "Is-it-A-B-".
    """
    return re.sub(r"\W+", "-", name).encode("utf-8")[:80].decode("utf-8", "ignore")


def unused(path: str) -> str:
    """`path`, or where that is there, the first of path-2, path-3, ... that is not."""
    numbered = (f"{path}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.exists(each))


def folders_in(path: str) -> list[str]:
    """The names of the folders in a folder; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir()]
    return []


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
    found = nearest(os.path.basename(missing), folders_in(parent or os.curdir))
    hint = f"did you mean {os.path.join(parent, found[0])}?" if found else "check the path."
    raise UserError(f"{path}: no such folder; {hint}")


def find_files(flag: str, value: str, endings: Sequence[str] = (".txt",)) -> list[str]:
    """The files that a flag names, each once, in the order of `split_names` and `match_files`.

    Args:
      flag: that names them.
      value: its value.
      endings: of the files that the command reads.

    Raises:
      UserError: see `match_files`; or the value is empty.
    """
    names = split_names(value)
    if not names:
        raise UserError(f"--{flag} is empty: name files, separated by commas.")
    return list(dict.fromkeys(itertools.chain.from_iterable(
        match_files(flag, name, endings) for name in names)))


def split_names(value: str) -> list[str]:
    """The names in a list separated by commas. What is there with commas in its name is one name.

    Example: where there is a file "Whale, The.txt", "a.txt,Whale, The.txt" gives
      ["a.txt", "Whale, The.txt"].
    """
    names, parts = [], value.split(",")
    start = 0
    while start < len(parts):
        joined = itertools.accumulate(parts[start:start + _MOST_COMMAS + 1], "{},{}".format)
        found = [count for count, name in enumerate(joined, start=1)
                 if os.path.exists(os.path.expanduser(name.strip()))]
        end = start + max(found, default=1)
        names.append(",".join(parts[start:end]).strip())
        start = end
    return list(filter(None, names))


def split_paths(value: str) -> list[str]:
    """The paths in such a list, each once; `~` is the home."""
    return list(dict.fromkeys(map(os.path.expanduser, split_names(value))))


def match_files(flag: str, name: str, endings: Sequence[str]) -> list[str]:
    """The files that one name means; `~` is the home.

    A file of that name is meant, whatever its ending. Of a folder all files in it and below are
    that have one of the endings, sorted; how many are left out is said, but for hidden ones. Else
    the name is a glob, whose files are sorted. Unless it spells an ending, as `*.md` does, they
    must have one of those given.

    Args:
      flag: that gives the name.
      name: the name.
      endings: in small letters; those of files may be in capitals.

    Raises:
      UserError: there is no such file, or one is of no kind that is read.
    """
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        return _files_below(flag, path, endings)
    found = sorted(glob.glob(path, recursive=True))
    paths = [each for each in found if os.path.isfile(each)]
    if found and not paths:
        raise UserError(f"--{flag}: {name!r} matches folders alone, such as {found[0]}; name one "
                        f"folder, or the files in them, as in --{flag}='{name.rstrip('/')}/*'.")
    if not paths:
        raise UserError(f"--{flag}: no file matches {name!r}; check the path, and put quotes "
                        "around a glob so that the shell leaves it alone.")
    ending = os.path.splitext(path)[1]
    if not ending or glob.has_magic(ending):
        for each in paths:
            if not has_ending(each, endings):
                raise UserError(f"--{flag}: {each} is none of {_list(endings)}; narrow the "
                                "glob, as in '*.txt'. A file that is named without one, or by a "
                                "glob that ends as it does, is read as text.")
    return paths


def _list(endings: Iterable[str]) -> str:
    """The endings without those of compressed files."""
    return ", ".join(ending for ending in endings if ending.count(".") == 1)


def has_ending(path: str, endings: Iterable[str]) -> bool:
    """Whether a file's name ends in one of `endings`, in small letters or in capitals."""
    return path.lower().endswith(tuple(endings))


def _files_below(flag: str, folder: str, endings: Sequence[str]) -> list[str]:
    """See `match_files`."""
    def fail(error: OSError) -> None:
        raise UserError(f"--{flag}: cannot read the folder {error.filename}: {error.strerror}.")

    found, others = [], []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in names:
            if not name.startswith("."):
                (found if has_ending(name, endings) else others).append(os.path.join(place, name))
    if not found:
        raise UserError(f"--{flag}: the folder {folder} holds no {_list(endings)}; name "
                        "files, or a folder of such.")
    if others:
        print(f"--{flag}: {len(others):,} files in {written_out(folder)} are none of "
              f"{_list(endings)} and are left out, such as {written_out(min(others))}.",
              file=sys.stderr)
    return sorted(found)
