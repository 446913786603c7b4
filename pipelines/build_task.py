"""Makes a data folder for fine-tuning from the public files of a task, or from your own.

  python -m pipelines.build_task --task=sst2 --input=SST-2/ --tokenizer=bpe --output_dir=data/sst2
  python -m pipelines.build_task --task=dpr --zero_shot --input=DPR/train.c.txt \\
      --tokenizer=runs/gpt1 --output_dir=data/dpr

--task is a task of the paper, or your own spec.json (see pipelines/tasks/spec.py). --input is the
folder of its original files, or tfds:NAME, a data set that tensorflow-datasets has prepared; your
own files may be named one by one (see pipelines/tasks/rows.py). Each row becomes the sequences
of Figure 1 of the paper; with --zero_shot those of its section 5, "Zero-shot Behaviors", which a
pre-trained model answers as it is (cola, sst2, race_middle, race_high, story_cloze, and dpr, which
also reads Winograd schemas). The folder is all that fine-tuning, or gpt_tf.zero_shot, needs; the
same input and flags make the same bytes. The same command again goes on where it was stopped.

With --runner, Apache Beam makes the shards, on machines that see --input, --tokenizer and
--output_dir under the same names:

  python -m pipelines.build_task --task=sst2 --input=SST-2/ --tokenizer=bpe \\
      --output_dir=data/sst2 --runner=DirectRunner --direct_num_workers=4 \\
      --direct_running_mode=multi_processing
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import os
import time

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.config import option
from gpt_tf.data.manifest import TASK, ZERO_SHOT, Manifest, Shard, TaskSplit
from gpt_tf.tasks import forms
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes, with_beam
from pipelines.building.data_folder import DataFolder, FolderConfig
from pipelines.building.encoders import Encoders
from pipelines.building.plan import VALIDATION
from pipelines.tasks import description, table
from pipelines.tasks import encoding as task_encoding
from pipelines.tasks import rows as task_readers
from pipelines.tasks import shards as task_shards


@dataclasses.dataclass(frozen=True)
class TaskConfig(FolderConfig):
    """Which task, where its rows stand, and how they are cut.

    Raises:
      ValueError: a value is missing or out of range.
    """

    task: str = option("", "A task of the paper, such as sst2; or a spec.json of your own.",
                       required=True)
    input: str = option("", "Folder of the task's files, or tfds:NAME; of your own task also a "
                        "file, or train=FILE,validation=FILE,...", required=True)
    zero_shot: bool = option(False, "Make data for gpt_tf.zero_shot instead of fine-tuning.")
    # Start, delimiter, extract and a token of text.
    max_length: int = option(512, "Tokens of a sequence at the most; longer text is shortened.",
                             at_least=4)
    validation_fraction: float = option(
        0.1, "Where the input has no validation split, about this share of the training rows is "
        "it; 0: none. With --zero_shot there is none.", at_least=0, below=1)
    on_bad_row: str = option("stop", "What to do about a row with wrong columns, an unknown label "
                             "or no text.", choices=("stop", "skip"))
    tfds_dir: str = option("", "Where tensorflow-datasets has prepared its data sets; empty: its "
                           "own place, ~/tensorflow_datasets.")

    @property
    def kind(self) -> str:
        """The kind of data folder that is made."""
        return ZERO_SHOT if self.zero_shot else TASK

    @property
    def shared_fraction(self) -> float:
        """The share of training rows that may be taken for validation: none if nothing trains."""
        return 0.0 if self.zero_shot else self.validation_fraction


def _with_progress(encoded: Iterable[task_encoding.EncodedChunk],
                   total: int) -> Iterator[task_encoding.EncodedChunk]:
    with Progress(total, " rows", "building") as progress:
        for chunk in encoded:
            yield chunk
            progress.update(chunk.totals.counts["documents"])


def _make_split(share: task_shards.Share, shards: list[Shard],
                totals: task_encoding.Totals) -> TaskSplit:
    counts, left_out = totals.counts, totals.left_out + share.left_out
    return TaskSplit(
        shards=tuple(shards), documents=counts["documents"] + share.left_out.total(),
        labelled=None not in totals.labels, left_out=dict(sorted(left_out.items())),
        **{name: counts[name] for name in ("records", "tokens", "predicted_tokens", "text_bytes",
                                           "shortened")})


def _describe_task(row: description.TaskRow, zero_shot: bool) -> Task:
    """What the manifest says of the task.

    Raises:
      UserError: the paper does not fine-tune on it, or does not answer it zero-shot.
    """
    if zero_shot and row.zero_shot is None:
        known = ", ".join(name for name, each in table.TASKS.items() if each.zero_shot)
        raise UserError(f"--zero_shot: the paper has no heuristic for {row.name}, only for "
                        f"{known}; leave the flag out to make data for fine-tuning.")
    if not zero_shot and row.form not in forms.FORMS:
        raise UserError(f"--task={row.name} is only measured as it is: nothing is fine-tuned on "
                        "it; add --zero_shot.")
    return row.zero_shot_task() if zero_shot else row.task()


def build(config: TaskConfig, beam_options: Sequence[str] = ()) -> Manifest:
    """Makes the data folder; prints how far it is, and in the end what it made.

    What an earlier call with the same values had finished before it was stopped stays as it is.

    Args:
      config: the flags.
      beam_options: with `config.runner`, Beam's own flags.

    Raises:
      UserError: anything wrong with task, input, tokenizer, flags or folder.
    """
    start = time.monotonic()
    folder = DataFolder(config, command="pipelines.build_task")
    settings = _make_settings(config)
    if config.input.startswith("tfds:"):
        cli.import_tensorflow()  # opening a data set would, with all its notices
    sources = settings.open()
    # The processes start first: they load the tokenizer while this one imports TensorFlow.
    with contextlib.ExitStack() as stack:
        make = _make_with_beam(config, beam_options) if config.runner else _make_here(
            stack.enter_context(Encoders(config.tokenizer, config.num_workers)), sources)
        cli.import_tensorflow()
        tokenizer = Tokenizer.load(config.tokenizer)
        stack.enter_context(folder.own())
        shares = task_shards.plan_shares(sources, config.shared_fraction)
        work = [task_shards.Parcel(settings.unit(share, shard, tokenizer), share, shard)
                for share in shares for shard in share.shards]
        if not work:
            raise UserError(f"--input={config.input} holds no rows: every one is bad or its files "
                            "are empty.")
        units = [parcel.unit for parcel in work]
        unmade = folder.begin(units)
        make(settings, [parcel for parcel in work if parcel.unit in unmade])
        shards, totals = _totals_of(work, notes.collect(config.output_dir, units))
        splits = {share.split: _make_split(share, shards[share.split], totals[share.split])
                  for share in shares}
        if not any(split.records for split in splits.values()):
            raise UserError("--input holds no row with text in it.")
        manifest = Manifest(
            kind=config.kind, sequence_length=config.max_length, task=settings.encoding.task,
            vocabulary_size=tokenizer.vocabulary_size, splits=splits,
            tokenizer_fingerprint=tokenizer.fingerprint, flags=config.decisive_flags())
        folder.finish(tokenizer, manifest)
    _print_summary(config, manifest, totals, shares, time.monotonic() - start)
    return manifest


def _make_settings(config: TaskConfig) -> task_shards.Settings:
    """What all shards have in common, with paths that any process finds."""
    row = table.find_task(config.task)
    encoding = task_encoding.RowEncoding(os.path.abspath(config.tokenizer), _describe_task(
        row, config.zero_shot), config.max_length, config.on_bad_row)
    return task_shards.Settings(row, config.input, config.tfds_dir, encoding,
                                os.path.abspath(config.output_dir))


# Makes shards and their notes.
_Make = Callable[[task_shards.Settings, list[task_shards.Parcel]], None]


def _make_here(encoders: Encoders, sources: dict[str, task_readers.RowSource]) -> _Make:
    def make(settings, work):
        encode = functools.partial(task_encoding.encode_chunk, settings.encoding)
        encoded = encoders.map(encode, task_shards.cut_chunks(sources, work))
        total = sum(parcel.shard.rows for parcel in work)
        task_shards.write_shards(settings.output_dir, work, _with_progress(encoded, total))
    return make


def _make_with_beam(config: TaskConfig, beam_options: Sequence[str]) -> _Make:
    pipeline = with_beam.Pipeline(config, beam_options)

    def make(settings, work):
        elsewhere = dataclasses.replace(
            settings, input=task_shards.whole_input(settings.input),
            tfds_dir=settings.tfds_dir and os.path.abspath(os.path.expanduser(settings.tfds_dir)))
        pipeline.run(functools.partial(task_shards.make_parcel, elsewhere),
                     list(map(task_shards.alone, work)), settings.output_dir)
    return make


def _totals_of(work: list[task_shards.Parcel], made: list[notes.Made]
               ) -> tuple[dict[str, list[Shard]], dict[str, task_encoding.Totals]]:
    """All shards and what they hold, by split and in order."""
    shards = collections.defaultdict(list)
    totals = collections.defaultdict(task_encoding.Totals)
    for parcel, each in zip(work, made):
        split = parcel.share.split
        shard, counts = each[split]
        totals[split] += task_encoding.Totals.from_json(counts)
        if shard is not None:
            shards[split].append(shard)
    return shards, totals


def _print_summary(config: TaskConfig, manifest: Manifest,
                   totals: dict[str, task_encoding.Totals],
                   shares: list[task_shards.Share], seconds: float) -> None:
    task, splits = manifest.task, manifest.splits
    rows = sum(split.documents for split in splits.values())
    form = f"zero-shot, {task.heuristic}" if config.zero_shot else task.form
    print(f"Built {config.output_dir} ({task.name}: {form}) from {rows:,} rows in "
          f"{seconds:.1f} s ({rows / seconds:,.0f} rows/s).")
    width = max(map(len, splits))
    print(f"  {'':<{width}} {'rows':>9} {'records':>9} {'left out':>9} {'tokens':>12} "
          f"{'longest':>8} {'shortened':>10}  labels")
    for name, split in splits.items():
        print(f"  {name:<{width}} {split.documents:>9,} {split.records:>9,} "
              f"{sum(split.left_out.values()):>9,} {split.tokens:>12,} "
              f"{totals[name].longest:>8,} {split.shortened:>10,}  "
              f"{_describe_labels(task, totals[name].labels)}")
    for name, split in splits.items():
        for reason, count in split.left_out.items():
            print(f"Left out of {name}: {count:,} rows ({reason}).")
    if config.zero_shot:
        print(f"Next: python -m gpt_tf.zero_shot --data_dir={config.output_dir} --model_dir=RUN")
        return
    if any(share.is_part for share in shares):
        print("The input has no validation split: about "
              f"{config.validation_fraction:.0%} of its training rows, chosen by their text, "
              "are it.")
    elif not any(name.startswith(VALIDATION) for name in splits):
        print("There is no validation.")
    name = os.path.basename(os.path.normpath(config.output_dir))
    print(f"Next: python -m gpt_tf.finetune --data_dir={config.output_dir} --init_from=RUN "
          f"--model_dir=runs/{name}")


def _describe_labels(task: Task, labels: collections.Counter) -> str:
    """The classes' shares, or the scores' mean and range."""
    total = labels.total()
    if not total:
        return "-"
    if None in labels:
        return "none"
    if task.is_score:
        mean = sum(label * count for label, count in labels.items()) / total
        return f"{min(labels):g} to {max(labels):g}, mean {mean:.2f}"
    return ", ".join(f"{name}: {labels[label] / total:.1%}"
                     for label, name in enumerate(task.labels))


def main(beam_options: list[str]) -> None:
    """Reads the flags and builds."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    build(cli.from_flags(TaskConfig), beam_options)


if __name__ == "__main__":
    cli.define_flags(TaskConfig)
    cli.run(main, passes_on="runner")
