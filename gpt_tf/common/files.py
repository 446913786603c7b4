"""Files that are whole or absent, and folders with one owner.

Everything the project writes goes through `atomic_write`, so that a kill or a full disk leaves
either the old file or the new one, never a part of one.
"""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import sys
from typing import Any, BinaryIO

from gpt_tf.common.errors import UserError

STANDARD = "-"  # in place of a path: standard input or output

# Far more than a manifest of 100,000 shards or a vocabulary of a million tokens takes.
_MOST_TEXT_BYTES = 1 << 26


@contextlib.contextmanager
def explain_disk_errors(path: str) -> Iterator[None]:
    """Turns the system's errors about `path` into a `UserError` that names it.

    Raises:
      UserError: no space left, no permission, a read-only file system, or a folder in the way.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM,
                               errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise
        raise UserError(
            f"Cannot write {path}: {os.strerror(error.errno)}. What was saved before is intact; "
            "make room or choose another folder, then run the same command again.") from error


def _number() -> str:
    """Digits that no other writer has: processes of two machines, or of two containers one after
    the other, may have the same number."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a binary file that takes the name `path` only when the block ends without an error.

    The bytes reach the disk before the name does, so a power cut cannot leave an empty file.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    path = os.fspath(path)
    temporary = f"{path}.part-{_number()}"
    with explain_disk_errors(path):
        try:
            with open(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Opens a binary file to read; `STANDARD` is standard input.

    Raises:
      UserError: it cannot be read.
    """
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    with stream:
        yield stream


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """For what prints: a reader of standard output that goes away (head, less) is no error."""
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sync_folder(path: str | os.PathLike) -> None:
    """Waits until the names in a folder are on the disk, as `os.fsync` does for a file's bytes."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON with a final newline, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def read_text(path: str | os.PathLike, what: str) -> str:
    """The text of a small file, without a byte order mark; `what` names it in the error.

    Raises:
      UserError: the file is missing, unreadable, no plain file, too large or not UTF-8.
    """
    try:
        # A pipe or a device would be waited for, or never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"Cannot read {path} ({what}): it is not a plain file.")
        with open(path, "rb") as stream:
            data = stream.read(_MOST_TEXT_BYTES + 1)
        if len(data) > _MOST_TEXT_BYTES:
            raise UserError(f"{path} ({what}) has more than {_MOST_TEXT_BYTES:,} bytes, more than "
                            "such a file ever has: copy it again.")
        return data.decode("utf-8-sig")
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


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder and its parents; one that is there is fine.

    Raises:
      UserError: the place cannot be written, or a file stands in the way.
    """
    path = os.fspath(path)
    with explain_disk_errors(path):
        try:
            os.makedirs(path, exist_ok=True)
        except FileExistsError as error:
            raise UserError(f"{path} is a file and not a folder: name another.") from error


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[str]:
    """Makes a folder that takes the name `path` only when the block ends without an error.

    One that stands there is replaced, and stays as it was if the block fails. The bytes reach the
    disk before the name does. A kill may leave `path.part-N` or `path.old-N` beside it.

    Returns:
      The folder to write into.

    Raises:
      UserError: the place cannot be written.
    """
    path = os.path.abspath(path)
    number = _number()
    new, old = f"{path}.part-{number}", f"{path}.old-{number}"
    make_folder(new)
    try:
        yield new
        with explain_disk_errors(path):
            _to_disk(new)
            if os.path.isdir(path):
                os.rename(path, old)
            os.rename(new, path)
    finally:
        if os.path.isdir(old) and not os.path.exists(path):
            os.rename(old, path)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _to_disk(folder: str) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(path)


def tidy_folder(parent: str, names: str) -> None:
    """Takes away what `atomic_folder` left in `parent` when it was killed; call as the one who
    makes folders of these names there.

    A folder that was about to be replaced takes its name back.

    Args:
      parent: the folder above.
      names: pattern of the names.

    Raises:
      UserError: the place cannot be written.
    """
    with explain_disk_errors(parent):
        for name in sorted(os.listdir(parent)):
            path = os.path.join(parent, name)
            left = re.fullmatch(rf"({names})\.(part|old)-\d+", name)
            if not left or os.path.islink(path) or not os.path.isdir(path):
                continue
            whole = os.path.join(parent, left[1])
            if left[2] == "old" and not os.path.exists(whole):
                os.rename(path, whole)
            else:
                shutil.rmtree(path)


@contextlib.contextmanager
def lock_folder(path: str | os.PathLike) -> Iterator[None]:
    """Makes `path` and owns it for the block; the system frees the lock when the process ends.

    Raises:
      UserError: another process owns the folder, or it cannot be written.
    """
    make_folder(path)
    lock_path = os.path.join(path, ".lock")
    with explain_disk_errors(lock_path):
        stream = open(lock_path, "a")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"Another process is writing to {path}: wait for it to end, or name "
                            "another folder.") from error
        yield
