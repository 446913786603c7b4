"""What every command of this package is told: the run, the tasks' files, how much is done."""

from collections.abc import Mapping
import dataclasses
import functools
import math

from benchmarks.paper import tasks
from gpt_tf.common.errors import UserError
from gpt_tf.config import SOURCES, Options, option


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How everything is fine-tuned.

    flags: of `gpt_tf.finetune`, beside the learning rate, the epochs and the seed.
    rates: learning rates of which one is chosen.
    num_epochs: of all tasks; None: each has its own, in `tasks.TASKS`.
    """

    flags: Mapping[str, object]
    rates: tuple[float, ...]
    num_epochs: float | None


# Dropout is the paper's in both, whatever the pre-training was done with.
_SHARED = {"batch_size": 32, "schedule": "linear", "dropout": 0.1, "embedding_dropout": 0.1,
           "attention_dropout": 0.1, "log_every": 100, "save_every": 1000, "keep_checkpoints": 1}
# A small model needs larger rates than the paper's, and few rows more epochs.
RECIPES = {"small": Recipe(_SHARED | {"warmup_fraction": 0.1}, (3e-4, 1e-3, 3e-3), None),
           "paper": Recipe(_SHARED | {"warmup_fraction": 0.002}, (6.25e-5,), 3)}


@dataclasses.dataclass(frozen=True)
class Places(Options):
    """Flags of every command of this package.

    There is no --compile_cache: a program is named by all that the process has traced before, so
    that no second run has one in common.
    """

    pretrained: str = option(None, f"{SOURCES}, pre-trained.", required=True, path=True)
    tasks_dir: str = option(None, "Folder with CoLA/, SST-2/, RACE/, ... of the original files.",
                            required=True, path=True)
    work_dir: str = option("paper", "Data folders, runs on their way and results go here; what is "
                                    "finished here is not done again.", required=True, path=True)
    output: str = option("", "Folder for the table, the JSON and the picture; empty: --work_dir.",
                         path=True)
    max_minutes: float = option(0.0, "Minutes after which no run is started; 0: no limit.",
                                at_least=0)


@dataclasses.dataclass(frozen=True)
class Settings(Places):
    """Flags of every command that fine-tunes."""

    recipe: str = option("small", "How everything is fine-tuned: small, for models of a few "
                         "million parameters; or paper, section 4.1's 3 epochs of rate 6.25e-5.",
                         choices=tuple(RECIPES))
    num_seeds: int = option(5, "Runs of each arm, of seeds 1, 2, ...", at_least=1)
    rates: str = option("", "Learning rates, of which each arm's is chosen on each task with seed "
                            "0, which is then thrown away; empty: the recipe's.")
    epochs: str = option("", "Epochs that differ from the recipe's, as sst2=2,stsb=5.")
    max_rows: str = option("", "Training rows at the most, as race_middle=5000,qnli=2000: for each "
                               "seed others, drawn at random.")

    def __post_init__(self):
        super().__post_init__()
        self.chosen_rates, self._epochs, self._max_rows  # noqa: B018  to see that they parse

    @functools.cached_property
    def chosen_rates(self) -> tuple[float, ...]:
        """The learning rates to choose from, lowest first, each once."""
        if not self.rates:
            return RECIPES[self.recipe].rates
        try:
            found = sorted({float(rate) for rate in self.rates.split(",")})
        except ValueError:
            found = []
        if not found or not all(0 < rate < 1 for rate in found):
            raise ValueError(f"--rates={self.rates} must be numbers between 0 and 1, as "
                             "3e-4,1e-3.")
        return tuple(found)

    @property
    def seeds(self) -> range:
        """Those that are reported."""
        return range(1, self.num_seeds + 1)

    @functools.cached_property
    def _epochs(self) -> dict[str, float]:
        return _by_task("epochs", self.epochs, float)

    @functools.cached_property
    def _max_rows(self) -> dict[str, int]:
        return _by_task("max_rows", self.max_rows, int)

    def num_epochs(self, task: str) -> float:
        """Epochs of a task."""
        return self._epochs.get(task) or (RECIPES[self.recipe].num_epochs
                                          or tasks.TASKS[task].num_epochs)

    def row_limit(self, task: str) -> int:
        """Training rows of a task at the most; 0: all."""
        return self._max_rows.get(task, 0)

    def reductions(self, names: list[str]) -> str:
        """What is done of these tasks with other numbers than the recipe's: for a caption."""
        limits = [f"{name} {self.row_limit(name):,}" for name in names if self.row_limit(name)]
        rates = ", ".join(f"{rate:g}" for rate in self.chosen_rates)
        epochs = ", ".join(f"{name} {self.num_epochs(name):g}" for name in names)
        return " ".join(filter(None, [
            f"{self.num_seeds} seeds; learning rate "
            + (f"of each arm and task chosen from {rates} on another seed;"
               if len(self.chosen_rates) > 1 else f"{rates};"), f"epochs: {epochs}.",
            limits and f"Training rows at the most: {', '.join(limits)}."]))


@dataclasses.dataclass(frozen=True)
class TaskSettings(Settings):
    """Flags of every command whose tasks may be any of the paper's."""

    tasks: str = option("", "Tasks, separated by commas; empty: all whose files are at hand.")

    def names(self) -> list[str]:
        """The tasks, in the order of the paper's tables.

        Raises:
          UserError: one is not known, or none is at hand.
        """
        given = self.tasks.split(",") if self.tasks else tasks.at_hand(self.tasks_dir)
        tasks.check_names("tasks", given)
        return sorted(set(given), key=list(tasks.TASKS).index)


def _by_task(flag: str, value: str, kind: type) -> dict:
    """Task -> number, of "sst2=2,stsb=5"."""
    found = {}
    for part in filter(None, value.split(",")):
        name, _, number = part.partition("=")
        try:
            tasks.check_names(flag, [name])
            found[name] = kind(number)
        except (ValueError, UserError) as error:
            raise ValueError(f"--{flag}={value}: {part!r} must be a task and a number, as sst2=2; "
                             f"the tasks are {', '.join(tasks.TASKS)}.") from error
        if not 0 < found[name] < math.inf:
            raise ValueError(f"--{flag}={value}: {part!r} must be above 0, and finite.")
    return found
