"""Fine-tuning from a data folder into a run folder (Radford et al. 2018, section 3.2)."""

from collections.abc import Callable
import dataclasses
import functools
import gc
import math
import os
import shlex

from gpt_tf.common.small_files import write_json
from gpt_tf.data.batches import evaluation_batches, task_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.model.objectives import joint_loss, loss_names
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import pictures
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tasks import metrics
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.forms import SpecialTokens, texts_of
from gpt_tf.tasks.task import Task
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.predictor import Predictions, Predictor
from gpt_tf.training.run import Outcome, Run, start_run
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData, validation_splits

_EXAMPLE_WORDS = 12  # of each text

# (update, split, what the model says of it) -> None: called at each validation.
Watch = Callable[[int, str, Predictions], None]


def picture(task: Task, predictions: Predictions):
    """Predictions against labels: (what it shows, a matplotlib Figure)."""
    if task.is_score:
        return "scatter", pictures.scatter_figure(predictions.labels, predictions.predictions,
                                                  task.score_range)
    matrix = metrics.confusion_matrix(predictions.labels, predictions.predictions,
                                      task.num_classes)
    return "confusion_matrix", pictures.confusion_matrix_figure(matrix, class_names(task))


class TaskValidation:
    """Scores of a task's model as training goes, on every validation split.

    Args:
      run: whose model is validated; its best weights are kept.
      reporter: takes the pictures.
      watch: sees the predictions.
    """

    def __init__(self, run: Run, reporter: Reporter, watch: Watch | None = None):
        training, data, cluster = run.config.training, run.config.data, run.cluster
        self._task = run.model.task
        self._splits = {
            name: evaluation_batches(data.folder, name, training.batch_size, cluster.share,
                                     data.manifest)
            for name in validation_splits(data.manifest)}
        self._predict = Predictor(run.model, cluster.strategy, training.jit_compile)
        self._reporter = reporter
        self._watch = watch
        self._best, self._together = run.best, cluster.together

    def __call__(self, step: int, last: bool) -> dict[str, float]:
        """The task's metrics and the loss, on whole splits, `last` or not."""
        scores = {}
        for split, batches in self._splits.items():
            predictions = self._predict(batches)
            if not math.isfinite(predictions.loss):  # no metric has a value, and the run ends
                return {f"{split}/loss": predictions.loss}
            if self._watch:
                self._watch(step, split, predictions)
            scores |= {f"{split}/{name}": metrics.METRICS[name](
                predictions.labels, predictions.predictions) for name in self._task.metrics}
            scores[f"{split}/loss"] = predictions.loss
            if self._reporter.writes:
                shows, figure = picture(self._task, predictions)
                self._reporter.figure(step, f"{split}/{shows}", figure)
        with self._together():
            self._best.offer(step, scores)
        return scores


def _charts(manifest: Manifest, names: tuple[str, ...]) -> dict[str, list[str]]:
    """What TensorBoard shows side by side: validation measures the loss of the task alone.

    Args:
      manifest: of the data.
      names: of the parts of the loss.
    """
    splits = validation_splits(manifest)
    charts = {"task loss": ["train/task_loss", *(f"{split}/loss" for split in splits)]}
    if "lm_loss" in names:
        charts |= {"LM loss": ["train/lm_loss"], "joint loss": ["train/loss"]}
    return charts | {name: [f"{split}/{name}" for split in splits]
                     for name in manifest.task.metrics}


def finetune(config: FineTuningRunConfig, cluster: Cluster,
             watch: Watch | None = None) -> Outcome:
    """Takes a run to its end, from the start or from where it stopped.

    Call inside `cluster.owning(config.model_dir)`, on every worker.

    Args:
      config: what the run is.
      cluster: the workers that train it.
      watch: sees the predictions of each validation.

    Raises:
      UserError: data, flags and folders do not fit together.
      Diverged: the loss is not finite.
      Interrupted: a signal came; the run was saved.
    """
    config = _count_in_updates(config)
    data, training, options = config.data, config.training, config.fine_tuning

    def take_over(model: TaskModel, other) -> None:
        # Of a fine-tuned run the rows of the special tokens are taken, too; after a pre-trained
        # one they are new, as the head is (section 3.2).
        model.gpt.assign(other, options.transfer_layers)

    run = start_run(config, cluster,
                    functools.partial(TaskModel, config.model, data.manifest.task,
                                      options.classifier_dropout, training.seed,
                                      training.dtype_policy),
                    take_over)
    if run.is_finished:
        return run.outcome(run.start)
    _announce(run)
    names = loss_names(options.lm_coef)
    with run.reporting(f"Fine-tuning: {data.manifest.task.name}",
                       _charts(data.manifest, names)) as reporter:
        steps = run.train(reporter, joint_loss(run.model, options.lm_coef, training.seed,
                                               training.jit_compile),
                          task_batches(data.folder, training.batch_size, training.seed,
                                       run.start, cluster.share, data.manifest),
                          TaskValidation(run, reporter, watch), names)
    return run.outcome(steps)


def _count_in_updates(config: FineTuningRunConfig) -> FineTuningRunConfig:
    """The same run; its warm-up, a share of all updates, and its validations, some an epoch, are
    counted in updates."""
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, evaluate_every=config.evaluate_every),
        optimizer=config.course(config.total_steps))


def example(data: TrainingData) -> str:
    """A shell command that prints the shortest validation row as a line for `gpt_tf.predict`.

    Example: printf '%s\\t%s\\n' 'it rains .' 'it is wet .' where a row has two texts.
    """
    manifest, decode = data.manifest, data.tokenizer.decode
    batch = next(iter(evaluation_batches(data.folder, validation_splits(manifest)[0], 1,
                                         manifest=manifest)))
    sequences = [ids[:length].tolist() for ids, length in zip(
        batch["token_ids"].numpy()[0], batch["lengths"].numpy()[0])]
    texts = [" ".join(decode(ids).split()[:_EXAMPLE_WORDS]) for ids in texts_of(
        manifest.task.form, sequences, SpecialTokens.after(manifest.vocabulary_size))]
    line = "\\t".join(["%s"] * len(texts))
    return shlex.join(["printf", f"{line}\\n", *texts])


def _announce(run: Run) -> None:
    config, manifest = run.config, run.config.data.manifest
    source = "from scratch" if config.is_from_scratch else f"from {config.init_from}"
    run.announce(f"{manifest.task.name}, {source}: {run.model.gpt.count_params():,} parameters and "
                 f"a head; {manifest.splits['train'].records:,} training rows; updates of "
                 f"{config.training.batch_size} rows")


def finetune_all(configs: dict[int, FineTuningRunConfig], cluster: Cluster,
                 model_dir: str) -> str:
    """Takes a run for each seed to its end, one after the other; a finished one is left as it is.

    Args:
      configs: seed -> its run.
      cluster: the workers, all of which call this.
      model_dir: the folder above theirs; takes `runs.json` with the scores of all.

    Returns:
      A table of the best validations, and of `metrics.summarize` of each score.

    Raises:
      UserError, Interrupted: as `finetune`; the same call goes on from there.
    """
    outcomes = {}
    for seed, config in configs.items():
        with cluster.owning(config.model_dir):
            outcomes[seed] = finetune(config, cluster)
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
