"""Runs every cell of a table that is not finished, one run after the other in this process.

What a campaign keeps in its work folder:
  data/TASK, data/TASK-ROWS-SEED        data folders
  runs/...                              the run that is on its way; it is removed at its end
  results/TASK[-ROWS]/ARM/...json       a `results.Result` of each finished run
  results/TASK[-ROWS]/baselines-SEED.json
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import itertools
import math
import os
import shutil
import time
from typing import NamedTuple

from benchmarks.paper import folders, tasks
from benchmarks.paper.configuration import (
    SELECTION_SEED,
    Weights,
    flags_of,
    identity,
    make_config,
    num_epochs,
)
from benchmarks.paper.estimate import Estimate, spoken
from benchmarks.paper.renewal import Renewal
from benchmarks.paper.results import TRAINED_BY, Cell, Outcome, Result, begin_or_check
from benchmarks.paper.settings import Settings
from gpt_tf.common import cli
from gpt_tf.common.errors import Diverged
from gpt_tf.data.manifest import TASK, Manifest
from gpt_tf.runs import metrics_log, run_folder
from gpt_tf.sources import resolve
from gpt_tf.tasks.metrics import METRICS
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData, validation_splits

_BACKWARD = 2  # passes' worth of products, beside the forward one


class Run(NamedTuple):
    """One run of a cell."""

    cell: Cell
    rate: float
    seed: int


class Campaign:
    """The runs of cells: which are done, what they came to, and the doing.

    Example:
      campaign = Campaign(settings)
      cells = [Cell("sst2", pretrained(campaign.pretrained)), Cell("sst2", scratch())]
      campaign.run(cells, write=lambda: print(campaign.outcome(cells[0]).cell("accuracy")))

    Attributes:
      settings: of the command.
      pretrained: the run folder of the pre-trained model.
      shape: its `ModelConfig`.

    Raises:
      UserError: --pretrained is no run.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.pretrained = resolve.run_folder(settings.pretrained)
        self.shape = run_folder.load_config(self.pretrained)
        self._end = time.monotonic() + 60 * settings.max_minutes if settings.max_minutes else (
            math.inf)
        self._cluster = None
        self._renewal = Renewal()
        self._weights = Weights()
        self._found: dict[Run, Result] = {}

    def build(self, *names: str) -> None:
        """Builds the data folders of tasks unless they are there."""
        for task in names:
            folders.build(task, tasks.files_of(task, self.settings.tasks_dir), self.pretrained,
                          self.data(task))

    @functools.cache  # noqa: B019  a command has one campaign
    def manifest(self, task: str) -> Manifest:
        """Of a task's data folder, which is built."""
        return Manifest.load(self.data(task))

    def metric(self, task: str) -> str:
        """The task's first metric: it chooses rates, and it is what the paper reports."""
        return self.manifest(task).task.metrics[0]

    def rows(self, task: str) -> int:
        """Training rows of a task's runs, of --max_rows; 0: all."""
        limit = self.settings.row_limit(task)
        return limit if limit < self.manifest(task).splits["train"].records else 0

    def baselines(self, task: str, rows: int = 0, seed: int = 1) -> dict[str, dict[str, float]]:
        """Metrics of "majority" and "bag of words", of the training rows of a seed."""
        self._start()
        data = self._data_of_seed(Cell(task, None, rows), seed)
        return folders.baselines(data, validation_splits(self.manifest(task))[0], self._path(
            "results", Cell(task, None, rows).data_name, f"baselines-{seed}.json"))

    def outcome(self, cell: Cell) -> Outcome:
        """What the runs of a cell have come to so far."""
        rate = self._chosen_rate(cell)
        asked = self.settings.num_seeds
        if rate is None:
            return Outcome(None, (), 0, asked)
        found = [result for seed in self.settings.seeds
                 if (result := self._load(Run(cell, rate, seed)))]
        runs = [result for result in found if result.scores]
        return Outcome(rate, runs, len(found) - len(runs), asked)

    def results(self, cells: Sequence[Cell]) -> list[Result]:
        """The finished runs of these cells that count: those that chose the learning rate, where
        there is a choice, and of this rate those that are reported."""
        rates, keys = self.settings.chosen_rates, []
        for cell in cells:
            if len(rates) > 1:
                keys += [Run(cell, rate, SELECTION_SEED) for rate in rates]
            if (chosen := self._chosen_rate(cell)) is not None:
                keys += [Run(cell, chosen, seed) for seed in self.settings.seeds]
        return [result for key in keys if (result := self._load(key))]

    def run(self, cells: Sequence[Cell], write: Callable[[], None]) -> bool:
        """Does what is not done yet, until it is done or --max_minutes are over.

        Args:
          cells: those of a task stand together; their data is built.
          write: writes what there is; called between tasks and in the end, whatever ends it.

        Returns:
          Whether everything is done.

        Raises:
          UserError, Interrupted: of fine-tuning; the same command goes on from there.
        """
        estimate = Estimate({self._kind(cell): self._tokens(cell) for cell in cells})
        for cell, left in zip(cells, map(self._left, cells)):
            print(f"{cell.data_name}, {cell.arm.name}: "
                  f"{'done' if not left else f'{left} runs left'}", flush=True)
            for result in self.results([cell]):
                if result.trained_by == TRAINED_BY:  # others' seconds are of other machines
                    estimate.add(self._kind(cell), result)
        try:
            for number, (_, group) in enumerate(
                    itertools.groupby(cells, key=lambda cell: cell.data_name)):
                if number:
                    write()
                for key in self._unfinished(list(group)):
                    if time.monotonic() > self._end:
                        print(f"--max_minutes={self.settings.max_minutes:g} are over; the same "
                              "command goes on from here.", flush=True)
                        return False
                    estimate.add(self._kind(key.cell), self._finish(key))
                    self._say_what_is_left(cells, estimate)
                    self._renewal.renew_if_large(self._end)
        finally:
            write()
        return True

    def publish(self, cells: Sequence[Cell], make: Callable[[], str]) -> None:
        """`run`, and prints the table at its end.

        Args:
          cells: as of `run`.
          make: writes the table of what there is and returns its text.
        """
        texts = []
        self.run(cells, write=lambda: texts.append(make()))
        print(texts[-1])

    def _say_what_is_left(self, cells: Sequence[Cell], estimate: Estimate) -> None:
        kinds = [self._kind(cell) for cell in cells for _ in range(self._left(cell))]
        if kinds:
            print(f"  {len(kinds)} runs left, about {spoken(estimate.seconds(kinds))}", flush=True)

    def _left(self, cell: Cell) -> int:
        """How many runs of a cell are not finished."""
        rates, rate = self.settings.chosen_rates, self._chosen_rate(cell)
        chosen = sum(self._load(Run(cell, rate, SELECTION_SEED)) is not None for rate in rates)
        done = sum(self._load(Run(cell, rate, seed)) is not None
                   for seed in self.settings.seeds) if rate else 0
        return (len(rates) - chosen) * (len(rates) > 1) + self.settings.num_seeds - done

    def _unfinished(self, cells: Sequence[Cell]) -> Iterator[Run]:
        """The runs to do of the cells of a task, in order; a rate is chosen on the way."""
        rates = self.settings.chosen_rates
        runs = itertools.chain(
            (Run(cell, rate, SELECTION_SEED) for cell in cells for rate in rates
             if len(rates) > 1),
            (Run(cell, self._chosen_rate(cell), seed)
             for seed in self.settings.seeds for cell in cells))
        return (key for key in runs if not self._load(key))

    def _chosen_rate(self, cell: Cell) -> float | None:
        """The rate whose last validation was best with the seed that is thrown away; the lowest
        of equals. None while that is not known."""
        rates = self.settings.chosen_rates
        if len(rates) == 1:
            return rates[0]
        found = [self._load(Run(cell, rate, SELECTION_SEED)) for rate in rates]
        if None in found:
            return None
        metric = self.metric(cell.task)
        return max(zip(rates, found), key=lambda pair: pair[1].scores.get(metric, -math.inf))[0]

    def _finish(self, key: Run) -> Result:
        """Takes a run to its end, from the start or from where it stopped; keeps its result."""
        self._start()
        cell, first = key.cell, validation_splits(self.manifest(key.cell.task))[0]
        config = make_config(self._flags(key), TrainingData.load(
            self._data_of_seed(cell, key.seed), TASK), cell.arm.init_from,
            self._path("runs", *self._place(key)))
        print(f"{cell.data_name}, {cell.arm.name}, rate {key.rate:g}, seed {key.seed} ...",
              flush=True)
        begin, answers = time.monotonic(), []

        def watch(step, split, found):
            if split == first:
                answers[:] = [found]

        self._weights.check(cell.arm.init_from)
        diverged = not self._finetune(key, config, watch)
        self._weights.check(cell.arm.init_from)
        if not (answers or diverged):
            # It was killed after its last checkpoint and before its result was written.
            shutil.rmtree(config.model_dir)
            return self._finish(key)
        labels, given = ([], []) if diverged else (
            answers[0].labels, answers[0].predictions)
        scores = {} if diverged else {name: METRICS[name](labels, given)
                                      for name in self.manifest(cell.task).task.metrics}
        per_epoch = config.total_steps / config.training.num_epochs
        course = [{"epoch": row.step / per_epoch} | {
            name: value if math.isfinite(value) else None for name, value in row.values.items()}
                  for row in metrics_log.load_rows(config.model_dir)
                  if f"{first}/loss" in row.values]
        result = self._result(key, scores, labels, given, time.monotonic() - begin, course)
        result.save(self._result_path(key))
        shutil.rmtree(config.model_dir)
        said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        print(f"  {said or 'diverged'}, in {spoken(result.seconds)}", flush=True)
        return result

    def take(self, key: Run, scores: dict[str, float], labels: Sequence, answers: Sequence,
             seconds: float, trained_by: str) -> bool:
        """Keeps a run that another program has made, unless it is there already.

        Args:
          key: which run.
          scores, labels, answers, seconds, trained_by: as in `Result`; none where it diverged.

        Returns:
          Whether it was kept.
        """
        if self._load(key):
            return False
        self._result(key, scores, labels, answers, seconds, [], trained_by).save(
            self._result_path(key))
        return True

    def _result(self, key: Run, scores, labels, answers, seconds: float, course: list,
                trained_by: str = TRAINED_BY) -> Result:
        cell = key.cell
        return Result(cell.task, cell.rows, cell.arm.name, key.rate, key.seed, self._identity(key),
                      course, seconds, scores, [value.item() for value in labels],
                      [value.item() for value in answers], trained_by)

    def trained_elsewhere(self, cells: Sequence[Cell]) -> str:
        """For a caption: which runs of these cells another program has made; "" of none."""
        found = collections.Counter(result.trained_by for result in self.results(cells))
        own = found.pop(TRAINED_BY, 0)
        return "".join(f" {count} of {own + found.total()} runs by {name}."
                       for name, count in found.items())

    def _finetune(self, key: Run, config: FineTuningRunConfig, watch) -> bool:
        """Whether the run came to its end; False where it diverged. What it says goes to a file
        in its folder."""
        with self._cluster.owning(config.model_dir), open(
                os.path.join(config.model_dir, "log.txt"), "a", encoding="utf-8") as log:
            begin_or_check(config.model_dir, self._identity(key))
            try:
                with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                    key.cell.arm.finetune(config, self._cluster, watch)
            except Diverged as error:
                print(f"  {error}", flush=True)
                return False
        return True

    def _start(self) -> None:
        """Imports TensorFlow and names the devices, when they are first needed."""
        if self._cluster is None:
            cli.import_tensorflow()
            from gpt_tf.training import devices, distribution

            devices.choose("auto", "float32")
            self._cluster = distribution.join("auto")

    def _flags(self, key: Run) -> dict:
        return flags_of(self.settings, self.shape, self.manifest(key.cell.task), *key)

    def _identity(self, key: Run) -> dict:
        return identity(self._flags(key), self._weights.digest(key.cell.arm.init_from),
                        self.manifest(key.cell.task), key.cell)

    def _load(self, key: Run) -> Result | None:
        """The result of a run; None where it is not finished."""
        if key not in self._found:
            result = Result.load(self._result_path(key), self._identity(key))
            if result is None:
                return None
            self._found[key] = result
        return self._found[key]

    def _path(self, *parts: str) -> str:
        return os.path.join(self.settings.work_dir, *parts)

    def _place(self, key: Run) -> tuple[str, str, str]:
        """The folders and the name of a run."""
        epochs = num_epochs(self.settings, key.cell)
        return (key.cell.data_name, key.cell.arm.name,
                f"epochs-{epochs:g}-rate-{key.rate:g}-seed-{key.seed}")

    def _result_path(self, key: Run) -> str:
        return self._path("results", *self._place(key)) + ".json"

    def data(self, task: str) -> str:
        """A task's data folder."""
        return self._path("data", task)

    def _data_of_seed(self, cell: Cell, seed: int) -> str:
        """The data folder of a cell's runs of one seed; it is made unless it is there."""
        if not cell.rows:
            return self.data(cell.task)
        folder = self._path("data", f"{cell.data_name}-{seed}")
        folders.draw(self.data(cell.task), cell.rows, seed, folder)
        return folder

    def _kind(self, cell: Cell) -> tuple:
        """Runs of one kind take equally long."""
        return cell.data_name, num_epochs(self.settings, cell), cell.arm.name

    def _tokens(self, cell: Cell) -> float:
        """Tokens that a run reads in training, those of the validations by their share of work."""
        splits = self.manifest(cell.task).splits
        train, epochs = splits["train"], num_epochs(self.settings, cell)
        share = min(1, cell.rows / train.records) if cell.rows else 1
        held_out = sum(splits[name].tokens
                       for name in validation_splits(self.manifest(cell.task)))
        return epochs * (train.tokens * share + held_out / (1 + _BACKWARD))
