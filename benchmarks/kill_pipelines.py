"""Kills the pipelines at random instants and compares what they make in the end, byte for byte.

  python -m benchmarks.kill_pipelines --input='books/*.txt' --tokenizer=bpe --kills=20

Each trial starts `pipelines.build_corpus` or `pipelines.build_task` (in turn; the task is which
book a few words are of), sends SIGKILL to its whole process group at a random instant, starts the
same command again, and compares every file with an unbroken build's. The instants are of its whole
life, and in every other pair of trials between two of its shards, for which start-up would leave
few. Shards that were finished at the kill should not be made again: those whose file is another one
afterwards are counted. With --flags the commands get more, such as --flags=--runner=DirectRunner.
"""

import collections
import dataclasses
import glob
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import flags

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from pipelines.building import notes

_INPUT = flags.DEFINE_string("input", None, "Glob of UTF-8 text files.", required=True)
_TOKENIZER = flags.DEFINE_string("tokenizer", None, "Tokenizer's folder.", required=True)
_KILLS = flags.DEFINE_integer("kills", 20, "Instants tried, over both commands.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 1, "Decides the instants.")
_SHARD = flags.DEFINE_float("shard_megabytes", 0.5, "Of build_corpus.")
_FLAGS = flags.DEFINE_multi_string("flags", [], "Another flag for both commands.")


# A shard of a task is 16,384 rows: few enough words for a few books to make several.
_WORDS_OF_A_ROW = 8


def write_rows(folder: str) -> list[str]:
    """The words of the books as rows of a task; the flags of build_task that name it."""
    paths = sorted(glob.glob(_INPUT.value))
    labels = [f"book {number}" for number in range(len(paths))]
    with open(f"{folder}/rows.jsonl", "w", encoding="utf-8") as rows:
        for label, path in zip(labels, paths):
            words = pathlib.Path(path).read_text(encoding="utf-8").split()
            for first in range(0, len(words), _WORDS_OF_A_ROW):
                text = " ".join(words[first:first + _WORDS_OF_A_ROW])
                rows.write(json.dumps({"words": text, "book": label}) + "\n")
    with open(f"{folder}/spec.json", "w", encoding="utf-8") as spec:
        json.dump({"name": "books", "form": "classification", "fields": {"text": "words"},
                   "label": "book", "labels": labels, "metrics": ["accuracy"]}, spec)
    return [f"--task={folder}/spec.json", f"--input={folder}/rows.jsonl", "--on_bad_row=skip"]


def start(command: list[str], folder: str) -> subprocess.Popen:
    """Starts a build of `folder` as the leader of a group of processes."""
    return subprocess.Popen(
        [sys.executable, "-m", *command, f"--output_dir={folder}"], start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_units(process: subprocess.Popen, folder: str, units: int) -> None:
    """Waits until the build of `folder` writes and has finished some units, or is over."""
    place = os.path.join(folder, notes.FOLDER)
    while process.poll() is None and not (
            os.path.isdir(place) and len(glob.glob(f"{place}/*.json")) >= units):
        time.sleep(0.002)


def build(command: list[str], folder: str) -> tuple[float, float]:
    """Builds `folder` to the end; returns the seconds, and those of them before it wrote.

    Raises:
      UserError: the command failed, and not because all was done before.
    """
    began = time.monotonic()
    with start(command, folder) as process:
        wait_for_units(process, folder, 0)
        silent = time.monotonic() - began
        errors = process.communicate()[1]
    if process.returncode and "holds a finished data folder" not in errors:
        raise UserError(f"{' '.join(command)} failed: {errors[-2000:]}")
    return time.monotonic() - began, silent


def kill(command: list[str], folder: str, seconds: float, units: int) -> bool:
    """Starts a build and kills its group `seconds` later, or after it finished some units.

    Returns:
      Whether it was alive.
    """
    with start(command, folder) as process:
        if units:
            wait_for_units(process, folder, units)
        time.sleep(seconds)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
    return alive


def contents(folder: str) -> dict[str, bytes]:
    """All files by their name in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def finished(folder: str) -> dict[str, tuple[int, int]]:
    """Shards that a note or the manifest vouches for -> which file of the disk each is."""
    place = pathlib.Path(folder)
    if (place / "manifest.json").exists():
        names = [path.name for path in place.glob("*.tfrecord")]
    else:
        names = [split["shard"]["name"] for path in (place / notes.FOLDER).glob("*.json")
                 for split in json.loads(path.read_text())["splits"].values() if split["shard"]]
    states = {name: (place / name).stat() for name in names}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


@dataclasses.dataclass
class Command:
    """A command, and what it makes when nothing disturbs it."""

    arguments: list[str]
    seconds: float
    silent_seconds: float
    files: dict[str, bytes]

    @property
    def shards(self) -> int:
        """How many it makes."""
        return sum(name.endswith(".tfrecord") for name in self.files)


def attempt(command: Command, folder: str, units: int, part: float) -> collections.Counter:
    """One kill and one restart.

    Args:
      command: what is killed.
      folder: where it builds.
      units: how many it has finished when the clock starts; 0: from its start.
      part: when it is killed: a share of its life, or of its time for one shard.
    """
    writing = command.seconds - command.silent_seconds
    instant = part * (writing / command.shards if units else command.seconds)
    alive = kill(command.arguments, folder, instant, units)
    before = finished(folder) if os.path.isdir(folder) else {}
    build(command.arguments, folder)
    after = finished(folder)
    again = sum(after.get(name) != file for name, file in before.items())
    same = contents(folder) == command.files
    print(f"{command.arguments[0]} killed {instant:5.2f} s after {units or 'its start'}"
          f"{'' if alive else ' (it had ended)'}: {len(before):2d} of {command.shards} shards were "
          f"finished, {len(after) - len(before) + again} made after it, {again} of them again: "
          f"{'identical' if same else 'DIFFERENT'}", flush=True)
    return collections.Counter(identical=same, again=again, finished=len(before),
                               shards=command.shards, between=0 < len(before) < command.shards)


def main() -> None:
    """Prints a line for each instant, and the sums."""
    instants = random.Random(_SEED.value)
    total: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for name, own in (("build_corpus", [f"--input={_INPUT.value}",
                                            f"--shard_megabytes={_SHARD.value}"]),
                          ("build_task", write_rows(folder))):
            arguments = [f"pipelines.{name}", f"--tokenizer={_TOKENIZER.value}", *own,
                         *_FLAGS.value]
            seconds = build(arguments, f"{folder}/{name}")
            commands.append(Command(arguments, *seconds, contents(f"{folder}/{name}")))
            print(f"{arguments[0]} unbroken: {seconds[0]:.1f} s, of them {seconds[1]:.1f} before "
                  f"it writes; {commands[-1].shards} shards", flush=True)
        for trial in range(_KILLS.value):
            command = commands[trial % 2]
            units = instants.randrange(1, command.shards) if trial % 4 > 1 else 0
            total += attempt(command, f"{folder}/{trial}", units, instants.random())
    print(f"{total['identical']} of {_KILLS.value} ended bit-identical; {total['finished']} of "
          f"{total['shards']} shards were finished at the kills, {total['again']} of them made "
          f"again; {total['between']} kills fell between the first and the last shard.")
    sys.exit(total["identical"] != _KILLS.value or total["again"] > 0)


if __name__ == "__main__":
    cli.run(main)
