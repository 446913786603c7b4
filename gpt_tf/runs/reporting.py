"""What a run tells about itself: `metrics.jsonl` and TensorBoard, side by side."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import io
import json
import math
import os
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError, written_out
from gpt_tf.common.files import atomic_write, explain_disk_errors, make_folder
from gpt_tf.common.names import in_utf8
from gpt_tf.common.tensorflow_names import literal
from gpt_tf.runs.metrics_log import METRICS, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # who draws none does not wait for its import

# What may begin emphasis, code, a link, a list, a title, a table, an entity, a tag.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>#+\-!|&~=]|(?<=\d)\.")


def as_markdown(text: str) -> str:
    """A text that Markdown shows as it is: its own signs and HTML's become numbered characters."""
    return _MARKDOWN.sub(lambda sign: f"&#{ord(sign[0])};", written_out(text, kept="\n"))


class Reporter:
    """Writes scalars, texts, pictures and histograms of a run, by step, and what TensorBoard
    compares runs by.

    Attributes:
      writes: whether it does; ask before computing what is only reported.

    Args:
      folder: the run folder; TensorBoard names a run by the folder that holds its files, so they
        lie in it, too.
      resume_step: what was reported after it is of updates that are about to be done again, and is
        dropped, here and by TensorBoard; 0 for a fresh run.
      writes: False on a worker that leaves writing to the chief: what it reports is dropped.

    Raises:
      UserError: the rows that are there are damaged, or the folder cannot be written.
    """

    def __init__(self, folder: str, resume_step: int = 0, writes: bool = True):
        self.writes = writes
        self._folder = folder
        self._profiling = False
        self._path = os.path.join(folder, METRICS)
        if not writes:
            return
        make_folder(folder)
        self._keep_rows_until(resume_step)
        with explain_disk_errors(self._path):
            self._stream = open(self._path, "a", encoding="utf-8")  # closed by `close`
        with contextlib.ExitStack() as stack:
            # TensorFlow looks for its file by name at every write.
            self._events = stack.enter_context(literal(folder))
            with self._explain_tensorboard_errors():
                self._summaries = tf.summary.create_file_writer(self._events)
                self._start_session(resume_step + 1)
            self._opened = stack.pop_all()  # closed by `close`

    def _start_session(self, step: int) -> None:
        """Tells TensorBoard that updates go on from `step`: what it has of that and later updates,
        of an earlier session, it drops. The first session of a run drops nothing."""
        event = tf.compat.v1.Event(
            wall_time=time.time(), step=step,
            session_log=tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START))
        # The public functions write summaries alone, and these are no session's.
        tf.raw_ops.ImportEvent(writer=self._summaries._resource, event=event.SerializeToString())
        self._summaries.flush()

    def _keep_rows_until(self, step: int) -> None:
        kept = [row.line for row in read_rows(self._path) if row.step <= step
                ] if os.path.exists(self._path) else []
        with atomic_write(self._path) as stream:
            stream.write(b"".join(kept))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One row of `metrics.jsonl` and one point of each curve."""
        if not self.writes:
            return
        row = {"step": step, **{name: float(f"{value:.7g}") if math.isfinite(value) else None
                                for name, value in values.items()}}
        with explain_disk_errors(self._path):
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        with self._tensorboard_step(step):
            for name, value in values.items():
                # Of TensorBoard's type: a float beyond it is infinite there, and no tensor.
                with np.errstate(over="ignore"):
                    tf.summary.scalar(name, np.float32(value))

    def text(self, step: int, name: str, text: str) -> None:
        """A Markdown text in TensorBoard."""
        if not self.writes:
            return
        with self._tensorboard_step(step):
            tf.summary.text(name, in_utf8(text))

    def histogram(self, step: int, name: str, values: tf.Tensor) -> None:
        """How values of any shape are distributed, in TensorBoard."""
        if not self.writes:
            return
        with self._tensorboard_step(step):
            tf.summary.histogram(name, values)

    def figure(self, step: int, name: str, figure: "Figure") -> None:
        """A picture in TensorBoard."""
        if not self.writes:
            return
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        pixels = tf.io.decode_png(picture.getvalue(), channels=3)
        with self._tensorboard_step(step):
            tf.summary.image(name, pixels[None])

    def settings(self, values: Mapping[str, bool | float | str]) -> None:
        """The run's row in TensorBoard's HParams; its measures are the newest of each scalar.

        May be called again when the run goes on: TensorBoard keeps to what came first.
        """
        if not self.writes:
            return
        from tensorboard.plugins.hparams import api  # who only reads a run does not wait for it

        # Named by its folder: by default runs of equal settings would share a row.
        self._raw(api.hparams_pb({name: in_utf8(value) if isinstance(value, str) else value
                                  for name, value in values.items()},
                                 trial_id=in_utf8(self._folder)))

    def finish(self) -> None:
        """Marks the run as finished in TensorBoard's HParams, which can leave out the others."""
        if not self.writes:
            return
        from tensorboard.plugins.hparams import api_pb2, summary

        self._raw(summary.session_end_pb(api_pb2.STATUS_SUCCESS))

    def layout(self, title: str, charts: Mapping[str, Sequence[str]]) -> None:
        """Which curves share a chart in TensorBoard's Custom Scalars.

        May be called again when the run goes on: TensorBoard shows one of equal layouts.

        Args:
          title: of all these charts together.
          charts: name -> names of scalars.
        """
        if not self.writes:
            return
        from tensorboard.plugins.custom_scalar import layout_pb2, summary

        self._raw(summary.pb(layout_pb2.Layout(category=[layout_pb2.Category(
            title=title, chart=[
                layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(
                    tag=[f"^{re.escape(scalar)}$" for scalar in scalars]))
                for name, scalars in charts.items()])])))

    def _raw(self, summary) -> None:
        """Writes a `Summary` of TensorBoard's own making, which has no course over the steps."""
        with self._tensorboard_step(0):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)

    @contextlib.contextmanager
    def _tensorboard_step(self, step: int) -> Iterator[None]:
        with self._explain_tensorboard_errors():
            with self._summaries.as_default(step=step):
                yield
            self._summaries.flush()

    @contextlib.contextmanager
    def _explain_tensorboard_errors(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            reason = error.message.strip().split("\n", maxsplit=1)[0].rpartition("; ")[2]
            raise UserError(f"Cannot write TensorBoard's files in {self._folder}: {reason}. The "
                            "checkpoints are intact; make room, then run the same command again."
                            ) from error

    def start_profile(self) -> None:
        """Starts recording a profile for TensorBoard."""
        if self.writes:
            tf.profiler.experimental.start(self._events)
            self._profiling = True

    def stop_profile(self) -> None:
        """Writes the profile, if one is being recorded."""
        if self._profiling:
            self._profiling = False
            with self._explain_tensorboard_errors():
                tf.profiler.experimental.stop()

    def close(self) -> None:
        """Writes a profile that is still being recorded, and flushes and closes both files."""
        if not self.writes:
            return
        self.stop_profile()
        self._stream.close()
        with self._explain_tensorboard_errors():
            self._summaries.close()
        self._opened.close()
