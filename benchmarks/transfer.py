"""What pre-training is worth: the paper's ablations (table 5) on tasks at hand, with our sizes.

  python -m benchmarks.transfer --pretrained=runs/books --tasks_dir=tasks --work_dir=transfer

Builds each task from its original files under --tasks_dir and fine-tunes it
  pretrained  from the run, with the joint loss
  scratch     the same shape from random weights
  no_lm       from the run, without the auxiliary loss (lm_coef 0)
with the same flags otherwise (--flagfile_for_runs), 3 seeds on the small sets and one on SST-2 and
RACE. Prints the best validation of each, median and range, beside the majority class. What is
finished in --work_dir is not done again, so the command may be stopped and repeated.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json
from gpt_tf.config import ModelConfig
from gpt_tf.tasks import metrics


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A task's folder under --tasks_dir, and how long it is trained and how often."""

    folder: str
    num_epochs: float
    num_runs: int


RECIPES = {"cola": Recipe("CoLA", 3, 3), "rte": Recipe("RTE", 3, 3), "mrpc": Recipe("MRPC", 3, 3),
           "stsb": Recipe("STS-B", 3, 3), "sst2": Recipe("SST-2", 3, 1),
           "race_middle": Recipe("RACE", 1, 1)}
VARIANTS = ("pretrained", "scratch", "no_lm")

_PRETRAINED = flags.DEFINE_string("pretrained", None, "Run folder of gpt_tf.pretrain.")
_TASKS_DIR = flags.DEFINE_string("tasks_dir", None, "Folder with CoLA/, RTE/, MRPC/, STS-B/, "
                                                    "SST-2/ and RACE/ of the original files.")
_WORK_DIR = flags.DEFINE_string("work_dir", "transfer", "Data folders and runs go here.")
_TASKS = flags.DEFINE_list("tasks", list(RECIPES), "Which tasks.")
_VARIANTS = flags.DEFINE_list("variants", list(VARIANTS), "Which variants.")
_RUN_FLAGS = flags.DEFINE_string("flagfile_for_runs", "gpt_tf/flagfiles/books_tiny_finetune.flags",
                                 "Flagfile of all fine-tunings.")
_MAX_MINUTES = flags.DEFINE_float("max_minutes", 150, "No run is started after this time.")


def _python(module: str, *arguments: str) -> None:
    """Runs one of our commands; what it says goes to standard error.

    Raises:
      UserError: it failed; it has said why.
    """
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=sys.stderr,
                          check=False)
    if done.returncode:
        raise UserError(f"python -m {module} {' '.join(arguments)} ended with {done.returncode}.")


def data_folder(task: str, max_length: int) -> str:
    """Builds the task's data folder unless it is there."""
    folder = os.path.join(_WORK_DIR.value, "data", task)
    if not os.path.exists(os.path.join(folder, "manifest.json")):
        _python("pipelines.build_task", f"--task={task}", f"--max_length={max_length}",
                f"--input={os.path.join(_TASKS_DIR.value, RECIPES[task].folder)}",
                f"--tokenizer={_PRETRAINED.value}", f"--output_dir={folder}")
    return folder


def run_folder(task: str, variant: str, seed: int) -> str:
    """Where one fine-tuning stands."""
    return os.path.join(_WORK_DIR.value, f"{task}-{variant}", f"run-{seed}")


def fine_tune(task: str, variant: str, seed: int, data: str, shape: ModelConfig) -> None:
    """Does one fine-tuning to its end, unless it is done."""
    arguments = {"pretrained": [f"--init_from={_PRETRAINED.value}"],
                 "no_lm": [f"--init_from={_PRETRAINED.value}", "--lm_coef=0"],
                 "scratch": ["--init_from=none"] + [
                     f"--{field.name}={getattr(shape, field.name)}"
                     for field in dataclasses.fields(ModelConfig)
                     if "help" in field.metadata]}[variant]
    _python("gpt_tf.finetune", f"--flagfile={_RUN_FLAGS.value}", f"--data_dir={data}",
            f"--model_dir={run_folder(task, variant, seed)}", f"--seed={seed}",
            f"--num_epochs={RECIPES[task].num_epochs}", *arguments)
    with open(os.path.join(run_folder(task, variant, seed), "finished"), "w",
              encoding="utf-8") as stream:
        stream.write("benchmarks.transfer saw this run end.\n")


