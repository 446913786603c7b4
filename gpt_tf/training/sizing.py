"""What a run of pre-training would take: size and memory by arithmetic, hours by a few updates."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import itertools
import signal
import tempfile
import time
from typing import NamedTuple

from gpt_tf.common import signals
from gpt_tf.common.errors import Interrupted, UserError, reason
from gpt_tf.common.memory import size_text
from gpt_tf.common.progress import Progress
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.model.losses import chunk_length, on_gpu
from gpt_tf.runs.checkpoint_files import milestones
from gpt_tf.runs.reporting import Reporter
from gpt_tf.training import memory, pretraining, products
from gpt_tf.training.distribution import Cluster, check_batch_size
from gpt_tf.training.run import Run
from gpt_tf.training.run_config import PreTrainingRunConfig

# Updates are measured three at a time, until so many seconds have passed: a small model's are too
# short to be told from what else the machine does.
_UPDATES, _SECONDS = 3, 6.0
_VALIDATION_SECONDS = 1.0  # that the batches of a validation are measured for, about
_MORE_DEVICES = (2, 4, 8)  # times those at hand


class Row(NamedTuple):
    """A line of what is printed: what it is, its value, and what there is to say of it."""

    what: str
    value: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.what:<28} {self.value:>14}   {self.note}".rstrip()


@dataclasses.dataclass(frozen=True)
class Timings:
    """What was measured, in seconds.

    updates: how many were measured.
    update: of one.
    start: from the command's start to the first update, compiled; and the first validation's
      programs.
    validation: of one on one batch, with its samples.
    batch: of a validation, each.
    best: to keep the weights of the best validation.
    save: of a checkpoint.
    peak: FLOP/s of all devices at an update's products alone.
    """

    updates: int
    update: float
    start: float
    validation: float
    batch: float
    best: float
    save: float
    peak: float


def size(config: PreTrainingRunConfig, cluster: Cluster, began: float) -> None:
    """Prints what a run would take, and leaves nothing behind.

    Call inside `cluster.owning(None)`, on every worker.

    Args:
      config: the run; what stands in its folder is left alone.
      cluster: the workers that would train it.
      began: when the command did, of `time.perf_counter`.

    Raises:
      UserError: data, flags and memory do not fit together.
      Interrupted: a signal came.
    """
    check_batch_size(cluster.strategy, config.training.batch_size,
                     config.training.micro_batch_size)
    with cluster.together():
        micro_batches = memory.choose(config, cluster.strategy)
        _print([*model_rows(config), *memory_rows(micro_batches), *token_rows(config)])
        micro_batches.check()
    timings = _measure(config, cluster, began)
    _print([*rate_rows(config, timings),
            *duration_rows(config, timings, cluster.strategy.num_replicas_in_sync)])


def _print(rows: Sequence[Row]) -> None:
    print(*rows, sep="\n", flush=True)


def model_rows(config: PreTrainingRunConfig) -> list[Row]:
    """Parameters, and FLOPs of a token."""
    model, length = config.model, config.data.manifest.sequence_length
    tokens, positions = (rows * model.hidden_dim for rows in (
        model.num_token_rows, model.max_sequence_length))
    return [
        Row("parameters", f"{model.num_parameters:,}"),
        Row("  blocks", f"{model.num_parameters - tokens - positions:,}",
            f"{model.num_layers} of width {model.hidden_dim}"),
        Row("  token table", f"{tokens:,}", f"{model.num_token_rows:,} rows"),
        Row("  position table", f"{positions:,}", f"{model.max_sequence_length:,} rows"),
        Row("FLOPs a token", f"{products.flops_per_token(model, length):,.0f}",
            "forward and backward, 6 N + 12 L D T (Chowdhery et al. 2022, PaLM, appendix B)")]


def memory_rows(chosen: memory.MicroBatches) -> list[Row]:
    """Memory by part, as it is estimated."""
    at_once = (f"; {chosen.size} of {chosen.rows} sequences at once"
               if chosen.size < chosen.rows else "")
    return [Row("memory of a device", size_text(chosen.needed),
                f"estimated, of {size_text(chosen.available)}{at_once}"),
            *(Row(f"  {what}", size_text(count)) for what, count in chosen.parts.items() if count)]


def token_rows(config: PreTrainingRunConfig) -> list[Row]:
    """Tokens of the run, and passes over the data."""
    training, manifest = config.training, config.data.manifest
    split, length = manifest.splits["train"], manifest.sequence_length
    windows = config.total_steps * training.batch_size
    padding = 1 - split.tokens / (split.records * length)
    return [
        Row("tokens of the run", f"{windows * length:,}",
            f"{config.total_steps:,} updates of {training.batch_size} x {length}"),
        Row("  passes over the data", f"{windows / split.records:.2f}",
            f"of {split.records:,} windows, {max(0, padding):.0%} of them padding")]


def _measure(config: PreTrainingRunConfig, cluster: Cluster, began: float) -> Timings:
    """Begins the run in a folder that is thrown away, and goes through all that takes its time."""
    with _temporary_folder() as folder:
        run = pretraining.start(dataclasses.replace(
            config, model_dir=folder,
            training=dataclasses.replace(config.training, evaluation_batches=1)), cluster)
        with run.reporting("Dry run", {}) as reporter:
            start, update, count = _time_updates(run, began)
            validation, programs, batch = _time_validation(run, reporter)
        best = _seconds(lambda: run.best.offer(2, {"validation/loss": -1.0}))
        save = _seconds(lambda: run.checkpoints.save(1))
        peak = _peak(run)
    return Timings(count, update, start + programs, validation, batch, best, save, peak)


def _time_updates(run: Run, began: float) -> tuple[float, float, int]:
    """Seconds since `began` until updates are taken; of one, with the wait for its batch; and how
    many were measured."""
    batches = enumerate(iter(pretraining.batches_of(run)), 1)
    take = run.step_function(pretraining.loss_of(run))
    with Progress(None, "update", "measuring") as progress:
        with progress.compiling():
            step, batch = next(batches)
            float(take(batch, step)["loss"])
        begin = time.perf_counter()
        for count in itertools.count(_UPDATES, _UPDATES):
            for step, batch in itertools.islice(batches, _UPDATES):
                values = take(batch, min(step, run.config.total_steps))  # as the schedule ends
            float(values["loss"])  # a GPU may have them still to do
            seconds = time.perf_counter() - begin
            progress.update(_UPDATES)
            if run.cluster.from_chief(seconds >= _SECONDS):
                update = seconds / count
                return begin - began - update, update, count


def _time_validation(run: Run, reporter: Reporter) -> tuple[float, float, float]:
    """Seconds of a validation on one batch, of its programs, and of each batch."""
    if not run.config.validates:
        return 0.0, 0.0, 0.0
    begin = time.perf_counter()
    with Progress(None, "batch", "validating") as progress, progress.compiling():
        validate = pretraining.LanguageModelValidation(run, reporter)
        validate(1, False)
    first = time.perf_counter() - begin
    again = _seconds(lambda: validate(1, False))  # no better than the first: nothing is kept
    data = run.config.data
    count = run.cluster.from_chief(
        min(_validation_batches(run.config, data.manifest),
            max(1, round(_VALIDATION_SECONDS / again))))
    batches = evaluation_batches(data.folder, "validation", run.config.training.batch_size,
                                 run.cluster.share, data.manifest, limit=count)
    seconds = _seconds(lambda: validate.evaluate(batches, data.manifest.splits["validation"]))
    return again, first - again, seconds / count


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _peak(run: Run) -> float:
    """FLOP/s at an update's products alone, of all devices."""
    config, model = run.config, run.config.model
    dtype = "bfloat16" if on_gpu() and config.training.dtype == "mixed_bfloat16" else "float32"
    made = products.of_step(model, config.data.manifest.sequence_length, run.micro_batches.size,
                            chunk_length(model.num_token_rows, model.hidden_dim))
    # The fastest of some calls: a peak is what is reached where nothing else goes on.
    rates = products.measure(made, lambda product: products.with_xla(product, dtype), min)
    # Replicas on processors share those of their machine.
    devices = (run.cluster.strategy.num_replicas_in_sync if on_gpu() else
               run.cluster.share.count)
    return devices * products.peak(made, rates)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder that is gone afterwards, whatever ends the block but SIGKILL.

    Raises:
      UserError: the block's own, which does not name the folder.
    """
    def handler(number, _):
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # while the folder is removed
        raise Interrupted(number, "Stopped; nothing of the dry run is left.")

    with (signals.handled_by(handler, signal.SIGTERM),
          tempfile.TemporaryDirectory(prefix="gpt_tf-dry-run-") as folder):
        try:
            yield folder
        except UserError as error:
            if folder not in str(error):
                raise
            raise UserError(
                f"A dry run saves in {tempfile.gettempdir()}, to see how long that takes, and "
                f"cannot ({reason(error.__cause__ or error)}): name a folder with more room in the "
                "environment variable TMPDIR.") from error


def rate_rows(config: PreTrainingRunConfig, timings: Timings) -> list[Row]:
    """Tokens a second, and the share of the peak."""
    length = config.data.manifest.sequence_length
    rate = config.training.batch_size * length / timings.update
    flops = rate * products.flops_per_token(config.model, length)
    return [Row("tokens a second", f"{rate:,.0f}",
                f"measured: {timings.updates} updates, after the first, which compiles"),
            Row("  share of peak", f"{flops / timings.peak:.0%}",
                f"{flops / 1e9:,.0f} of the {timings.peak / 1e9:,.0f} GFLOP/s that XLA reaches at "
                "these products alone")]


def duration_rows(config: PreTrainingRunConfig, timings: Timings, devices: int) -> list[Row]:
    """How long the run takes, by what takes it, and on more devices.

    Args:
      config: the run.
      timings: what was measured.
      devices: on which it was measured.
    """
    training, total = config.training, config.total_steps
    extra = milestones(total, training.checkpoints_per_decade)
    saves = _times(total, training.save_every) + len(
        [step for step in extra if step % training.save_every and step != total])
    divided, others = total * timings.update, timings.start + saves * timings.save
    parts = [Row("  start, compilation", duration(timings.start)),
             Row("  updates", duration(divided), f"{total:,} of {1e3 * timings.update:,.4g} ms")]
    if config.validates:
        count = _times(total, training.evaluate_every)
        own, *probed = [_validation_batches(config, manifest) for manifest in (
            config.data.manifest, *config.probe_manifests.values())]
        limit = training.evaluation_batches or max([own, *probed])
        each = min(own, limit) + sum(min(batches, limit) for batches in probed)
        # The report after the last update is of the whole splits: of its own once more, as the
        # best weights are chosen by the same batches each time.
        measured = (count * each + (own if own > limit else 0)
                    + sum(max(0, batches - limit) for batches in probed))
        of_batches = measured * timings.batch
        rest = count * (timings.validation - (1 + len(probed)) * timings.batch + timings.best)
        parts.append(Row("  validations", duration(of_batches + rest),
                         f"{count:,} of {each:,} batches, the last of {own + sum(probed):,}; with "
                         "samples, probes and the best weights"))
        divided, others = divided + of_batches, others + rest
    parts.append(Row("  saves", duration(saves * timings.save),
                     f"{saves:,}, as fast as into {tempfile.gettempdir()}"))
    here = Row(f"the run, on {devices} {'device' if devices == 1 else 'devices'}",
               duration(divided + others), "while the machine is as free as it was just now")
    return [here, *parts, *(
        Row(f"on {factor * devices} devices", duration(divided / factor + others),
            "from the measured rate, perfect scaling: an estimate")
        for factor in _MORE_DEVICES if training.batch_size % (factor * devices) == 0)]


def _times(total: int, every: float) -> int:
    """How often something is done that is due at each `every`-th of `total` updates and at the
    end; 0: at the end only."""
    return 1 + (int((total - 1) // every) if every else 0)


def _validation_batches(config: PreTrainingRunConfig, manifest: Manifest) -> int:
    """Batches of the whole validation split of a data folder."""
    return -(-manifest.splits["validation"].records // config.training.batch_size)


def duration(seconds: float) -> str:
    """Example: duration(5400) -> "90.0 minutes"; from two minutes on minutes, from two hours hours.
    """
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} seconds"
