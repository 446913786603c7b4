"""Measures what a pre-trained model can do before any fine-tuning (section 5 of the paper).

  python -m gpt_tf.zero_shot --model_dir=runs/gpt1 --data_dir=data/dpr
  python -m gpt_tf.zero_shot --model_dir=runs/gpt1 --data_dir=data/dpr,data/sst2,data/cola \\
      --checkpoints=all --plot=zero_shot.png

The data is made by pipelines.build_task --zero_shot, which says how each task is answered. Beside
the measures stand those of the majority class (the commonest of the rows that are measured) and of
a random guess. They are saved in the run folder, too, in evaluations/ (nothing is, of a handle or a
preset, whose run folder is in the cache). The plot is the right half of the paper's Figure 2:
(measure - random guess) / (1 - random guess) over the updates.
"""

import dataclasses
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder, open_output
from gpt_tf.common.names import split_paths
from gpt_tf.common.progress import Progress
from gpt_tf.config import BEST, NEWEST, SOURCES, CompilationConfig, Options, option
from gpt_tf.data.manifest import ZERO_SHOT, Manifest
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tasks.answers import check_predictions

_ALL = "all"
_PICTURES = (".png", ".pdf", ".svg")


@dataclasses.dataclass(frozen=True)
class MeasuredRun(Options):
    """The run that is measured, and the data that it is measured on."""

    model_dir: str = option(None, f"{SOURCES}.", required=True, path=True)
    data_dir: str = option(None, "Data folder of pipelines.build_task --zero_shot, or several, "
                                 "separated by commas.", required=True, path=True)

    @property
    def data_dirs(self) -> list[str]:
        """The folders that `data_dir` names, each once."""
        return split_paths(self.data_dir)


@dataclasses.dataclass(frozen=True)
class ZeroShotConfig(CompilationConfig):
    """What is measured, and how."""

    split: str = option("", "Split of the data folders; empty: the first of validation, test and "
                            "train that has labels.")
    checkpoints: str = option(BEST, "Weights to measure: those of the best validation (best), the "
                                    "newest, all that the run keeps, or updates, separated by "
                                    "commas.")
    plot: str = option("", "Picture to make (.png, .pdf or .svg): performance over the updates of "
                           "the checkpoints, a line for each data folder.", path=True)
    predictions: str = option("", "TSV file to make, of one data folder and one checkpoint, with "
                                  "the index of each row in its source, the answer and the scores.",
                              path=True)
    batch_size: int = option(32, "Sequences at once.", at_least=1)
    jit_compile: bool = option(True, "Compile with XLA.")

    def __post_init__(self):
        super().__post_init__()
        if self.plot and os.path.splitext(self.plot)[1] not in _PICTURES:
            raise ValueError(f"--plot={self.plot} must end in {', '.join(_PICTURES)}.")
        if self.checkpoints not in (BEST, NEWEST, _ALL):
            self.updates()

    def updates(self) -> list[int]:
        """The updates that `checkpoints` lists."""
        listed = [part.strip() for part in self.checkpoints.split(",")]
        if not all(part.isdecimal() for part in listed):
            raise ValueError(f"--checkpoints={self.checkpoints} must be {BEST}, {NEWEST}, "
                             f"{_ALL}, or updates such as 1000,2000.")
        return sorted({int(part) for part in listed})


def check_data(model_dir: str, data_dirs: list[str]) -> None:
    """Sees that data folders were made for the run's tokenizer and length.

    Raises:
      UserError: one was not.
    """
    for folder in data_dirs:
        manifest = Manifest.load(folder)
        if manifest.kind != ZERO_SHOT:
            raise UserError(f"{folder} holds data of kind {manifest.kind!r}: make it with "
                            "python -m pipelines.build_task --zero_shot.")
        run_folder.check_data(model_dir, folder, manifest)


def open_data(config: ZeroShotConfig, data_dirs: list[str]) -> dict:
    """Folder -> its `ZeroShotData`.

    Raises:
      UserError: one has no labels to measure by.
    """
    from gpt_tf.evaluation.zero_shot_scores import ZeroShotData

    data = {folder: ZeroShotData(folder, config.split, config.batch_size) for folder in data_dirs}
    for folder, each in data.items():
        if not each.split_totals.labelled and not config.predictions:
            raise UserError(f"The {each.split} split of {folder} has no labels to measure by: ask "
                            "for the answers with --predictions=FILE.tsv.")
    return data


