"""A training run: how it starts, and how it trains; what it is stands in `run_config`.

What `pretraining` and `finetuning` have in common. Each adds its model, what it takes over of
another run's weights, its loss, its batches and its validation.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
from importlib.util import find_spec
from typing import NamedTuple

from gpt_tf.data.batches import Batches
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import LossFunction
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import beginning, run_folder, weights
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.runs.reporting import Reporter
from gpt_tf.training import memory
from gpt_tf.training.distribution import Cluster, check_batch_size
from gpt_tf.training.run_config import RunConfig
from gpt_tf.training.train_step import TrainStep
from gpt_tf.training.trainer import Trainer

_PROFILE_PLUGINS = ("xprof", "tensorboard_plugin_profile")  # its new name and its old one


class Outcome(NamedTuple):
    """A finished run: its updates, of `total`, and the update and scores of its best validation."""

    steps: int
    total: int
    best_step: int | None  # None: there was nothing to validate on
    scores: dict[str, float]

    def __str__(self) -> str:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in self.scores.items())
        best = (f" Best at update {self.best_step}: {scores}." if self.best_step else
                " There was no validation, so its newest weights are taken.")
        early = f" of {self.total}; --early_stopping=0 goes on" if self.steps < self.total else ""
        return f"{self.steps} updates{early}.{best}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that has started.

    Attributes:
      config: what it is.
      cluster: the workers that train it.
      model: its model, with the weights of update `start`.
      optimizer: its Adam, with the moments of update `start`.
      checkpoints: where it is saved.
      best: where the weights of its best validation are kept.
      start: updates already done.
      micro_batches: how its batches are cut.
    """

    config: RunConfig
    cluster: Cluster
    model: GPT | TaskModel
    optimizer: Adam
    checkpoints: Checkpoints
    best: BestCheckpoint
    start: int
    micro_batches: memory.MicroBatches

    @property
    def is_finished(self) -> bool:
        """Whether there is no update left to take."""
        return self.start >= self.config.total_steps or self.stops_early(self.start)

    def stops_early(self, step: int) -> bool:
        """Whether as many validations as `--early_stopping` says, up to update `step`, were no
        better than the best before them.

        A function of what is saved, so that a run which was killed stops where it would have.
        """
        patience, every = self.config.training.early_stopping, self.config.evaluate_every
        if not patience or self.best.step is None:
            return False
        return step // every - self.best.step // every >= patience

    def outcome(self, steps: int) -> Outcome:
        """What has become of it, finished with so many updates."""
        return Outcome(steps, self.config.total_steps, self.best.step, self.best.scores)

    def announce(self, what: str) -> None:
        """Prints `what` is trained, how far the run is, and what it takes to see its profile."""
        total, profile_step = self.config.total_steps, self.config.training.profile_step
        print(f"{what}; " + (f"going on at update {self.start} of {total}." if self.start
                             else f"{total} updates."), flush=True)
        if self.micro_batches.size < self.micro_batches.rows:
            print(self.micro_batches, flush=True)
        if self.start < profile_step <= total and not any(map(find_spec, _PROFILE_PLUGINS)):
            print("TensorBoard shows a profile where its plugin is installed: pip install xprof",
                  flush=True)

    @contextlib.contextmanager
    def reporting(self, title: str, charts: dict[str, list[str]]) -> Iterator[Reporter]:
        """The run's reporter, open inside the block; its flags are the first text.

        Args:
          title, charts: of `Reporter.layout`.
        """
        config = self.config
        reporter = Reporter(config.model_dir, self.start, self.cluster.is_chief)
        with contextlib.closing(reporter):
            flags = "".join(f"    {line}\n" for line in config.flags_text.splitlines())
            # TensorBoard sorts by tag: the newest samples stand on top, these below them.
            reporter.text(self.start + 1, "settings/flags", flags)
            reporter.settings(config.settings)
            reporter.layout(title, charts)
            yield reporter
            reporter.finish()

    def step_function(self, loss: LossFunction, loss_names: tuple[str, ...] = ()) -> TrainStep:
        """What takes its updates; see `train`."""
        return TrainStep(self.cluster.strategy, self.model.trainable_variables, loss,
                         self.optimizer, self.config.training, loss_names, self.micro_batches.size)

    def train(self, reporter: Reporter, loss: LossFunction, batches: Batches,
              validate: Callable[[int, bool], dict[str, float]] | None,
              loss_names: tuple[str, ...] = ()) -> int:
        """Takes the updates that are left; returns the last.

        Args:
          reporter: of `reporting`.
          loss: of the model.
          batches: this worker's share of each batch, from update `start` + 1 on.
          validate: (step, whether it is the last) -> scalars to report; None: nothing is.
          loss_names: names of the parts of the loss.

        Raises:
          UserError: the loss is not finite, or a file cannot be written.
          Interrupted: a signal came; the run was saved.
        """
        config = self.config
        trainer = Trainer(self.cluster, self.step_function(loss, loss_names), self.optimizer,
                          self.checkpoints, reporter, config.training)
        return trainer.train(batches, self.start, config.total_steps, validate, self.stops_early)


