"""One fuzzed input: spoils files, reads them, and judges what came of it.

What is asked of a reader, whatever it reads: it takes the input, or refuses it with one sentence
(`UserError`, or exit code 1 or 2) that names where the mistake is; in `MOST_SECONDS`; with less
than `MOST_BYTES` of memory more; and it opens, changes or runs nothing outside the input's folder.
"""

import base64
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
from typing import Any
import warnings

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from tests.fuzz_attacks import ATTACKS
from tests.fuzz_mutations import mutate
from tests.fuzz_targets import TARGETS, Target

MOST_SECONDS = 20
MOST_BYTES = 3 << 30
_LONGEST_SENTENCE = 1500
REFUSED, ACCEPTED, DEFECT = "refused", "accepted", "defect"

# Python announces these; no reader has a reason to do one of them.
_NEVER = {"pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
          "os.fork", "socket.connect", "urllib.Request", "webbrowser.open", "ctypes.dlopen"}
_CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link",
            "os.symlink", "os.chmod", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
# Where libraries read what is theirs.
_TRACING = re.compile(  # what TensorFlow writes of a function that it compiles
    re.escape(os.path.realpath(tempfile.gettempdir())) + "(/__pycache__)?/__autograph_generated_")
_LIBRARIES = tuple(map(os.path.realpath, (
    sys.prefix, sys.base_prefix, pathlib.Path(__file__).parent.parent, "/proc", "/sys",
    "/dev/null", "/dev/urandom", "/usr", "/etc/localtime", "/etc/ssl")))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """kind: REFUSED, ACCEPTED or DEFECT; what: the sentence, or what is wrong."""

    kind: str
    what: str


