"""The Trainer: one compiled step, and the cadence of log, validate and save.

It knows nothing of GPT: the loss is a function of a batch, the data an iterable of batches that
is a function of the step. Custom, because `keras.Model.fit` gives wrong updates under
`tf.distribute` (clips before reducing, reduces twice).
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import math
import signal
import time
from typing import Any

import tensorflow as tf

from gpt_tf.common import signals
from gpt_tf.common.errors import Diverged, Interrupted
from gpt_tf.common.progress import Progress
from gpt_tf.config import TrainingConfig
from gpt_tf.model.optimizer import Adam
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.checkpoint_files import milestones
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tasks import metrics
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.train_step import TrainStep

_HOPELESS = 88.0  # nats a token, whose exponential fills a float32


class Trainer:
    """Takes updates and, between them, logs, validates, saves, and heeds signals.

    Args:
      cluster: the workers, of which this is one.
      step_function: (batch, step) -> scalars, a `TrainStep`.
      optimizer: for its learning rate.
      checkpoints: where the run is saved.
      reporter: where the run reports.
      config: the cadence.
    """

    def __init__(self, cluster: Cluster, step_function: TrainStep, optimizer: Adam,
                 checkpoints: Checkpoints, reporter: Reporter, config: TrainingConfig):
        self._cluster = cluster
        self._step_function = step_function
        self._optimizer = optimizer
        self._checkpoints = checkpoints
        self._reporter = reporter
        self._config = config
        self._pending: list[dict[str, tf.Tensor]] = []
        self._waited = 0.0
        self._clock = time.perf_counter()
        self._compiled: set[tuple[bool, tuple[tf.TensorShape, ...]]] = set()
        self._untimed: set[int] = set()  # places in `_pending` of updates that compiled
        self._compiling_seconds = 0.0
        self._highest_loss = 0.0

    def train(self, batches: Iterable[dict[str, tf.Tensor]], start: int, total: int,
              validate: Callable[[int, bool], dict[str, Any]] | None,
              stops_early: Callable[[int], bool]) -> int:
        """Takes updates start + 1 .. total; returns the last that was taken.

        Args:
          batches: element k is this worker's share of the batch of update start + k + 1.
          start: updates already done.
          total: updates of the whole run.
          validate: (step, whether it is the last) -> scalars to report; None: nothing is.
          stops_early: step -> whether the validation after it was the run's end.

        Raises:
          Diverged: the loss is not finite.
          UserError: a checkpoint cannot be written.
          Interrupted: a signal came; the run was saved.
        """
        config = self._config
        kept = milestones(total, config.checkpoints_per_decade)
        with _catch_signals() as received, Progress(total, "update", "training",
                                                    initial=start) as progress:
            self._clock = time.perf_counter()
            for step, batch in zip(range(start + 1, total + 1), self._timed(batches)):
                histograms = _is_due(step, config.histograms_every)
                with self._profiled(step, total), self._compiling(batch, histograms, progress):
                    if histograms:
                        self._report_histograms(step, batch)
                    self._pending.append(self._step_function(batch, step, bool(received)))
                stop = self._is_told_to_stop(received)
                last = step == total
                evaluate = bool(validate) and (last or _is_due(step, config.evaluate_every))
                save = last or step % config.save_every == 0 or step in kept
                shown = {}
                if save or evaluate or stop or step % config.log_every == 0:
                    shown = self._log(step)
                if (save or evaluate or stop) and not self._step_function.is_finite():
                    raise self._diverged(step, "A weight")
                progress.update(1, **shown)
                # The save follows the validation, which may keep the best weights: a kill
                # between them repeats both.
                if evaluate:
                    self._validate(step, last, validate, progress)
                ends = evaluate and not last and stops_early(step)
                if save or stop or ends:
                    with self._cluster.together():
                        self._checkpoints.save(step)
                if ends:
                    progress.write(f"update {step}: no gain in {config.early_stopping} "
                                   "validations, so the run ends here (--early_stopping).")
                    return step
                if stop:
                    raise Interrupted(next(iter(received), signal.SIGTERM),
                                      f"Saved at update {step} of {total}; the same command goes "
                                      "on from there.")
        return total

    def _report_histograms(self, step: int, batch: dict[str, tf.Tensor]) -> None:
        """Of weight matrices and their gradients, as update `step` finds them."""
        for variable, gradient in self._step_function.gradients(batch):
            if len(variable.shape) > 1:
                self._reporter.histogram(step, f"weights/{variable.path}", variable.value)
                self._reporter.histogram(step, f"gradients/{variable.path}", gradient)

    @contextlib.contextmanager
    def _compiling(self, batch: dict[str, tf.Tensor], histograms: bool,
                   progress: Progress) -> Iterator[None]:
        """Around an update: `progress.compiling` if it is the first of this shape, or the first
        that needs the program of its histograms, too."""
        shapes = tuple(tensor.shape for tensor in tf.nest.flatten(batch))
        programs = {(program, shapes) for program in {False, histograms}}
        if programs <= self._compiled:
            yield
            return
        self._compiled |= programs
        begin = time.perf_counter()
        with progress.compiling():
            yield
        self._compiling_seconds += time.perf_counter() - begin
        self._untimed.add(len(self._pending) - 1)

    @contextlib.contextmanager
    def _profiled(self, step: int, total: int) -> Iterator[None]:
        """Around an update: records it if it is one of the five, or fewer at the end of the run,
        that are profiled."""
        first = self._config.profile_step
        if step == first:
            self._reporter.start_profile()
        # Marks the step; costs nothing while nothing is recorded.
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if first and step == min(first + 4, total):
            self._pending[-1]["loss"].numpy()  # what the device has yet to do would be missing
            self._reporter.stop_profile()

    def _timed(self, batches: Iterable) -> Iterator:
        """`batches`, adding up the time that they are waited for."""
        iterator = iter(batches)
        while True:
            begin = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - begin
            yield batch

    def _is_told_to_stop(self, received: list[int]) -> bool:
        """Whether a signal has come; of several workers, to any of them before the newest update.

        Each worker sees its own at once, and all see everybody's at the same update.
        """
        if self._cluster.share.count == 1:
            return bool(received)  # nothing waits for the device
        return float(self._pending[-1]["flags"]) > 0

    def _log(self, step: int) -> dict[str, str]:
        """Reports the updates since the last log; returns what the progress bar shows."""
        values = [{name: float(value) for name, value in row.items()} for row in self._pending]
        self._pending = []
        self._check_finite(values, step - len(values) + 1)
        rate, waited = self._rates(values)
        # A batch without anything to predict has no loss.
        counted = [row for row in values if row["weight"]] or values
        losses = {name: sum(row[name] for row in counted) / len(counted)
                  for name in values[0] if name.endswith("loss")}
        if losses["loss"] > _HOPELESS > self._highest_loss:
            Progress.write(f"update {step}: the loss is {losses['loss']:.4g}, far worse than a "
                           "blind guess: the run has diverged; stop it, and give a lower "
                           "--learning_rate.")
        self._highest_loss = max(self._highest_loss, losses["loss"])
        if len(losses) == 1:  # the exponential of a joint loss is no perplexity
            losses["perplexity"] = metrics.perplexity(losses["loss"])
        self._reporter.scalars(step, {
            **{f"train/{name}": value for name, value in losses.items()},
            "train/learning_rate": self._optimizer.learning_rate(step),
            "train/gradient_norm": values[-1]["gradient_norm"], "train/tokens_per_second": rate,
            "train/input_wait": waited})
        return {**{name: f"{value:.4g}" for name, value in losses.items()},
                "tokens/s": f"{rate:.0f}"}

    def _rates(self, values: list[dict[str, float]]) -> tuple[float, float]:
        """Tokens a second, and the share of time that input was waited for, since the last log.

        Updates that compiled do not count, unless there are no others.
        """
        seconds = time.perf_counter() - self._clock
        timed = [row for place, row in enumerate(values) if place not in self._untimed]
        if timed:
            seconds -= self._compiling_seconds
        rates = (sum(row["tokens"] for row in timed or values) / seconds, self._waited / seconds)
        self._clock, self._waited = time.perf_counter(), 0.0
        self._untimed, self._compiling_seconds = set(), 0.0
        return rates

    def _check_finite(self, values: list[dict[str, float]], first_step: int) -> None:
        for step, row in enumerate(values, start=first_step):
            if not (math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"])):
                raise self._diverged(step, "The loss or its gradient",
                                     f" (loss {row['loss']:.7g}, gradient norm "
                                     f"{row['gradient_norm']:.7g})")

    def _diverged(self, step: int, what: str, figures: str = "") -> Diverged:
        """The error that `what` is not finite at update `step`.

        The same numbers follow from whatever is saved, so no start is saved for this: the seed, or
        the run that it is from, gives it again.
        """
        latest = self._checkpoints.latest
        remedy = "a lower --learning_rate" + (
            "" if self._config.dtype == "float32" else ", or --dtype=float32")
        way = (f"The last good checkpoint is {latest}: the same flags come here again; give "
               f"{remedy}, with --overwrite to start anew, or with --init_from and another "
               "--model_dir to start from the run's weights." if latest else
               f"Nothing was saved before: run the same command with {remedy}.")
        return Diverged(f"{what} is not finite at update {step}{figures}. {way}")

    def _validate(self, step: int, last: bool, validate, progress: Progress) -> None:
        scalars = validate(step, last)
        self._reporter.scalars(step, scalars)
        progress.write(f"update {step}: " + ", ".join(
            f"{name} {value:.4g}" for name, value in scalars.items()))
        if any(name.endswith("loss") and not math.isfinite(value)
               for name, value in scalars.items()):
            raise self._diverged(step, "The validation loss")
        # The rate of training does not count the time of validation.
        self._clock = time.perf_counter()


def _is_due(step: int, every: float) -> bool:
    """Whether a multiple of `every`, which need not be whole, was reached by this step."""
    return every > 0 and step // every > (step - 1) // every


@contextlib.contextmanager
def _catch_signals():
    """A list that SIGTERM, SIGHUP and Ctrl-C append their number to; a second SIGTERM or Ctrl-C
    ends at once."""
    received: list[int] = []

    def handler(number, _):
        received.append(number)
        if number != signal.SIGHUP:  # of a terminal that is closed the shell sends a second one
            signal.signal(number, previous[number])

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with signals.handled_by(handler, *previous):
        yield received
