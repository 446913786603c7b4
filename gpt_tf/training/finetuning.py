"""Fine-tuning from a data folder into a run folder: builds the parts and starts the Trainer."""

import dataclasses
import gc
import os
from typing import NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import write_json
from gpt_tf.config import FineTuningConfig, ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.data.batches import evaluation_batches, task_batches
from gpt_tf.data.manifest import TASK, Manifest
from gpt_tf.model.objectives import joint_loss, loss_names
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import pictures, run_folder
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.runs.reporting import Reporter, Silence, reporting
from gpt_tf.tasks import metrics
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import distribution
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.predictor import Predictions, Predictor
from gpt_tf.training.train_step import TrainStep
from gpt_tf.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run is: where, on what, from what, and every value of the paper."""

    data_dir: str
    model_dir: str
    init_from: str  # a run folder, or run_folder.FROM_SCRATCH
    model: ModelConfig
    fine_tuning: FineTuningConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    flags_text: str  # the resolved flagfile
    resumable: frozenset[str]  # flags that may change when the run goes on


class Outcome(NamedTuple):
    """A finished run: its updates, and the update and scores of its best validation."""

    total: int
    best_step: int
    scores: dict[str, float]


def check_data(data_dir: str) -> Manifest:
    """Reads the manifest of a data folder that fine-tuning can use.

    Raises:
      UserError: data of another kind, another tokenizer beside it, or nothing to validate on.
    """
    manifest = Manifest.load(data_dir)
    if manifest.kind != TASK:
        raise UserError(f"{data_dir} holds data of kind {manifest.kind!r}; fine-tuning wants the "
                        "output of python -m pipelines.build_task.")
    tokenizer = Tokenizer.load(data_dir)
    if (tokenizer.fingerprint, tokenizer.vocabulary_size) != (
            manifest.tokenizer_fingerprint, manifest.vocabulary_size):
        raise UserError(f"The tokenizer in {data_dir} is not the one its data was made with: "
                        "build the folder again with python -m pipelines.build_task.")
    if not validation_splits(manifest):
        raise UserError(f"{data_dir} has no labelled validation split, and the best weights are "
                        "chosen on one: build it with --validation_fraction.")
    return manifest


def validation_splits(manifest: Manifest) -> list[str]:
    """The labelled splits named validation..., the one that chooses the best weights first."""
    return sorted(name for name, split in manifest.splits.items()
                  if name.startswith("validation") and split.labelled and split.records)


def check_fit(job: Job, manifest: Manifest) -> None:
    """Sees that data, model and the run it starts from fit together.

    Raises:
      UserError: sequences too long, another tokenizer, or more blocks wanted than there are.
    """
    if manifest.sequence_length > job.model.max_sequence_length:
        raise UserError(f"{job.data_dir} has sequences of up to {manifest.sequence_length} tokens "
                        f"and the model takes {job.model.max_sequence_length}: build the data "
                        f"with --max_length={job.model.max_sequence_length}.")
    if job.init_from == run_folder.FROM_SCRATCH:
        return
    if Tokenizer.load(job.init_from).fingerprint != manifest.tokenizer_fingerprint:
        raise UserError(f"{job.data_dir} was made with another tokenizer than {job.init_from}: "
                        f"build it again with --tokenizer={job.init_from}.")
    if job.fine_tuning.transfer_layers > job.model.num_layers:
        raise UserError(f"--transfer_layers={job.fine_tuning.transfer_layers}: {job.init_from} "
                        f"has {job.model.num_layers} blocks.")


def picture(task: Task, predictions: Predictions):
    """Predictions against labels, a matplotlib Figure: a confusion matrix, or a scatter."""
    if task.is_score:
        return pictures.scatter_figure(predictions.labels, predictions.predictions,
                                       task.score_range)
    matrix = metrics.confusion_matrix(predictions.labels, predictions.predictions,
                                      task.num_classes)
    return pictures.confusion_matrix_figure(matrix, task.labels)


class Validation:
    """Scores of the model as training goes, on every validation split.

    Args:
      job: the run.
      model: its model.
      cluster: the workers that share each batch.
      reporter: takes the pictures.
      best: is offered the weights with their scores.
    """

    def __init__(self, job: Job, model: TaskModel, cluster: Cluster,
                 reporter: Reporter | Silence, best: BestCheckpoint):
        self._task = model.task
        self._splits = {
            name: evaluation_batches(job.data_dir, name, job.training.batch_size, cluster.share)
            for name in validation_splits(Manifest.load(job.data_dir))}
        self._predict = Predictor(model, cluster.strategy, job.training.jit_compile)
        self._reporter = reporter
        self._best = best

    def __call__(self, step: int, last: bool) -> dict[str, float]:
        """The task's metrics and the loss, on whole splits, `last` or not."""
        scores = {}
        for split, batches in self._splits.items():
            predictions = self._predict(batches)
            scores |= {f"{split}/{name}": metrics.METRICS[name](
                predictions.labels, predictions.predictions) for name in self._task.metrics}
            scores[f"{split}/loss"] = predictions.loss
            self._reporter.figure(step, split, picture(self._task, predictions))
        self._best.offer(step, scores)
        return scores


