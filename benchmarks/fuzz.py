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
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf import cli
from gpt_tf.files import UserError, make_folder

_INPUTS = flags.DEFINE_integer("inputs", 2000, "Inputs of each target; slow ones get their share.",
                               lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides the inputs.")
_TARGETS = flags.DEFINE_list("targets", [], "Which; none: all.")
_MINUTES = flags.DEFINE_float("max_minutes", 0, "Time for all targets together, each its part; 0: "
                                                "no limit.")
_OUTPUT = flags.DEFINE_string("output_dir", "fuzz", "Folder for the inputs that show defects.")
_REPLAY = flags.DEFINE_string("replay", None, "An input to try again.")

_MOST_SECONDS = 60  # for an input that does not even hear its alarm
_MOST_BYTES = 8 << 30  # resident
_CURRENT = "current.json"  # the input being read
_DEFECT, _CRASH = "defect", "the process died"


def _work(name: str, first: int, count: int, seed: int, seconds: float, folder: str,
          pipe) -> None:
    """Reads inputs first .. count - 1 of a target, and tells of each."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    cli.import_tensorflow()
    from tests import fuzzing

    output, end = pathlib.Path(folder), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        seeds = fuzzing.Seeds(name, pathlib.Path(place))
        pipe.send((first, "ready"))
        for number in range(first, count):
            if time.monotonic() > end:
                break
            changed = seeds.spoil(seed, number)
            fuzzing.save_input(output / _CURRENT, name, changed, _CRASH)
            verdict = seeds.read(changed)
            if verdict.kind == _DEFECT:
                fuzzing.save_input(output / f"{name}-{number}.json", name, changed, verdict.what)
            pipe.send((number + 1, verdict.kind))


def _resident(pid: int) -> int:
    """Bytes; 0 of a process that has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _watch(process, pipe, counts: collections.Counter, done: int) -> int:
    """Counts what the process tells until it ends or must be ended; returns the next input."""
    last = time.monotonic()
    while True:
        try:
            if pipe.poll(0.2):
                done, kind = pipe.recv()
                counts[kind] += kind != "ready"
                last = time.monotonic()
                continue
        except EOFError:
            process.join()
            return done
        if time.monotonic() - last > _MOST_SECONDS or _resident(process.pid) > _MOST_BYTES:
            process.kill()


def _fuzz(name: str, count: int, seconds: float) -> collections.Counter:
    """Verdicts of a target's inputs; a process that dies of one is started again behind it."""
    counts: collections.Counter = collections.Counter()
    context, done, start = multiprocessing.get_context("spawn"), 0, time.monotonic()
    while done < count and (left := seconds - (time.monotonic() - start)) > 0:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(
            name, done, count, _SEED.value, left, _OUTPUT.value, theirs))
        process.start()
        theirs.close()
        done = _watch(process, ours, counts, done)
        if process.exitcode == 0:
            break
        current = os.path.join(_OUTPUT.value, _CURRENT)
        if not os.path.exists(current):
            raise RuntimeError(f"{name}: the valid files could not be read.")
        os.replace(current, os.path.join(_OUTPUT.value, f"{name}-{done}.json"))
        counts[_DEFECT] += 1
        done += 1
    return counts


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
    seconds = _MINUTES.value * 60 / len(names) if _MINUTES.value else float("inf")
    rows, total = [], collections.Counter()
    for name in names:
        count = max(1, round(_INPUTS.value * TARGETS[name].share))
        counts = _fuzz(name, count, seconds)
        total += counts
        rows.append([name, *_columns(counts)])
        print(f"{rows[-1]}", file=sys.stderr, flush=True)
    pathlib.Path(_OUTPUT.value, _CURRENT).unlink(missing_ok=True)
    print(report.markdown_table(["target", "inputs", "refused", "accepted", "defects"],
                                [*rows, ["all", *_columns(total)]]))
    if total[_DEFECT]:
        print(f"Defects are saved in {_OUTPUT.value}: try them again with --replay.")
    sys.exit(total[_DEFECT] > 0)


def _columns(counts: collections.Counter) -> list[str]:
    return [f"{counts.total():,}", *(f"{counts[kind]:,}"
                                     for kind in ("refused", "accepted", _DEFECT))]


if __name__ == "__main__":
    cli.run(main)
