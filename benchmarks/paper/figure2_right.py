"""Figure 2, right: what a model can do without fine-tuning, over the updates of pre-training.

  python -m benchmarks.paper.figure2_right --pretrained=runs/english --lstm=runs/lstm \\
      --tasks_dir=tasks --work_dir=paper

Every checkpoint that the runs keep is measured by the heuristics of section 5. As in the paper, a
task's performance lies between a random guess, 0, and the state of the art of the time, 1. The same
command goes on where it was stopped; what it has made so far stands in figure2_right.md,
figure2_right.json and figure2_right.png of --output.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import math
import os
import time
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.paper import folders
from benchmarks.paper.configuration import checkpoint_digest
from benchmarks.paper.output import write
from benchmarks.paper.settings import Places
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder
from gpt_tf.common.progress import Progress
from gpt_tf.common.small_files import read_json, write_json
from gpt_tf.config import option
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.sources import resolve
from gpt_tf.zero_shot import ZeroShotConfig, check_data

_DECODER, _LSTM = "decoder", "LSTM"
_FINDING = ("The paper: performance rises steadily over pre-training on all four tasks, and that "
            "of an LSTM varies more.")


class ZeroShotTask(NamedTuple):
    """A task of `pipelines.build_task --zero_shot`.

    folder: below --tasks_dir, with the original files.
    best: the state of the art of the time, of the task's first metric, in percent.
    source: where that figure stands; the paper does not say which it took.
    """

    folder: str
    best: float
    source: str


TASKS = {
    "sst2": ZeroShotTask("SST-2", 93.2, "the paper's Table 4, byte mLSTM"),
    "dpr": ZeroShotTask("DPR", 76.4, "Peng et al. 2015"),
    "cola": ZeroShotTask("CoLA", 35.0, "the paper's Table 4, BiLSTM with ELMo"),
    "race_middle": ZeroShotTask("RACE", 60.2, "the paper's Table 3, BiAttention MRU"),
    "race_high": ZeroShotTask("RACE", 50.3, "the paper's Table 3, BiAttention MRU"),
    "story_cloze": ZeroShotTask("StoryCloze", 77.6, "the paper's Table 3, hidden coherence model"),
}


@dataclasses.dataclass(frozen=True)
class Figure2RightSettings(Places):
    """Flags of this figure."""

    tasks: str = option("sst2,dpr,cola,race_middle", "Tasks, separated by commas.", required=True)
    lstm: str = option("", "Run folder that benchmarks.paper.lstm has pre-trained, drawn dashed.",
                       path=True)
    batch_size: int = option(32, "Sequences at once.", at_least=1)

    def names(self) -> list[str]:
        """The tasks.

        Raises:
          UserError: one is not known, or its files are not there.
        """
        found = list(dict.fromkeys(self.tasks.split(",")))
        for name in found:
            if name not in TASKS:
                raise UserError(f"--tasks names {name!r:.80}, and what there is are "
                                f"{', '.join(TASKS)}.")
            if not os.path.isdir(os.path.join(self.tasks_dir, TASKS[name].folder)):
                raise UserError(f"--tasks_dir={self.tasks_dir} has no {TASKS[name].folder}, which "
                                f"{name} needs: put its original files there, or leave it out of "
                                "--tasks.")
        return found


class Courses:
    """The measures of every checkpoint that runs keep, each in a file of its own.

    Args:
      settings: of the command.

    Raises:
      UserError: a run or a task's files are not there, or do not fit together.
    """

    def __init__(self, settings: Figure2RightSettings):
        self.settings, self.names = settings, settings.names()
        self.runs = {_DECODER: resolve.run_folder(settings.pretrained)}
        if settings.lstm:
            self.runs[_LSTM] = resolve.run_folder(settings.lstm)
        for task in self.names:
            folders.build(task, os.path.join(settings.tasks_dir, TASKS[task].folder),
                          self.runs[_DECODER], self._data(task), "--zero_shot")
        for run in self.runs.values():
            check_data(run, list(map(self._data, self.names)))
        self._data_digests = {task: Manifest.load(self._data(task)).fingerprint[:16]
                              for task in self.names}
        self._digests = {who: {step: digest for step in checkpoint_files.steps(folder)
                               if (digest := checkpoint_digest(folder, step))}
                         for who, run in self.runs.items()
                         for folder in [run_folder.checkpoint_folder(run)]}

    def _data(self, task: str) -> str:
        return os.path.join(self.settings.work_dir, "data", f"{task}-zero-shot")

    def _path(self, who: str, task: str, step: int) -> str:
        """Of the measures of a checkpoint: its name says of which weights and of which data."""
        return os.path.join(
            self.settings.work_dir, "results", f"{task}-zero-shot",
            f"{who}-{self._data_digests[task]}-{self._digests[who][step]}-{step}.json")

    def course(self, who: str, task: str) -> dict[int, dict[str, Any]]:
        """Update -> what `measure` has kept of it, ascending."""
        paths = {step: self._path(who, task, step) for step in self._digests[who]}
        return {step: read_json(path, "a zero-shot measure") for step, path in paths.items()
                if os.path.exists(path)}

    def relative(self, who: str, task: str) -> tuple[list[int], list[float]]:
        """The updates, and the first metric of each between random guess and state of the art."""
        course = self.course(who, task)
        return list(course), [each["relative"] for each in course.values()]

    def measure(self, end: float) -> bool:
        """Measures what is not measured yet; returns whether all is.

        Args:
          end: by `time.monotonic`; after it no further measure is begun.
        """
        for who, run in self.runs.items():
            missing = {step: [task for task in self.names
                              if not os.path.exists(self._path(who, task, step))]
                       for step in self._digests[who]}
            if any(missing.values()) and not self._measure_run(who, run, missing, end):
                print(f"--max_minutes={self.settings.max_minutes:g} are over; the same command "
                      "goes on from here.", flush=True)
                return False
        return True

    def _measure_run(self, who: str, run: str, missing: Mapping[int, list[str]],
                     end: float) -> bool:
        cli.import_tensorflow()
        from benchmarks.paper.lstm_block import in_place_of_blocks
        from gpt_tf.evaluation.scoring import Scorer
        from gpt_tf.evaluation.zero_shot_scores import RANDOM, ZeroShotData, relative
        from gpt_tf.zero_shot import Course

        with in_place_of_blocks() if who == _LSTM else contextlib.nullcontext():
            course = Course(run, ZeroShotConfig(checkpoints="all"))
        scorer = Scorer(course.model)
        for step, tasks in missing.items():
            if tasks:
                try:
                    course.restore(step)
                except UserError:
                    if step in checkpoint_files.steps(run_folder.checkpoint_folder(run)):
                        raise
                    print(f"{who}, update {step}: the run in training keeps it no longer",
                          flush=True)
                    continue
            for task in tasks:
                if time.monotonic() > end:
                    return False
                begin, path = time.monotonic(), self._path(who, task, step)
                data = ZeroShotData(self._data(task), "", self.settings.batch_size)
                with Progress(data.scored_rows, " rows", f"{who}, update {step}, {task}") as shown:
                    scores = data.measure(step, data.answer(scorer, shown.update))
                name = data.task.metrics[0]
                score, chance = scores[name], data.chance[RANDOM][name]
                make_folder(os.path.dirname(path))
                write_json(path, {
                    "metric": name, "score": score, "chance": chance,
                    "relative": relative(score, chance, TASKS[task].best / 100),
                    "split": data.split, "rows": data.split_totals.records,
                    "seconds": time.monotonic() - begin})
                print(f"{who}, update {step}, {task}: {name} {score:.4f}", flush=True)
        return True


def table(courses: Courses) -> str:
    """A row for a random guess, the state of the art, and each checkpoint of each run."""
    names = courses.names
    found = {(who, task): courses.course(who, task) for who in courses.runs for task in names}
    heads, chances = [], []
    for task in names:
        first = next((each for who in courses.runs for each in found[who, task].values()), None)
        heads.append(f"{task} ({first['metric']}; {first['split']}, {first['rows']:,} rows)"
                     if first else task)
        chances.append(f"{100 * first['chance']:.1f}" if first else "")
    rows = [["random guess", *chances, "0.00"],
            ["state of the art", *(f"{TASKS[task].best:.1f}" for task in names), "1.00"]]
    for who in courses.runs:
        relative = {task: dict(zip(*courses.relative(who, task))) for task in names}
        for step in sorted(set().union(*(found[who, task] for task in names))):
            between = [relative[task].get(step, math.nan) for task in names]
            mean = sum(between) / len(between)
            rows.append([f"{who}, update {step:,}",
                         *(f"{100 * found[who, task][step]['score']:.1f}"
                           if step in found[who, task] else "" for task in names),
                         "" if math.isnan(mean) else f"{mean:.2f}"])
    return report.markdown_table(("", *heads, "relative, mean"), rows)


def rises(courses: Courses) -> list[str]:
    """A line for each run: the rank correlation of a task's measures with the updates."""
    from gpt_tf.tasks.metrics import METRICS

    lines = []
    for who in courses.runs:
        parts = []
        for task in courses.names:
            steps, values = courses.relative(who, task)
            if len(set(values)) > 1:
                parts.append(f"{task} {METRICS['spearman'](steps, values):+.2f}")
        if parts:
            lines.append(f"{who}: rank correlation of measure and update: {', '.join(parts)}.")
    return lines