def _score_names(manifest: Manifest) -> list[str]:
    return [f"{split}/{name}" for split in validation_splits(manifest)
            for name in (*manifest.task.metrics, "loss")]


def finetune(job: Job, cluster: Cluster) -> Outcome:
    """Runs `job` to its end, from the start or from where it stopped.

    Call inside `cluster.owning(job.model_dir)`, on every worker.

    Raises:
      UserError: data, flags and folders do not fit together, or the loss is not finite.
      Interrupted: a signal came; the run was saved.
    """
    manifest = check_data(job.data_dir)
    check_fit(job, manifest)
    training, options, rows = job.training, job.fine_tuning, manifest.splits["train"].records
    total = training.total_steps(rows)
    strategy = cluster.strategy
    distribution.check_batch_size(strategy, training.batch_size, training.micro_batch_size)
    with strategy.scope():
        model = TaskModel(job.model, manifest.task, options.classifier_dropout, training.seed,
                          training.dtype)
        optimizer = Adam(
            model.trainable_variables,
            dataclasses.replace(job.optimizer, warmup_steps=options.warmup_fraction * total),
            total, training.jit_compile)
    variables = run_folder.model_variables(model)
    checkpoints = Checkpoints(run_folder.checkpoint_folder(job.model_dir),
                              {"model": variables, **optimizer.moments()},
                              training.keep_checkpoints, writes=cluster.is_chief)

    # How a run starts:
    # 1. resumed: the folder holds this run, and it goes on from its newest whole checkpoint;
    # 2. from another run: its tables and blocks, and the rest by the seed;
    # 3. from scratch: the seed decides all initial weights.
    with cluster.together():
        if cluster.is_chief:
            run_folder.begin(job.model_dir, job.flags_text, job.resumable, job.model, job.data_dir)
        best = BestCheckpoint(run_folder.best_folder(job.model_dir), variables,
                              _score_names(manifest), writes=cluster.is_chief)
    start = cluster.restore_latest(checkpoints)
    if start == 0 and job.init_from != run_folder.FROM_SCRATCH:
        # Of a fine-tuned run the rows of the special tokens are taken, too; after a pre-trained
        # one they are new, as the head is (section 3.2).
        model.gpt.assign(run_folder.load_model(job.init_from)[0], options.transfer_layers)
    if start < total:
        _announce(job, manifest, start, total)
        step = TrainStep(strategy, model.trainable_variables,
                         joint_loss(model, options.lm_coef, training.seed), optimizer, training,
                         loss_names(options.lm_coef))
        with reporting(job.model_dir, start, job.flags_text, cluster.is_chief) as reporter:
            Trainer(cluster, step, optimizer, checkpoints, reporter, _cadence(job, rows)).train(
                task_batches(job.data_dir, training.batch_size, training.seed, total, start,
                             cluster.share),
                start, total, Validation(job, model, cluster, reporter, best))
    return Outcome(total, best.step, best.scores)


def _cadence(job: Job, rows: int) -> TrainingConfig:
    """The job's, with validations by epochs turned into updates."""
    per_epoch = job.fine_tuning.evaluations_per_epoch
    every = rows / job.training.batch_size / per_epoch if per_epoch else 0
    return dataclasses.replace(job.training, evaluate_every=every)


def _announce(job: Job, manifest: Manifest, start: int, total: int) -> None:
    source = "from scratch" if job.init_from == run_folder.FROM_SCRATCH else f"from {job.init_from}"
    print(f"{manifest.task.name}, {source}: {job.model.num_parameters:,} parameters and a head; "
          f"{manifest.splits['train'].records:,} training rows; updates of "
          f"{job.training.batch_size} rows; "
          + (f"going on at update {start} of {total}." if start else f"{total} updates."),
          flush=True)


def finetune_all(jobs: dict[int, Job], cluster: Cluster, model_dir: str) -> str:
    """Runs one job for each seed, one after the other; a finished one is not done again.

    Args:
      jobs: seed -> job.
      cluster: the workers, all of which call this.
      model_dir: the folder above theirs; takes `runs.json` with the scores of all.

    Returns:
      A table of the best validations, and of `metrics.summarize` of each score.

    Raises:
      UserError, Interrupted: as `finetune`; the same call goes on from there.
    """
    outcomes = {}
    for seed, job in jobs.items():
        with cluster.owning(job.model_dir):
            outcomes[seed] = finetune(job, cluster)
        gc.collect()  # a model and its compiled steps hold each other
    names = list(outcomes[seed].scores)
    summary = {name: metrics.summarize([outcome.scores[name] for outcome in outcomes.values()])
               for name in names}
    if cluster.is_chief:
        write_json(os.path.join(model_dir, "runs.json"), {
            "runs": [{"seed": seed, "best_step": outcome.best_step, **outcome.scores}
                     for seed, outcome in outcomes.items()],
            "summary": summary})
    rows = {f"seed {seed}": outcome.scores for seed, outcome in outcomes.items()}
    for figure in summary[names[0]]:
        rows[figure] = {name: summary[name][figure] for name in names}
    return _table(names, rows)


def _table(names: list[str], rows: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':16}" + "".join(f"{name:>24}" for name in names)]
    lines += [f"{row:16}" + "".join(f"{scores[name]:24.4f}" for name in names)
              for row, scores in rows.items()]
    return "\n".join(lines)
