"""Small files, read with suspicion: JSON and text, and checksums of those that decide answers.

A byte that flips in a manifest or a list of labels may leave it valid and every answer wrong. So
`SUMS` stands in each data folder, run folder and preset, in the form of the program sha256sum,
which checks it as well (`sha256sum --check SHA256SUMS`).
"""

from collections.abc import Iterable
import functools
import hashlib
import json
import os
import re
import shlex
import stat
import sys
from typing import Any

from gpt_tf.common import cache
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")

# Far more than a manifest of 100,000 shards or a vocabulary of a million tokens takes.
_MOST_TEXT_BYTES = 1 << 26


def json_bytes(value: Any) -> bytes:
    """`value` as indented UTF-8 JSON with a final newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as `json_bytes`, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(json_bytes(value))


def write_recorded(path: str | os.PathLike, data: bytes) -> None:
    """Writes a small file whole or not at all, and its checksum into `SUMS` beside it.

    Killed at any point, `SUMS` lists what stands there: it knows both contents while one takes the
    other's place.

    Raises:
      UserError: the place cannot be written.
    """
    folder, name = os.path.split(os.fspath(path))
    others = [pair for pair in _read_sums(folder) if pair[1] != name]
    new, old = (hashlib.sha256(data).hexdigest(), name), _sum_of(path)
    changes = old is not None and old != new[0]
    _write_sums(folder, [*others, new, *([(old, name)] if changes else ())])
    with atomic_write(path) as stream:
        stream.write(data)
    if changes:
        _write_sums(folder, [*others, new])


def record(folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Lists files of `folder`, as they stand there, in its `SUMS`, for what others have written.

    Raises:
      UserError: one cannot be read, or the place cannot be written.
    """
    names = set(names)
    others = [pair for pair in _read_sums(folder) if pair[1] not in names]
    found = [(_sum_of(os.path.join(folder, name)), name) for name in names]
    _write_sums(folder, others + [pair for pair in found if pair[0]])


def recorded(folder: str | os.PathLike) -> set[str]:
    """The names of the files that the `SUMS` of `folder` lists; none where there is none.

    Raises:
      UserError: it cannot be read, or is damaged.
    """
    return {name for _, name in _read_sums(folder)}


def is_as_recorded(folder: str | os.PathLike, name: str) -> bool:
    """Whether a file of `folder`, of any size, has a checksum that its `SUMS` lists.

    Raises:
      UserError: one of the two cannot be read.
    """
    return (_sum_of(os.path.join(folder, name)), name) in _read_sums(folder)


def notice_without_sums(folder: str | os.PathLike) -> None:
    """Says on standard error, once, that a folder has no `SUMS`."""
    if not os.path.exists(os.path.join(folder, SUMS)):
        _notice(os.path.abspath(folder))


@functools.cache
def _notice(folder: str) -> None:
    print(f"{folder} has no {SUMS}, as folders of older versions: a damaged byte in its small "
          "files would pass unseen.", file=sys.stderr)


def _sum_of(path: str | os.PathLike) -> str | None:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def _write_sums(folder: str | os.PathLike, sums: Iterable[tuple[str, str]]) -> None:
    with atomic_write(os.path.join(folder, SUMS)) as stream:
        for digest, name in sorted(sums, key=lambda pair: pair[1]):
            stream.write(f"{digest}  {name}\n".encode())


def _read_sums(folder: str | os.PathLike) -> list[tuple[str, str]]:
    path = os.path.join(folder, SUMS)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MOST_TEXT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    found = [(_LINE.fullmatch(line), number)
             for number, line in enumerate(text.splitlines(), start=1)]
    for match, number in found:
        if not match:
            raise UserError(f"{path}, line {number} is no checksum of a file: restore it from a "
                            "copy, or remove the file, and nothing is compared with it.")
    return [match.groups() for match, _ in found]


def _check_sum(path: str, data: bytes, what: str) -> None:
    folder, name = os.path.split(path)
    sums = _read_sums(folder)
    wanted = [digest for digest, each in sums if each == name]
    if wanted and hashlib.sha256(data).hexdigest() not in wanted:
        names = shlex.join(sorted({each for _, each in sums
                                   if os.path.exists(os.path.join(folder, each))}))
        remedy = cache.remedy(folder, (
            "restore it from a copy; or, if you changed it yourself, accept it with (cd "
            f"{shlex.quote(folder or '.')} && sha256sum {names} > {SUMS})"))
        raise UserError(f"{path} ({what}) is not as it was written: {SUMS} beside it says so; "
                        f"{remedy}.")


def read_text(path: str | os.PathLike, what: str, errors: str = "strict") -> str:
    """The text of a small file, without a byte order mark; `what` names it in the error.

    With `errors` of "surrogateescape" it may hold bytes that are not UTF-8, as names of files do.

    Where `SUMS` beside it lists the file, its bytes are those.

    Raises:
      UserError: the file is missing, unreadable, no plain file, too large, not UTF-8, or not
        what `write_recorded` wrote.
    """
    path = os.fspath(path)
    try:
        # A pipe or a device would be waited for, or never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"Cannot read {path} ({what}): it is not a plain file.")
        with open(path, "rb") as stream:
            data = stream.read(_MOST_TEXT_BYTES + 1)
        if len(data) > _MOST_TEXT_BYTES:
            raise UserError(f"{path} ({what}) has more than {_MOST_TEXT_BYTES:,} bytes, more than "
                            "such a file ever has: copy it again.")
        _check_sum(path, data, what)
        return data.decode("utf-8-sig", errors)
    except OSError as error:
        raise UserError(f"Cannot read {path} ({what}): {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} ({what}) is not UTF-8 text: {error}.") from error


def parse_json(text: str, **options: Any) -> Any:
    """`json.loads`, whose every complaint about `text` is a ValueError.

    Raises:
      ValueError: not JSON, a whole number of thousands of digits, or nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: str | os.PathLike, what: str) -> Any:
    """Reads a JSON file; `what` names it in the error, e.g. "the data folder's manifest".

    Raises:
      UserError: the file is none of `read_text`, or not JSON: numbers that JSON has no words for
        (NaN), halves of characters and names given twice are errors, too.
    """
    text = read_text(path, what)
    try:
        value = parse_json(text, object_pairs_hook=_without_doubles)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        return value
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} ({what}) is not valid JSON: {error}.") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {twice!r:.40} is given twice")
    return values
