"""Files that are whole or absent, and folders with one owner.

Everything the project writes goes through `atomic_write`, so that a kill or a full disk leaves
either the old file or the new one, never a part of one. What stands in a folder of ours may be a
link that somebody made: it is replaced, and what it leads to is left alone.
"""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import shutil
import sys
from typing import BinaryIO

from gpt_tf.common.errors import UserError

STANDARD = "-"  # in place of a path: standard input or output


@contextlib.contextmanager
def explain_disk_errors(path: str) -> Iterator[None]:
    """Turns the system's errors about `path`, whatever their kind, into a `UserError` that names
    it.

    Raises:
      UserError: no space left, no permission, a disk or a network that fails, ...
    """
    try:
        yield
    except OSError as error:
        if error.errno in (None, errno.ENOMEM):  # of Python itself; another sentence
            raise
        raise UserError(
            f"Cannot write {path}: {os.strerror(error.errno)}. What was saved before is intact; "
            "make room or choose another folder, then run the same command again.") from error


def _number() -> str:
    """Ten digits or more that no other writer has: processes of two machines, or of two containers
    one after the other, may have the same number."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"


def _lock(number: int) -> bool:
    """Owns an open file or folder until it is closed; False if another process does. A file system
    without locks keeps nobody out."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _left(parent: str, names: str) -> Iterator[tuple[str, re.Match]]:
    """What a kill has left in a folder of files and folders on their way: writers lock theirs.

    Args:
      parent: the folder.
      names: pattern of the names that they were to take.

    Yields:
      A path, and its name's match: what it was to be, and "part" or "old".
    """
    pattern = re.compile(rf"({names})\.(part|old)-\d{{10,}}")
    found = filter(None, map(pattern.fullmatch, os.listdir(parent or ".")))
    # Others' names are not sorted: every write looks, in folders of many files, too.
    for match in sorted(found, key=lambda each: each[0]):
        path = os.path.join(parent, match[0])
        if not os.path.islink(path):
            with contextlib.suppress(OSError), _opened(path) as number:
                if _lock(number):
                    yield path, match


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """The number of a file or folder, to be locked or waited for."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a binary file that takes the name `path` only when the block ends without an error.

    The bytes reach the disk before the name does, so a power cut cannot leave an empty file. A kill
    leaves `path.part-N`, which the next writer of `path` takes away.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    path = os.fspath(path)
    temporary = f"{path}.part-{_number()}"
    with explain_disk_errors(path):
        parent, name = os.path.split(path)
        for left, _ in _left(parent, re.escape(name)):
            if os.path.isfile(left):
                os.unlink(left)
        try:
            with open(temporary, "wb") as stream:
                _lock(stream.fileno())
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # what went wrong first is what is told
                os.unlink(temporary)


class _Source(io.FileIO):
    """A file whose errors, when it is read, name it."""

    def readinto(self, buffer):
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise UserError(f"Cannot read {self.name}: {error.strerror}.") from error

    def readall(self):
        try:
            return super().readall()
        except OSError as error:
            raise UserError(f"Cannot read {self.name}: {error.strerror}.") from error


def open_to_read(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a binary file, each of whose errors is a sentence.

    Raises:
      UserError: it cannot be opened; and so does whatever reads the stream.
    """
    try:
        return io.BufferedReader(_Source(os.fspath(path)), 1 << 18)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Opens a binary file to read; `STANDARD` is standard input.

    Raises:
      UserError: it cannot be read.
    """
    if path == STANDARD:
        if sys.stdin is None:
            raise UserError("Cannot read standard input: it is closed.")
        yield sys.stdin.buffer
        return
    with open_to_read(path) as stream:
        yield stream


@contextlib.contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """Opens a binary file that a flag names, and makes its folder; `STANDARD` is standard output.

    A plain file is whole or absent, as by `atomic_write`; of a link, the file that it leads to. A
    device or a pipe is written to as the bytes come, and so is what standard output leads to, under
    whatever name (/dev/stdout): a shell may be adding to that file.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    if path == STANDARD or _is_standard_output(path):
        yield sys.stdout.buffer
        return
    # Of a pipe, as /dev/stderr may be one, /proc links to what is no path.
    if not os.path.exists(path) or os.path.isfile(path):
        with explain_disk_errors(path):
            target = os.path.realpath(path)
        make_folder(os.path.dirname(target))
        with atomic_write(target) as stream:
            yield stream
    else:
        with explain_disk_errors(path), open(path, "wb") as stream:
            yield stream