class _Watch:
    """What Python's audit events say of files and programs while an input is read."""

    def __init__(self):
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event in _NEVER:
            self.seen.append(f"{event}{arguments!r:.100}")
        elif event == "open" or event in _CHANGES:
            for path in arguments[:2 if event in ("os.rename", "os.link") else 1]:
                self._check(event, path, arguments)

    def _check(self, event: str, path: Any, arguments: tuple) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if event in ("os.remove", "os.rmdir") and arguments[1] != -1:
            return  # a name in a folder that `shutil.rmtree` has opened
        folder, self.folder = self.folder, None  # what follows is not the reader's doing
        try:
            real = os.path.realpath(os.fsdecode(path))
        except ValueError:
            real = folder  # a name that the system refuses
        self.folder = folder
        writes = event != "open" or bool(arguments[2] and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if real.startswith(folder) or not writes and real.startswith(_LIBRARIES):
            return
        if real != "/dev/null" and not _TRACING.match(real):
            self.seen.append(f"{event} of {real}")


_watch: _Watch | None = None


@contextlib.contextmanager
def _watched(folder: pathlib.Path) -> Iterator[list[str]]:
    global _watch  # an audit hook cannot be taken away
    _watch = _watch or _Watch()
    _watch.folder, _watch.seen = os.path.realpath(folder), []
    try:
        yield _watch.seen
    finally:
        _watch.folder = None


class _TooLong(BaseException):
    pass


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Ends what takes too long, and refuses it too much memory."""
    def end(*_):
        raise _TooLong

    with open("/proc/self/statm", encoding="ascii") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    previous = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judge(call: Callable[[pathlib.Path], Any], folder: pathlib.Path) -> tuple[Verdict, Any]:
    """Reads the folder; returns what came of it, and what was understood of one that is taken."""
    before, understood = _peak(), None
    with _watched(folder) as seen, warnings.catch_warnings(), \
            contextlib.redirect_stdout(io.StringIO()), \
            contextlib.redirect_stderr(io.StringIO()) as errors:
        warnings.simplefilter("ignore")
        try:
            with _bounded():
                understood = call(folder)
            verdict = Verdict(ACCEPTED, "")
        except UserError as error:
            verdict = _judge_sentence(str(error), folder)
        except SystemExit as error:
            said = errors.getvalue().strip()
            verdict = (Verdict(ACCEPTED, "") if not error.code else
                       _judge_sentence(said, folder) if error.code in (1, 2) else
                       Verdict(DEFECT, f"exit code {error.code}: {said}"))
        except _TooLong:
            verdict = Verdict(DEFECT, f"it took more than {MOST_SECONDS} s\n{_where()}")
        except BaseException as error:  # this is what is sought
            verdict = Verdict(DEFECT, f"{type(error).__name__}: {error!s:.300}\n{_where()}")
    if seen:
        verdict = Verdict(DEFECT, f"it went outside: {', '.join(seen[:3])}")
    elif verdict.kind != DEFECT and _peak() - before > MOST_BYTES // 3:
        verdict = Verdict(DEFECT, f"it took {(_peak() - before) >> 20} MiB of memory")
    return verdict, understood


def _where() -> str:
    """The last lines of ours in the traceback, innermost last."""
    return "".join(traceback.format_exc(chain=False).splitlines(keepends=True)[-12:])


def _judge_sentence(sentence: str, folder: pathlib.Path) -> Verdict:
    if "\n" in sentence or not 10 < len(sentence) < _LONGEST_SENTENCE:
        return Verdict(DEFECT, f"not one sentence: {sentence:.600}")
    if str(folder) not in sentence and "--" not in sentence:
        return Verdict(DEFECT, f"it does not say where: {sentence}")
    return Verdict(REFUSED, sentence)


_warm: set[tuple] = set()


def _warm_up(target: Target, folder: pathlib.Path) -> None:
    """Reads once unwatched, so that what is imported and compiled is there."""
    functions = tuple(getattr(each, "func", each) for each in (target.make, target.call))
    if functions not in _warm:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(
                io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.call(folder)
        _warm.add(functions)


class Seeds:
    """The valid files of a target, spoiled and restored.

    Args:
      name: of the target.
      folder: to make, and to write into.
    """

    def __init__(self, name: str, folder: pathlib.Path):
        self.name, self.folder = name, folder / "input"
        self.target: Target = TARGETS[name]
        self.folder.mkdir(parents=True)
        self.target.make(self.folder)
        for path in () if self.target.has_sums else list(self.folder.rglob(SUMS)):
            path.unlink()
        self.files = self._contents()
        self.names = sorted(
            path.relative_to(self.folder).as_posix() for pattern in self.target.spoiled
            for path in self.folder.glob(pattern) if path.is_file())
        self.covered = {path.relative_to(self.folder).as_posix()
                        for pattern in self.target.covered for path in self.folder.glob(pattern)}
        _warm_up(self.target, self.folder)
        self.restore()
        verdict, self.understood = judge(self.target.call, self.folder)
        assert verdict.kind == ACCEPTED, f"{name}: the valid files: {verdict.what}"
        self.restore()

    def _contents(self) -> dict[str, bytes]:
        return {path.relative_to(self.folder).as_posix(): path.read_bytes()
                for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def restore(self) -> None:
        """Makes the folder what it was."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            is_whole = path.is_file() and not path.is_symlink() and name in self.files
            if not is_whole and not path.is_dir():
                path.unlink()
        for name, data in self.files.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def spoil(self, seed: int, number: int) -> dict[str, bytes | None]:
        """Input `number`: the files that change, None for one that is gone."""
        rng = random.Random(f"{seed} {self.name} {number}")
        changed: dict[str, bytes | None] = {}
        for name in rng.sample(self.names, min(len(self.names), rng.choice((1, 1, 1, 1, 2)))):
            if rng.random() < 0.01:
                changed[name] = None
            elif rng.random() < 0.02 and name not in self.covered:
                # A whole shard in another's place is whole: no checksum says which it is.
                changed[name] = self.files[rng.choice(self.names)]
            else:
                changed[name] = mutate(rng, name, self.files[name])
        return changed

    def write(self, changed: dict[str, bytes | None]) -> None:
        """Puts the changed files in their places."""
        for name, data in changed.items():
            if data is None:
                (self.folder / name).unlink()
            else:
                (self.folder / name).write_bytes(data)

    def attack(self, name: str) -> Verdict:
        """What comes of the folder after one of `ATTACKS`; beside it stands what it points at."""
        outside = self.folder.parent / "outside"
        outside.mkdir(exist_ok=True)
        ATTACKS[self.name][name](self.folder)
        for place in ("ckpt-1.index", "ckpt-2.index", "secret.txt"):
            (outside / place).write_text("secret")
        before = {path.name: path.read_bytes() for path in outside.iterdir()}
        verdict, _ = judge(self.target.call, self.folder)
        if {path.name: path.read_bytes() for path in outside.iterdir()} != before:
            verdict = Verdict(DEFECT, "it changed what stands outside")
        elif verdict.kind == ACCEPTED:
            verdict = Verdict(DEFECT, "it was taken")
        self.restore()
        return verdict

    def read(self, changed: dict[str, bytes | None]) -> Verdict:
        """What comes of the folder with these files changed; the folder is then as before."""
        self.write(changed)
        try:
            verdict, understood = judge(self.target.call, self.folder)
        finally:
            self.restore()
        altered = {name for name, data in changed.items() if data != self.files[name]}
        if verdict.kind == ACCEPTED and altered and altered <= self.covered and (
                repr(understood) != repr(self.understood)):
            return Verdict(DEFECT, "it was taken, though a checksum covers what was changed in "
                           f"{', '.join(sorted(altered))}")
        return verdict


def save_input(path: str | os.PathLike, name: str, changed: dict[str, bytes | None],
               what: str) -> None:
    """Writes an input so that `load_input` gives it back."""
    pathlib.Path(path).write_text(json.dumps({
        "target": name, "what": what, "files": {
            file: None if data is None else base64.b64encode(data).decode()
            for file, data in changed.items()}}, indent=1), encoding="utf-8")


def load_input(path: str | os.PathLike) -> tuple[str, dict[str, bytes | None]]:
    """The target's name and the changed files."""
    value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return value["target"], {file: None if data is None else base64.b64decode(data)
                             for file, data in value["files"].items()}
