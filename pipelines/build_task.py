"""Makes a data folder for fine-tuning from the public files of a task, or from your own.

  python -m pipelines.build_task --task=sst2 --input=SST-2/ --tokenizer=bpe --output_dir=data/sst2
  python -m pipelines.build_task --task=dpr --zero_shot --input=DPR/train.c.txt \\
      --tokenizer=runs/gpt1 --output_dir=data/dpr
  python -m pipelines.build_task --task=reviews --tokenizer=gpt_tiny_en --output_dir=data/reviews

--task is a task of the paper, your own spec.json (see pipelines/tasks/spec.py), or reviews, a
sample of 450 sentences that comes with the package. --input is the folder of the task's original
files, or of what a data hub exports, or tfds:NAME, a data set that tensorflow-datasets has
prepared; files may be named one by one (see pipelines/tasks/rows.py). Where it is not given, the
rows stand beside the spec.json. Each row becomes the sequences of Figure 1 of the paper; with
--zero_shot those of its section 5, "Zero-shot Behaviors", which a pre-trained model answers as it
is (cola, sst2, race_middle, race_high, story_cloze, and dpr, which also reads Winograd schemas).
The folder is all that fine-tuning, or gpt_tf.zero_shot, needs; the same input and flags make the
same bytes. The same command again goes on where it was stopped.

With --runner, Apache Beam makes the shards, on machines that see --input, --tokenizer and
--output_dir under the same names:

  python -m pipelines.build_task --task=sst2 --input=SST-2/ --tokenizer=bpe \\
      --output_dir=data/sst2 --runner=DirectRunner --direct_num_workers=4 \\
      --direct_running_mode=multi_processing
"""

from collections.abc import Sequence
import dataclasses
import functools
import glob
import os
import sys
import time

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import ModelConfig, option
from gpt_tf.data.manifest import Manifest
from gpt_tf.hub import models
from gpt_tf.hub.handles import is_handle
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tasks.table_files import UTF8, check_encoding
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training.run_config import validation_splits
from pipelines.building.data_folder import DataFolder, FolderConfig
from pipelines.building.frame import Built, build_folder
from pipelines.building.plan import TRAIN, VALIDATION
from pipelines.tasks.balance import cautions, cautions_of_texts, describe_labels
from pipelines.tasks.encoding import RowEncoding
from pipelines.tasks.plan import plan_task, task_of
from pipelines.tasks.shards import RecordMaker, TaskInput
from pipelines.tasks.table import find_spec, find_task


@dataclasses.dataclass(frozen=True)
class TaskConfig(FolderConfig):
    """Which task, where its rows stand, and how they are cut.

    Raises:
      ValueError: a value is missing or out of range.
    """

    task: str = option("", "A task of the paper, such as sst2; a spec.json of your own; or "
                       "the sample reviews.", required=True, path=True)
    input: str = option("", "Folder of the task's files, one file, train=FILE,validation=FILE,... "
                        "or tfds:NAME. Not given: the folder of the task's spec.json.", path=True)
    zero_shot: bool = option(False, "Make data for gpt_tf.zero_shot instead of fine-tuning.")
    # Start, delimiter, extract and a token of text.
    max_length: int | None = option(
        None, "Tokens of a sequence at the most; longer text is shortened. Not given: as many as "
        "the run in --tokenizer has positions, or 512.", at_least=4)
    validation_fraction: float = option(
        0.1, "Where the input has no validation split, about this share of the training rows is "
        "it; 0: none. With --zero_shot there is none.", at_least=0, below=1)
    on_bad_row: str = option("stop", "What to do about a row with wrong columns, an unknown label "
                             "or no text.", choices=("stop", "skip"))
    encoding: str = option(UTF8, "Encoding of text files, such as utf-16, latin-1 or cp1252.")
    tfds_dir: str = option("", "Where tensorflow-datasets has prepared its data sets; empty: its "
                           "own place, ~/tensorflow_datasets.", path=True)

    def __post_init__(self):
        super().__post_init__()
        check_encoding(self.encoding)
        if not (self.input or find_spec(self.task)):
            find_task(self.task)  # a mistyped name is said first
            raise ValueError(f"--input must be given: where the files of {self.task} stand.")

    @property
    def rows(self) -> str:
        """`input`, or the folder of the task's spec.json."""
        return self.input or os.path.dirname(os.path.abspath(find_spec(self.task)))

    @property
    def shared_fraction(self) -> float:
        """The share of training rows that may be taken for validation: none if nothing trains."""
        return 0.0 if self.zero_shot else self.validation_fraction


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
    tokenizer = resolve.tokenizer_folder(config.tokenizer)
    model = _model_of(tokenizer) or ModelConfig()
    settled = dataclasses.replace(config, tokenizer=tokenizer,
                                  max_length=config.max_length or model.max_sequence_length)
    folder = DataFolder(settled, "pipelines.build_task", config.tokenizer)
    maker = _make_maker(settled)
    if config.rows.startswith("tfds:"):
        cli.import_tensorflow()  # opening a data set would, with all its notices
    maker.input.open()  # what is missing is named before anything starts
    built = build_folder(folder, functools.partial(plan_task, maker, config.shared_fraction),
                         beam_options)
    _print_summary(config, built, time.monotonic() - start)
    print(_next_step(config, tokenizer, built.manifest))
    return built.manifest


