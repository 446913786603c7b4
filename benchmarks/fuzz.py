"""Spoils files of every kind that the project reads, and counts what comes of reading them.

  python -m benchmarks.fuzz --inputs=2000 --seed=0 [--targets=manifest_corpus,keras_preset]
  python -m benchmarks.fuzz --replay=fuzz/keras_preset-17.json

Each input must be taken, or refused with one sentence; a defect is anything else: a traceback, a
message without a place, more than some seconds or gigabytes, a file opened or changed elsewhere,
something unpickled or run, or altered data taken in spite of its checksum (see tests/fuzzing.py).
Defects are saved in --output_dir, to be tried again with --replay. Input n of a target is a
function of --seed and n. One process reads, in the readers' own functions, and another watches it,
so that what never ends or takes all memory is found, too.
"""

import collections
from collections.abc import Iterator
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder

_INPUTS = flags.DEFINE_integer("inputs", 2000, "Inputs of each target; slow ones get their share.",
                               lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides the inputs.")
_TARGETS = flags.DEFINE_list("targets", [], "Which; none: all.")
_MINUTES = flags.DEFINE_float("max_minutes", 0, "Time for all targets together, each its part; 0: "
                                                "no limit.")
_OUTPUT = flags.DEFINE_string("output_dir", "fuzz", "Folder for the inputs that show defects.")
_REPLAY = flags.DEFINE_string("replay", None, "An input to try again.")

_START_SECONDS = 600  # imports and the first valid files, on a busy machine
_MOST_SECONDS = 60  # for an input that does not even hear its alarm
_MOST_BYTES = 8 << 30  # resident
_CURRENT = "current.json"  # the input being read
_DEFECT, _READY, _FINISHED = "defect", "ready", "finished"


def _work(first: dict[str, int], counts: dict[str, int], seed: int, seconds: float, folder: str,
          pipe) -> None:
    """Reads the inputs first .. count - 1 of each target, and tells of each."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    cli.import_tensorflow()
    from tests import fuzzing

    output = pathlib.Path(folder)
    for name, start in first.items():
        with tempfile.TemporaryDirectory() as place:
            seeds = fuzzing.Seeds(name, pathlib.Path(place))
            pipe.send((name, start, _READY))
            end = time.monotonic() + seconds
            for number in range(start, counts[name]):
                if time.monotonic() > end:
                    break
                changed = seeds.spoil(seed, number)
                fuzzing.save_input(output / _CURRENT, name, changed, "the process died")
                verdict = seeds.read(changed)
                if verdict.kind == _DEFECT:
                    fuzzing.save_input(output / f"{name}-{number}.json", name, changed,
                                       verdict.what)
                pipe.send((name, number + 1, verdict.kind))
            pipe.send((name, counts[name], _FINISHED))


def _resident(pid: int) -> int:
    """Bytes; 0 of a process that has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _messages(process, pipe) -> Iterator[tuple[str, int, str]]:
    """What the process tells until it ends, or must be ended."""
    last, limit = time.monotonic(), _START_SECONDS
    while True:
        try:
            if pipe.poll(0.2):
                yield (message := pipe.recv())
                last = time.monotonic()
                limit = _START_SECONDS if message[2] == _FINISHED else _MOST_SECONDS
                continue
        except EOFError:
            process.join()
            return
        if time.monotonic() - last > limit or _resident(process.pid) > _MOST_BYTES:
            process.kill()


def _fuzz(counts: dict[str, int], seconds: float) -> dict[str, collections.Counter]:
    """Verdicts of the targets' inputs; a process that dies of one is started again behind it."""
    verdicts = {name: collections.Counter() for name in counts}
    context, left = multiprocessing.get_context("spawn"), dict.fromkeys(counts, 0)
    while left:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(
            left, counts, _SEED.value, seconds, _OUTPUT.value, theirs))
        process.start()
        theirs.close()
        name, kind = next(iter(left)), _FINISHED
        for name, number, kind in _messages(process, ours):
            left[name] = number
            if kind == _FINISHED:
                del left[name]
                print(f"{name}: {dict(verdicts[name])}", file=sys.stderr, flush=True)
            elif kind != _READY:
                verdicts[name][kind] += 1
        if left and kind == _FINISHED:
            raise RuntimeError(f"The valid files of {next(iter(left))} could not be read.")
        if left:
            os.replace(os.path.join(_OUTPUT.value, _CURRENT),
                       os.path.join(_OUTPUT.value, f"{name}-{left[name]}.json"))
            verdicts[name][_DEFECT] += 1
            left[name] += 1
    return verdicts


def _replay(path: str) -> None:
    """Says what comes of one saved input."""
    cli.import_tensorflow()
    from tests import fuzzing

    try:
        name, changed = fuzzing.load_input(path)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no input that this command has saved ({error}).") from error
    with tempfile.TemporaryDirectory() as place:
        verdict = fuzzing.Seeds(name, pathlib.Path(place)).read(changed)
    print(f"{name}, {', '.join(changed)}: {verdict.kind}. {verdict.what}")
    sys.exit(verdict.kind == _DEFECT)


def main() -> None:
    """Prints a table, and exits with 1 where there are defects."""
    if _REPLAY.value:
        _replay(_REPLAY.value)
    cli.import_tensorflow()
    from tests.fuzz_targets import TARGETS

    names = _TARGETS.value or list(TARGETS)
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        raise UserError(f"--targets names {unknown[0]}, which is none of {', '.join(TARGETS)}.")
    make_folder(_OUTPUT.value)
    verdicts = _fuzz(
        {name: max(1, round(_INPUTS.value * TARGETS[name].share)) for name in names},
        _MINUTES.value * 60 / len(names) if _MINUTES.value else float("inf"))
    total = sum(verdicts.values(), collections.Counter())
    rows = [[name, *_columns(counts)] for name, counts in (*verdicts.items(), ("all", total))]
    pathlib.Path(_OUTPUT.value, _CURRENT).unlink(missing_ok=True)
    print(report.markdown_table(["target", "inputs", "refused", "accepted", "defects"],
                                rows))
    if total[_DEFECT]:
        print(f"Defects are saved in {_OUTPUT.value}: try them again with --replay.")
    sys.exit(total[_DEFECT] > 0)


def _columns(counts: collections.Counter) -> list[str]:
    return [f"{counts.total():,}", *(f"{counts[kind]:,}"
                                     for kind in ("refused", "accepted", _DEFECT))]


if __name__ == "__main__":
    cli.run(main)
