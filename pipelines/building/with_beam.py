"""Units of work made by Apache Beam, on any of its runners.

An element of the one collection is a parcel, which holds all that is needed to make it. What
comes back are the shards and notes in the data folder: no runner hands results to the process that
started it. Errors of the user come back the same way, and Beam hears of none: it would try again.
"""

import argparse
from collections.abc import Iterator, Sequence
import contextlib
import logging
import os
import threading
from typing import Any, TextIO

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from pipelines.building import notes
from pipelines.building.data_folder import FolderConfig
from pipelines.building.parcels import Parcel, ShardMaker

_INSTALL = "pip install -r requirements.txt -r requirements-beam.txt"

# Beam's own DirectRunner first tries to fetch a program, Prism, which takes no --direct_ flags;
# this is the runner that it falls back to.
_RUNNERS = {"DirectRunner": "FnApiRunner"}
_SECONDS_BETWEEN_LOOKS = 1.0


class Pipeline:
    """One run of Beam, as the command line needs it.

    Args:
      config: the runner, and how many workers.
      options: Beam's own flags.

    Raises:
      UserError: Beam is not installed, or does not know an option.
    """

    def __init__(self, config: FolderConfig, options: Sequence[str]):
        runner = _RUNNERS.get(config.runner, config.runner)
        workers = [f"--num_workers={config.num_workers}"] if config.num_workers else []
        with _quiet(), _explained(config.runner):
            try:
                import apache_beam as beam
            except ImportError as error:
                raise UserError("--runner needs Apache Beam, which is not installed here: "
                                f"{_INSTALL}") from error
            self._pipeline = beam.Pipeline(
                options=_read_options([f"--runner={runner}", *options, *workers]))
        self._runner = config.runner

    def run(self, maker: ShardMaker, parcels: list[Parcel]) -> None:
        """Makes parcels: their shards and their notes in the data folder.

        Raises:
          UserError: the work has met one, or Beam cannot run.
        """
        if not parcels:
            return
        import apache_beam as beam
        folder = maker.output_dir
        # Reshuffled, or a runner may make all of them on one worker.
        _ = (self._pipeline | beam.Create([parcel.alone() for parcel in parcels])
             | beam.Reshuffle() | beam.Map(_MakeThere(maker.elsewhere())))
        with (_quiet() as shown, contextlib.redirect_stderr(shown), _watched(folder, len(parcels)),
              _explained(self._runner)):
            self._pipeline.run().wait_until_finish()
        if sentence := notes.failure(folder):
            raise UserError(sentence)


# Libraries and the tokenizer's memory are one process's, and a runner may give it many threads.
_ONE_AT_A_TIME = threading.Lock()


class _MakeThere:
    """Makes a parcel where a runner needs it made; leaves word of a user's error."""

    def __init__(self, maker: ShardMaker):
        self._maker = maker

    def __call__(self, parcel: Parcel) -> None:
        folder = self._maker.output_dir
        with _ONE_AT_A_TIME:
            # A failed build makes nothing more; an element may be given out a second time.
            if notes.failure(folder) or notes.read(folder, parcel.unit):
                return
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
            try:
                self._maker.make_alone(parcel)
            except UserError as error:
                notes.fail(folder, str(error))


def _read_options(options: list[str]) -> Any:
    """Beam's PipelineOptions.

    Raises:
      UserError: Beam does not know one, or not with that value.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    def refuse(message: str) -> None:
        raise UserError(f"Apache Beam does not take these flags: {message}.")

    def check(parser: argparse.ArgumentParser) -> None:
        parser.error = refuse  # argparse would end the process
        unknown = parser.parse_known_args(options)[1]
        if unknown:
            raise UserError(f"{unknown[0]} is neither a flag of this command (see --help) nor an "
                            "option of Apache Beam.")

    read = PipelineOptions(options)
    read.get_all_options(add_extra_args_fn=check)
    return read


@contextlib.contextmanager
def _watched(folder: str, total: int) -> Iterator[None]:
    """Shows how many units are finished while the block runs."""
    before, done = notes.count(folder), threading.Event()
    with Progress(total, " parts", "building") as progress:
        def watch():
            seen = 0
            while True:
                is_done = done.wait(_SECONDS_BETWEEN_LOOKS)
                now = notes.count(folder) - before
                progress.update(now - seen)
                seen = now
                if is_done:
                    return
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextlib.contextmanager
def _quiet() -> Iterator[TextIO]:
    """`cli.notices_held` for what Beam and its workers say of themselves; it raises errors, too."""
    logging.disable(logging.CRITICAL)
    try:
        with cli.notices_held() as shown:
            yield shown
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _explained(runner: str) -> Iterator[None]:
    """Makes one sentence of what keeps a runner from running; runners raise all kinds."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if "while running" in str(error):
            raise  # in work of ours: a defect
        words = str(error).split() or [type(error).__name__]
        raise UserError(f"--runner={runner}: Beam cannot run: "
                        f"{' '.join(words)[:400]}") from error