def _is_standard_output(path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def sync_folder(path: str | os.PathLike) -> None:
    """Waits until the names in a folder are on the disk, as `os.fsync` does for a file's bytes."""
    with _opened(path) as number:
        os.fsync(number)


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
    disk before the name does. A kill leaves `path.part-N` or `path.old-N` beside it, which the next
    one who makes `path` sees to (`tidy_folder`).

    Returns:
      The folder to write into.

    Raises:
      UserError: the place cannot be written.
    """
    path = os.path.abspath(path)
    number = _number()
    new, old = f"{path}.part-{number}", f"{path}.old-{number}"
    parent, name = os.path.split(path)
    make_folder(parent)
    tidy_folder(parent, re.escape(name))
    make_folder(new)
    with contextlib.ExitStack() as stack:
        _lock(stack.enter_context(_opened(new)))
        try:
            yield new
            with explain_disk_errors(path):
                _to_disk(new)
                if os.path.isdir(path):
                    _lock(stack.enter_context(_opened(path)))
                    os.rename(path, old)
                os.rename(new, path)
        finally:
            if os.path.isdir(old) and not os.path.exists(path):
                os.rename(old, path)
            _remove(new)
            _remove(old)


def _remove(folder: str) -> None:
    """What the work that is done no longer needs."""
    try:
        if os.path.isdir(folder):
            shutil.rmtree(folder)
    except OSError as error:
        print(f"{folder} cannot be removed ({error.strerror}): whoever makes that folder next "
              "tries again.", file=sys.stderr)


def _to_disk(folder: str) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(path)


def tidy_folder(parent: str, names: str) -> None:
    """Takes away what `atomic_folder` left in `parent` when it was killed.

    A folder that was about to be replaced takes its name back.

    Args:
      parent: the folder above.
      names: pattern of the names.

    Raises:
      UserError: the place cannot be written.
    """
    with explain_disk_errors(parent):
        for path, left in _left(parent, names):
            whole = os.path.join(parent, left[1])
            if not os.path.isdir(path):
                continue
            if left[2] == "old" and not os.path.exists(whole):
                os.rename(path, whole)
            else:
                shutil.rmtree(path)


@contextlib.contextmanager
def lock_file(path: str, waits: bool = False) -> Iterator[None]:
    """Owns the file `path`, made if it is not there, for the block; the system frees it when the
    process ends.

    A file system without locks, as networks have them, is no reason not to work: that is said on
    standard error.

    Raises:
      BlockingIOError: another process owns it, and this one does not wait for it.
      UserError: it cannot be written, or is a link, which may lead out of the folder.
    """
    if os.path.islink(path):
        raise UserError(f"{path} is a link, and a lock is a file: remove it.")
    with explain_disk_errors(path):
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(number):
        try:
            fcntl.flock(number, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            print(f"No lock on {path} ({os.strerror(error.errno)}): see to it that no other "
                  "process writes there meanwhile.", file=sys.stderr)
        yield


@contextlib.contextmanager
def lock_folder(path: str | os.PathLike) -> Iterator[None]:
    """Makes `path` and owns it for the block; the system frees the lock when the process ends.

    Raises:
      UserError: another process owns the folder, or it cannot be written.
    """
    make_folder(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_file(os.path.join(path, ".lock")))
        except BlockingIOError as error:
            raise UserError(f"Another process is writing to {path}: wait for it to end, or name "
                            "another folder.") from error
        yield
