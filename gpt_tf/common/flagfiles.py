"""Flags from files: files of one's own, and those that come with gpt_tf, by name.

  --flagfile=runs/mine.flags     a path
  --flagfile=gpt1.flags          gpt_tf/flagfiles/gpt1.flags, unless there is a ./gpt1.flags
"""

from collections.abc import Iterable
import os
import pathlib

from gpt_tf.common.errors import UserError

SHIPPED = pathlib.Path(__file__).resolve().parent.parent / "flagfiles"
_NAMES = ("--flagfile", "-flagfile")


def find(name: str) -> str:
    """The path of a flagfile: `name` itself where that exists, else the shipped one of this name.

    Raises:
      UserError: there is neither.
    """
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return path
    shipped = {each.name: str(each) for each in sorted(SHIPPED.glob("*.flags"))}
    if name not in shipped:
        raise UserError(f"--flagfile={name} is neither a file nor the name of one that comes with "
                        f"gpt_tf: {', '.join(shipped)}.")
    return shipped[name]


def expand(arguments: Iterable[str], inside: tuple[str, ...] = ()) -> list[str]:
    """The arguments of a command with the lines of each flagfile in its place, however deep.

    >>> expand(["--flagfile=quickstart.flags", "--num_steps=9"])
    ['--num_layers=2', '--num_heads=4', ..., '--num_steps=1150', ..., '--num_steps=9']

    absl does the same, but for names; after this it finds no flagfile left. As there, a later
    flag wins, and what follows `--` is no flag.

    Args:
      arguments: of a command line, or the lines of a flagfile.
      inside: the flagfiles that `arguments` stand in, outermost first.

    Raises:
      UserError: a flagfile is missing, cannot be read, or contains itself.
    """
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, has_value, value = argument.partition("=")
        if argument == "--":
            return [*found, argument, *rest]
        if option not in _NAMES:
            found.append(argument)
            continue
        if not has_value and not (value := next(rest, "")):
            raise UserError("--flagfile is given without a file: write --flagfile=NAME.")
        if value := value.strip():  # none: no flags
            path = os.path.realpath(find(value))
            if path in inside:
                raise UserError(f"{path} takes its flags from itself (--flagfile={value}): take "
                                "that line out.")
            found += expand(_lines(path), (*inside, path))
    return found


def _lines(path: str) -> list[str]:
    """The lines of a flagfile that are no comments; one that is not UTF-8 may name a file that is
    not."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as stream:
            return [line.strip() for line in stream
                    if not line.isspace() and not line.startswith(("#", "//"))]
    except OSError as error:
        raise UserError(f"Cannot read --flagfile={path}: {error.strerror}.") from error
