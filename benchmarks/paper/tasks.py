"""The tasks of the paper's Tables 2-4: where their files stand, and what the paper reports.

The figures are those of "Finetuned Transformer LM (ours)", in percent, on the test sets: GLUE's
site for CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI and RTE, the publishers' for the others.
"""

import dataclasses
import os

from gpt_tf.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class PaperTask:
    """A task of `pipelines.build_task` and what is known of it.

    folder: below --tasks_dir, with the original files.
    needs: a file or folder in it without which there is nothing to train on.
    table: of the paper.
    figure: the paper's, of the task's first metric, in percent.
    num_epochs: of fine-tuning, where the recipe is that of small models.
    """

    name: str
    folder: str
    table: int
    figure: float
    num_epochs: float = 3
    needs: str = ""


_ROWS = (
    PaperTask("mnli", "MNLI", 2, 82.1),  # matched, as its first validation split
    PaperTask("snli", "SNLI", 2, 89.9),
    PaperTask("scitail", "SciTail", 2, 88.3),
    PaperTask("qnli", "QNLI", 2, 88.1, 5),
    PaperTask("rte", "RTE", 2, 56.0, 10),
    PaperTask("story_cloze", "StoryCloze", 3, 86.5),
    PaperTask("race_middle", "RACE", 3, 62.9, 2, needs="train/middle"),
    PaperTask("race_high", "RACE", 3, 57.4, 2, needs="train/high"),
    PaperTask("cola", "CoLA", 4, 45.4, 5),
    PaperTask("sst2", "SST-2", 4, 91.3, 3),
    PaperTask("mrpc", "MRPC", 4, 82.3, 10),
    PaperTask("stsb", "STS-B", 4, 82.0, 10),
    PaperTask("qqp", "QQP", 4, 70.3),
)
TASKS = {task.name: task for task in _ROWS}


def files_of(task: str, tasks_dir: str) -> str:
    """The folder of a task's original files.

    Raises:
      UserError: it is not there.
    """
    row = TASKS[task]
    folder = os.path.join(tasks_dir, row.folder)
    if not os.path.isdir(os.path.join(folder, row.needs)):
        raise UserError(f"--tasks_dir={tasks_dir} has no {os.path.join(row.folder, row.needs)}, "
                        f"which {task} needs: put its original files there.")
    return folder


def at_hand(tasks_dir: str) -> list[str]:
    """The tasks whose files are there, in the order of the paper's tables.

    Raises:
      UserError: there is none.
    """
    found = [name for name, row in TASKS.items()
             if os.path.isdir(os.path.join(tasks_dir, row.folder, row.needs))]
    if not found:
        folders = ", ".join(dict.fromkeys(f"{row.folder}/" for row in _ROWS))
        raise UserError(f"--tasks_dir={tasks_dir} has none of {folders}: name the folder with "
                        "the tasks' original files.")
    return found


def check_names(flag: str, names: list[str]) -> None:
    """Raises UserError where one of `names`, which `flag` gives, is no task."""
    unknown = [name for name in names if name not in TASKS]
    if unknown or not names:
        raise UserError(f"--{flag} names {', '.join(unknown) or 'nothing'}, and the tasks are "
                        f"{', '.join(TASKS)}.")