def _make_maker(config: TaskConfig) -> RecordMaker:
    description = find_task(config.task)
    encoding = RowEncoding(task_of(description, config.zero_shot), config.max_length,
                           config.on_bad_row)
    read = TaskInput(description, config.rows, config.tfds_dir, config.on_bad_row,
                     config.encoding)
    return RecordMaker(os.path.abspath(config.tokenizer), os.path.abspath(config.output_dir), read,
                       encoding)


def _print_summary(config: TaskConfig, built: Built, seconds: float) -> None:
    task, splits = built.manifest.task, built.manifest.splits
    totals = built.plan.totals(built.made)
    rows = sum(split.documents for split in splits.values())
    form = f"zero-shot, {task.heuristic}" if config.zero_shot else task.form
    print(f"Built {config.output_dir} ({task.name}: {form}) from {rows:,} rows in "
          f"{seconds:.1f} s ({rows / built.seconds:,.0f} rows/s in {built.seconds:.1f} s of work).")
    width = max(map(len, splits))
    print(f"  {'':<{width}} {'rows':>9} {'records':>9} {'left out':>9} {'tokens':>12} "
          f"{'longest':>8} {'shortened':>10}  labels")
    for name, split in splits.items():
        print(f"  {name:<{width}} {split.documents:>9,} {split.records:>9,} "
              f"{sum(split.left_out.values()):>9,} {split.tokens:>12,} "
              f"{totals[name].longest:>8,} {split.shortened:>10,}  "
              f"{describe_labels(task, totals[name].labels)}")
    for name, split in splits.items():
        for reason, count in split.left_out.items():
            print(f"Left out of {name}: {count:,} rows ({reason}).")
    if not config.zero_shot and any(split.is_part for split in built.plan.splits):
        print("The input has no validation split: about "
              f"{config.validation_fraction:.0%} of its training rows, chosen by their text, "
              "are it.")
    for split in built.plan.splits:
        for caution in [*cautions(task, split.name, totals[split.name].labels),
                        *([] if config.zero_shot else cautions_of_texts(split))]:
            print(f"Warning: {caution}", file=sys.stderr)


def _next_step(config: TaskConfig, tokenizer: str, manifest: Manifest) -> str:
    """What to type next, of a model with this tokenizer where there is one.

    Args:
      config: the flags.
      tokenizer: the folder that config.tokenizer names.
      manifest: of what was made.
    """
    if not config.zero_shot and not (TRAIN in manifest.splits and validation_splits(manifest)):
        missing = VALIDATION if TRAIN in manifest.splits else TRAIN
        return (f"There is no {missing} split with labels, which fine-tuning needs: add its rows "
                "to --input, or for validation a --validation_fraction.")
    found = filter(os.path.isdir, glob.glob("runs/*"))
    # What to call a run, which a name other than its folder's may lead to.
    runs = {tokenizer: config.tokenizer} | {
        each: each for each in sorted(found, key=os.path.getmtime, reverse=True)}
    folder = next((each for each in runs if _is_pretrained(each, manifest)), None)
    run, model = (runs[folder], run_folder.load_config(folder)) if folder else (None, None)
    again = config.given | {"overwrite": True}
    if is_handle(config.tokenizer) and models.fetch(config.tokenizer, tokenizer_only=True).is_gpt1:
        run, model = config.tokenizer, ModelConfig()  # of the paper's size, as what is published is
    if run is None:
        corpus = cli.command_line("pipelines.build_corpus", input="*.txt",
                                  tokenizer=config.tokenizer, output_dir="data/text")
        again = cli.command_line("pipelines.build_task", **again | {"tokenizer": "runs/text"})
        return (f"Next, text to pre-train a run on: {corpus}\n"
                f"and what the following commands print, until there is runs/text; then\n"
                f"      {again}")
    positions = model.max_sequence_length
    if positions < manifest.sequence_length:
        again |= {"tokenizer": run, "max_length": positions}
        return (f"{run} takes {positions} tokens. Next: "
                + cli.command_line("pipelines.build_task", **again))
    if config.zero_shot:
        return "Next: " + cli.command_line("gpt_tf.zero_shot", data_dir=config.output_dir,
                                           model_dir=run)
    name = os.path.basename(os.path.normpath(config.output_dir))
    return "Next: " + cli.command_line(
        "gpt_tf.finetune", flagfile=_flagfile(model, manifest),
        data_dir=config.output_dir, init_from=run, model_dir=f"runs/{name}")


def _model_of(folder: str) -> ModelConfig | None:
    """The shape of a run's model; None where the folder is no run that can be started from."""
    try:
        return run_folder.load_config(folder)
    except UserError:
        return None


def _is_pretrained(folder: str, manifest: Manifest) -> bool:
    """Whether the folder is a run of a language model with the tokenizer of the data."""
    if _model_of(folder) is None or run_folder.is_fine_tuned(folder):
        return False
    try:
        return Tokenizer.load(folder).fingerprint == manifest.tokenizer_fingerprint
    except UserError:  # damaged, and nobody has named it
        return False


def _flagfile(model: ModelConfig, manifest: Manifest) -> str:
    """The shipped flagfile for a run of that size: a small model needs a larger rate, and few rows
    many epochs.
    """
    if model.hidden_dim > 384:
        return "finetune.flags"
    if manifest.splits[TRAIN].records < 2000:
        return "quickstart_finetune.flags"
    return f"books_{'tiny' if model.hidden_dim <= 128 else 'small'}_finetune.flags"


def main(beam_options: list[str]) -> None:
    """Reads the flags and builds."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    build(cli.from_flags(TaskConfig), beam_options)


if __name__ == "__main__":
    cli.define_flags(TaskConfig)
    cli.run(main, passes_on="runner", makes_files=True)