def make(courses: Courses) -> str:
    """Writes what there is; returns the table with its caption."""
    from gpt_tf.runs.pictures import zero_shot_figure

    settings, names = courses.settings, courses.names
    curves = {who: {task: course for task in names if (course := courses.relative(who, task))[0]}
              for who in courses.runs}
    figure = zero_shot_figure(curves[_DECODER], curves.get(_LSTM), "state of the art of the time")
    if curves[_DECODER] and curves.get(_LSTM):
        figure.axes[0].get_legend().set_title("dashed: LSTM")
    text = "\n".join([
        "# Figure 2, right: zero-shot performance over pre-training", "",
        f"{', '.join(courses.runs.values())}. Percent on the split that stands there, by the "
        "heuristics of section 5; relative: between a random guess, 0, and the state of the art of "
        "the time, 1 (" + "; ".join(f"{task}: {TASKS[task].source}" for task in names) + ").", "",
        table(courses), "", "![figure2_right](figure2_right.png)", "", _FINDING, "",
        *(line for each in rises(courses) for line in (each, "")),
        report.describe_machine(["tensorflow"]), ""])
    write(settings, "figure2_right", text, {
        "settings": dataclasses.asdict(settings), "tasks": {
            task: TASKS[task]._asdict() for task in names},
        "courses": {who: {task: courses.course(who, task) for task in names}
                    for who in courses.runs}}, figure)
    return text


def main() -> None:
    """Measures what is missing, and draws what there is."""
    settings = cli.from_flags(Figure2RightSettings)
    courses = Courses(settings)
    end = time.monotonic() + 60 * settings.max_minutes if settings.max_minutes else math.inf
    try:
        courses.measure(end)
    finally:
        text = make(courses)
    print(text)


if __name__ == "__main__":
    cli.define_flags(Figure2RightSettings)
    cli.run(main, makes_files=True)