class Course:
    """The weights to measure, one after the other in one model.

    Attributes:
      model: the model.
      steps: their updates, ascending.

    Raises:
      UserError: the run has no such checkpoint.
    """

    def __init__(self, model_dir: str, config: ZeroShotConfig):
        from gpt_tf.runs import weights
        which = config.checkpoints if config.checkpoints in (BEST, NEWEST) else NEWEST
        self.model, step = weights.load_model(model_dir, weights=which)
        self.steps, self._kept = [step], None
        if config.checkpoints != which:
            self._kept = weights.kept_checkpoints(model_dir, self.model)
            kept = self._kept.steps
            self.steps = kept if config.checkpoints == _ALL else config.updates()
            if not kept or not set(self.steps) <= set(kept):
                raise UserError(f"--checkpoints={config.checkpoints}: of {model_dir} are kept "
                                f"{', '.join(map(str, kept)) or 'none'}; name some of those.")

    def restore(self, step: int) -> None:
        """Gives the model the weights of update `step`."""
        if self._kept:
            self._kept.restore(step)


def measure(config: ZeroShotConfig, model_dir: str, data_dirs: list[str]) -> None:
    """Prints and saves the measures, draws them and writes the answers.

    Raises:
      UserError: run, data and options do not fit together.
    """
    check_data(model_dir, data_dirs)
    cli.import_tensorflow()  # here and below, so that nobody waits for it to be told of a mistake
    from gpt_tf.evaluation.scoring import Scorer
    from gpt_tf.evaluation.zero_shot_scores import write_answers
    from gpt_tf.training import devices

    devices.warn_of_unseen()
    data = open_data(config, data_dirs)
    course = Course(model_dir, config)
    if config.predictions and len(data) * len(course.steps) > 1:
        raise UserError("--predictions is of one data folder and one checkpoint: name one of each.")
    for path in filter(None, (config.predictions, config.plot)):
        make_folder(os.path.dirname(os.path.abspath(path)))
    scorer = Scorer(course.model, config.jit_compile)
    for step in course.steps:
        course.restore(step)
        with Progress(sum(each.scored_rows for each in data.values()), " rows",
                      f"update {step}") as progress:
            answers = [each.answer(scorer, progress.update) for each in data.values()]
        print(f"{model_dir}, update {step}, zero-shot:")
        for each, answer in zip(data.values(), answers):
            _print_scores(each, each.measure(step, answer))
    for each in data.values():
        if each.split_totals.labelled:
            each.keep(model_dir)
    if config.predictions:
        (each,), (answer,) = data.values(), answers
        write_answers(config.predictions, each.task, answer)
        print(f"Wrote {len(answer.source_rows):,} answers to {config.predictions}.")
    if config.plot:
        _draw(config.plot, data)


def _print_scores(data, scores: dict[str, float]) -> None:
    """One line a metric, with chance beside it."""
    print(f"  {data.task.name}, {data.split} split, {data.split_totals.records:,} rows"
          + ("" if scores else ": no labels, answers only"))
    for name, value in scores.items():
        beside = "".join(f"   {who} {theirs[name]:.4f}" for who, theirs in data.chance.items())
        print(f"    {name:18} {value:.4f}{beside}")


def _draw(path: str, data: dict) -> None:
    """Writes the picture; of a task the first metric, and its folder where two have one name."""
    from gpt_tf.runs.pictures import zero_shot_figure

    names = [each.task.name for each in data.values()]
    curves = {each.task.name if names.count(each.task.name) == 1 else folder: each.curve()
              for folder, each in data.items() if each.split_totals.labelled}
    with open_output(path) as stream:
        zero_shot_figure(curves).savefig(stream, format=os.path.splitext(path)[1][1:])
    print(f"Drew {path}.")


def main() -> None:
    """Measures."""
    folders, config = cli.from_flags(MeasuredRun), cli.from_flags(ZeroShotConfig)
    if not folders.data_dirs:
        raise UserError("--data_dir names no folder: give one, or several with commas between.")
    check_predictions(config.predictions)
    measure(config, resolve.run_folder(folders.model_dir), folders.data_dirs)


if __name__ == "__main__":
    cli.define_flags(MeasuredRun)
    cli.define_flags(ZeroShotConfig)
    cli.run(main)
