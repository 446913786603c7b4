"""Times exported steps, or trains by one; for a machine with a GPU, numpy and JAX.

  python3 -m benchmarks.gpu.there measure step-a step-b --output=out
  python3 -m benchmarks.gpu.there train step --data step part-2 --minutes=7 --output=out

`measure` compiles all steps at once and then times them one after another; `train` times the step,
chooses as many updates as fit into the minutes, and starts anew. It prints the losses, and leaves
the weights in `out` in files of at most 15 MiB, also where Ctrl-C or SIGTERM ends it; those of
--checkpoints_per_decade in float16, one file each. Run it from the root of a checkout.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import gzip
import json
import os
import signal
import tempfile
import time

import jax
import numpy as np

from benchmarks.gpu import arithmetic, packed, profiling
from benchmarks.gpu.program import Program, Step
from gpt_tf.config import OptimizerConfig
from gpt_tf.data.order import stream
from gpt_tf.model.schedules import corrected_rate
from gpt_tf.runs.checkpoint_files import milestones

_WARMUP = 3
_SCHEDULE = 10_000  # updates of the schedule of a step that is only timed


class Exported:
    """A folder of `benchmarks.gpu.export`."""

    def __init__(self, folder: str):
        self.folder = folder
        self.name = os.path.basename(os.path.normpath(folder))
        with open(os.path.join(folder, "step.json"), encoding="utf-8") as stream_:
            self.described = json.load(stream_)
        self.batch_size = self.described["training"]["batch_size"]
        self.length = self.described["sequence_length"]
        self.optimizer = OptimizerConfig(**self.described["optimizer"])

    def compile(self) -> "Exported":
        """Makes it able to `step`."""
        start = time.monotonic()
        with gzip.open(os.path.join(self.folder, "update.hlo.gz"), "rb") as stream_:
            self.update = Program(stream_.read())
        self.compile_seconds = time.monotonic() - start
        return self

    def step(self) -> Step:
        """The step with its initial weights."""
        return Step(self.update, self.described)


def time_step(exported: Exported, updates: int, profile: str = "") -> dict[str, float]:
    """Trains on random tokens.

    Args:
      exported: the step, compiled.
      updates: timed ones.
      profile: a folder for the profile of two more; "" takes none.

    Returns:
      Figures by name.
    """
    rng = np.random.default_rng(0)
    tokens = rng.integers(exported.described["model"]["vocabulary_size"],
                          size=(exported.batch_size, exported.length)).astype(np.int32)
    lengths = np.full(exported.batch_size, exported.length, np.int32)
    step = exported.step()
    number = 0

    def take(count: int) -> float:
        nonlocal number
        for _ in range(count):
            number += 1
            rate = corrected_rate(exported.optimizer, number, _SCHEDULE)
            loss, _ = step(number, tokens, lengths, rate)
        return float(loss)

    take(_WARMUP)
    start = time.monotonic()
    loss = take(updates)
    seconds = (time.monotonic() - start) / updates
    figures = arithmetic.figures(exported.described, exported.batch_size, seconds)
    memory = jax.devices()[0].memory_stats() or {}
    figures |= {"loss": loss, "compile_seconds": exported.compile_seconds,
                "peak_memory_gib": memory.get("peak_bytes_in_use", 0) / 2**30}
    if profile:
        print(profiling.slowest(lambda: take(2), profile), flush=True)
    return figures


def measure(arguments: argparse.Namespace) -> None:
    """Prints a line for each step; the optimized programs go into the output folder."""
    with ThreadPoolExecutor() as pool:
        compiling = [pool.submit(lambda folder: Exported(folder).compile(), folder)
                     for folder in arguments.steps]
    for folder, future in zip(arguments.steps, compiling):
        if error := future.exception():  # of one step; the others are measured
            print(f"{folder} cannot be compiled: {error}", flush=True)
            continue
        exported = future.result()
        if arguments.output:
            path = os.path.join(arguments.output, f"{exported.name}.hlo.txt.gz")
            with gzip.open(path, "wt") as stream_:
                stream_.write(exported.update.hlo())
        profile = arguments.output and os.path.join(tempfile.gettempdir(), "profile", exported.name)
        figures = time_step(exported, arguments.updates, profile)
        print(json.dumps({"step": exported.name, **figures}), flush=True)


def train(arguments: argparse.Namespace) -> None:
    """Pre-trains, and saves the weights."""
    start = time.monotonic()
    with contextlib.suppress(FileNotFoundError):  # of a training before, which may be waited for
        os.remove(os.path.join(arguments.output, packed.WEIGHTS))
    with _told(arguments.steps[0]):
        exported = Exported(arguments.steps[0])
    if "data" not in exported.described:
        raise SystemExit(f"error: {arguments.steps[0]} was exported without --data_dir")
    with _told("the tokens"):
        token_ids, lengths = packed.read(arguments.data, exported.described["data"])
    exported.compile()
    figures = time_step(exported, arguments.updates)
    left = arguments.minutes * 60 - (time.monotonic() - start)
    per_update = exported.batch_size * exported.length / figures["tokens_per_second"]
    total = arguments.num_steps or int(left / per_update)
    if total < 1:
        raise SystemExit(f"{arguments.minutes} minutes end before the first update: give more.")
    print(json.dumps({"updates": total, "epochs": total * exported.batch_size / len(lengths),
                      **figures}), flush=True)
    order = stream(len(lengths), exported.described["training"]["seed"])
    kept = sorted(milestones(total, arguments.checkpoints_per_decade) - {total})
    step, since, begun, stops = exported.step(), [], time.monotonic(), []
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stops.append(True))
    for number in range(1, total + 1):
        rows = order((number - 1) * exported.batch_size, number * exported.batch_size)
        loss, _ = step(number, token_ids[rows].astype(np.int32), lengths[rows],
                       corrected_rate(exported.optimizer, number, total))
        since.append(loss)
        if number in kept:
            packed.flatten(step.weights()).astype(np.float16).tofile(
                os.path.join(arguments.output, packed.MILESTONE.format(number)))
        if number % arguments.log_every == 0 or number == total or stops:
            mean = np.mean([np.asarray(each) for each in since])
            print(f"update {number}  loss {mean:.4f}  {time.monotonic() - begun:.0f} s", flush=True)
            since.clear()
        if stops:
            print(f"stopped after update {number} of {total}", flush=True)
            break
    packed.write_weights(arguments.output, step.weights(), {
        **exported.described, "updates": number, "planned": total,
        "kept": [each for each in kept if each < number]})


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Ends the program with a sentence where files are not there, or damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise SystemExit(f"error: {what} cannot be read ({error}): carry the whole folder.") from (
            error)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "train"])
    parser.add_argument("steps", nargs="+", help="folders of benchmarks.gpu.export")
    parser.add_argument("--output", default="", help="folder for what is brought back")
    parser.add_argument("--updates", type=int, default=20, help="timed updates of a step")
    parser.add_argument("--data", nargs="*", default=[], help="folders with the packed tokens")
    parser.add_argument("--minutes", type=float, default=7.0, help="of training, all in all")
    parser.add_argument("--num_steps", type=int, default=0, help="updates, instead of minutes")
    parser.add_argument("--checkpoints_per_decade", type=int, default=0,
                        help="updates whose weights are kept, of each tenfold number of updates")
    parser.add_argument("--log_every", type=int, default=200, help="updates")
    arguments = parser.parse_args()
    if arguments.what == "train":
        if len(arguments.steps) != 1 or not arguments.data or not arguments.output:
            parser.error("train takes one step, the folders with its tokens (--data), and one for "
                         "the weights (--output)")
    if arguments.output:
        os.makedirs(arguments.output, exist_ok=True)
    {"measure": measure, "train": train}[arguments.what](arguments)


if __name__ == "__main__":
    main()