def start_run(config: RunConfig, cluster: Cluster, build_model: Callable[[], GPT | TaskModel],
              take_over: Callable[[GPT | TaskModel, GPT], None]) -> Run:
    """Starts a run, or goes on with it; its data fits its model.

    Call inside `cluster.owning(config.model_dir)`, on every worker.

    Args:
      config: what the run is.
      cluster: the workers that train it.
      build_model: makes the model with the weights that the seed decides.
      take_over: (the model, another run's) -> None; gives the model those of the other's weights
        that it starts with.

    Raises:
      UserError: data, flags and folders do not fit together, or a checkpoint is damaged.
    """
    training, folder = config.training, config.model_dir
    with cluster.together():
        config.check()
        check_batch_size(cluster.strategy, training.batch_size, training.micro_batch_size)
        if cluster.is_chief:
            beginning.begin(folder, config.flags_text, config.free_flags, config.model,
                            config.data.manifest, config.data.tokenizer, config.overwrite)
            if config.changes_length:
                beginning.record_flags(folder, config.flags_text, config.data.manifest)
    with cluster.together():
        micro_batches = _cut_batches(config, cluster)
    with cluster.strategy.scope():
        model = build_model()
        optimizer = Adam(model.trainable_variables, config.optimizer, config.total_steps,
                         training.jit_compile)
    checkpoints = Checkpoints(
        run_folder.checkpoint_folder(folder),
        {"model": weights.model_variables(model), **optimizer.moments()},
        training.keep_checkpoints, writes=cluster.is_chief,
        keep_per_decade=training.checkpoints_per_decade)

    # How a run starts:
    # 1. resumed: the folder holds this run, and it goes on from its newest whole checkpoint;
    # 2. from another run: what the recipe takes over of its weights, the rest by the seed, and
    #    new moments;
    # 3. from scratch: the seed decides all initial weights.
    start = cluster.restore_latest(checkpoints)
    with cluster.together():
        best = BestCheckpoint(run_folder.best_folder(folder), weights.model_variables(model),
                              config.score_names, config.lowest_is_best, writes=cluster.is_chief)
    if start == 0 and not config.is_from_scratch:
        other, step = weights.load_model(config.init_from)
        print(f"Starting from {run_folder.name_weights(config.init_from, step)}.", flush=True)
        take_over(model, other)
    return Run(config, cluster, model, optimizer, checkpoints, best, start, micro_batches)


def _cut_batches(config: RunConfig, cluster: Cluster) -> memory.MicroBatches:
    """How many sequences are in memory at once; what was chosen is kept for when the run goes on.

    Raises:
      UserError: what was chosen does not fit.
    """
    before = beginning.micro_batch_size(config.model_dir)
    chosen = memory.choose(config, cluster.strategy, before)
    chosen.check()
    is_asked_for = config.training.micro_batch_size > 0
    if cluster.is_chief and not is_asked_for and chosen.size < chosen.rows:
        beginning.keep_micro_batch_size(config.model_dir, chosen.size)
    return chosen