def is_finished(task: str, variant: str, seed: int) -> bool:
    """Whether `fine_tune` has seen the run to its end."""
    return os.path.exists(os.path.join(run_folder(task, variant, seed), "finished"))


def best_scores(folder: str, names: tuple[str, ...]) -> list[float]:
    """Metrics of the validation that the first of `names` finds best."""
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    keys = [f"validation/{name}" for name in names]
    found = [[row[key] for key in keys] for row in rows if keys[0] in row]
    return max(found, key=lambda scores: scores[0])


def majority_scores(data: str, names: tuple[str, ...]) -> list[float]:
    """Metrics of always saying the commonest class of the training rows, or their mean score."""
    import numpy as np

    from gpt_tf.data.batches import evaluation_batches
    labels = {}
    for split in ("train", "validation"):
        labels[split] = np.concatenate([
            batch["labels"].numpy()[batch["split_positions"].numpy() >= 0]
            for batch in evaluation_batches(data, split, 256)])
    values, counts = np.unique(labels["train"], return_counts=True)
    is_score = labels["train"].dtype.kind == "f"
    constant = labels["train"].mean() if is_score else values[np.argmax(counts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics.MetricWarning)  # constant is the point here
        return [metrics.METRICS[name](labels["validation"],
                                      np.full_like(labels["validation"], constant))
                for name in names]


def _cell(scores: list[list[float]]) -> str:
    """Median and range over the runs of each metric, in percent."""
    cells = []
    for values in zip(*scores):
        values = [100 * value for value in values]
        cell = f"{statistics.median(values):.1f}"
        cells.append(cell if len(values) == 1 else f"{cell} ({min(values):.1f}-{max(values):.1f})")
    return " / ".join(cells)


def make_table(tasks: list[str]) -> str:
    """A row for each task of which something is finished."""
    rows = []
    for task in tasks:
        data = os.path.join(_WORK_DIR.value, "data", task)
        path = os.path.join(data, "manifest.json")
        if not os.path.exists(path):
            continue
        names = tuple(read_json(path, "the data folder's manifest")["task"]["metrics"])
        row = [task, " / ".join(names), _cell([majority_scores(data, names)])]
        for variant in VARIANTS:
            done = [run_folder(task, variant, seed) for seed in range(RECIPES[task].num_runs)
                    if is_finished(task, variant, seed)]
            row.append(_cell([best_scores(folder, names) for folder in done]) if done else "")
            if done and len(done) < RECIPES[task].num_runs:
                row[-1] += f" [{len(done)} of {RECIPES[task].num_runs} seeds]"
        rows.append(row)
    return report.markdown_table(["task", "metric", "majority", *VARIANTS], rows)


def main() -> None:
    """Builds and fine-tunes what is missing, then prints the table of what there is."""
    if not _PRETRAINED.value or not _TASKS_DIR.value:
        raise UserError("Name a run with --pretrained and the tasks' files with --tasks_dir.")
    unknown = [task for task in _TASKS.value if task not in RECIPES]
    if unknown:
        raise UserError(f"--tasks={','.join(unknown)} must name some of {', '.join(RECIPES)}.")
    report.check_sides(_VARIANTS.value, VARIANTS)
    cli.import_tensorflow()
    from gpt_tf.runs import run_folder as runs
    shape = runs.load_config(_PRETRAINED.value)
    end = time.monotonic() + 60 * _MAX_MINUTES.value
    for task in _TASKS.value:
        data = data_folder(task, shape.max_sequence_length)
        for seed in range(RECIPES[task].num_runs):
            for variant in _VARIANTS.value:
                if time.monotonic() < end and not is_finished(task, variant, seed):
                    fine_tune(task, variant, seed, data, shape)
    print(report.describe_machine(["tensorflow"]))
    print(f"\n{shape.num_parameters:,} parameters, {_RUN_FLAGS.value}\n")
    print(make_table(_TASKS.value))


if __name__ == "__main__":
    cli.run(main)
