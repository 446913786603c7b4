"""The pictures for which models are run: perplexity by position, answers, attention."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpt_tf.common.progress import Progress
from gpt_tf.data.batches import Batches
from gpt_tf.evaluation import pictures
from gpt_tf.evaluation.attention import attention_weights
from gpt_tf.evaluation.calibration import reliability
from gpt_tf.evaluation.positions import position_losses
from gpt_tf.evaluation.report_page import Picture
from gpt_tf.runs import weights
from gpt_tf.runs.pictures import confusion_matrix_figure, scatter_figure
from gpt_tf.runs.run_folder import name_weights
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.metrics import METRICS, confusion_matrix
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training.predictor import Predictions, Predictor
from gpt_tf.training.replicas import one_device


class Models(NamedTuple):
    """Which models are run, and how.

    runs: run folders.
    weights: `config.BEST` or `config.NEWEST`.
    jit_compile: whether to compile with XLA.
    """

    runs: Sequence[str]
    weights: str
    jit_compile: bool

    def suffix(self, run: str) -> str:
        """What tells a run's files from those of the others: its number, from 1."""
        return "" if len(self.runs) == 1 else f"-{self.runs.index(run) + 1}"


def positions_picture(models: Models, batches: Batches, split: str) -> Picture:
    """Perplexity by position of language models.

    Args:
      models: of pre-training.
      batches: of the split, all of it or some.
      split: its name.
    """
    found = {}
    for run in models.runs:
        model, step = weights.load_model(run, weights=models.weights)
        found[name_weights(run, step, models.weights)] = position_losses(
            model, _watched(batches, f"perplexity of {run}"), models.jit_compile)
    tokens = int(next(iter(found.values())).counts.sum())
    return Picture(
        "positions", f"Perplexity by position, {split} split of {batches.reader.folder}",
        f"How well a token is predicted by how much of its window stands before it: {tokens:,} "
        f"tokens, of {len(batches.dataset):,} batches from all over the split. A dot for each "
        "position, a line through the means of 1, 2, 3 - 4, 5 - 8, ... tokens; dotted: over all.",
        pictures.positions_figure(found))


def task_pictures(models: Models, batches: Batches, split: str) -> list[Picture]:
    """A confusion matrix and a reliability diagram of each fine-tuned run, or a scatter.

    Args:
      models: fine-tuned ones.
      batches: of the split, which has labels; all of it.
      split: its name.
    """
    found = []
    for run in models.runs:
        model, task, step = weights.load_task_model(run, weights=models.weights)
        answers = Predictor(model, one_device(), models.jit_compile)(
            _watched(batches, f"predictions of {run}"))
        suffix = models.suffix(run)
        where = f"{run}, {split} split of {batches.reader.folder}"
        scores = ", ".join(f"{metric} {METRICS[metric](answers.labels, answers.predictions):.4f}"
                           for metric in task.metrics)
        scores += (f", of {len(answers.labels):,} rows, with "
                   f"{name_weights(run, step, models.weights)}")
        found.append(_answers_picture(task, answers, suffix, where, scores))
        if not task.is_score:
            measured = reliability(answers.probabilities, answers.labels)
            found.append(Picture(
                f"reliability{suffix}", f"Reliability of {where}",
                "How often the model is right when it is so sure, in ten bins of confidence; "
                f"expected calibration error {measured.expected_error:.4f} (Guo et al. 2017). "
                "Below the dashed line it is too sure of itself; below, where the rows lie.",
                pictures.reliability_figure(measured, task.num_classes)))
    return found


def _answers_picture(task, answers: Predictions, suffix: str, where: str, scores: str) -> Picture:
    if task.is_score:
        return Picture(f"scatter{suffix}", f"Predictions of {where}",
                       f"A point for each row, right on the diagonal: {scores}.",
                       scatter_figure(answers.labels, answers.predictions, task.score_range))
    matrix = confusion_matrix(answers.labels, answers.predictions, task.num_classes)
    return Picture(f"confusion{suffix}", f"Confusion matrix of {where}",
                   f"Which class was taken for which, in rows and % of the label's: {scores}.",
                   confusion_matrix_figure(matrix, class_names(task)))


def attention_pictures(models: Models, prompts: Mapping[str, list[int]],
                       text: str) -> list[Picture]:
    """The attention of every head of each run over a prompt.

    Args:
      models: any.
      prompts: run folder -> the prompt's tokens for that run.
      text: the prompt.
    """
    found = []
    for run, token_ids in prompts.items():
        model, step = weights.load_model(run, weights=models.weights)
        tokenizer = Tokenizer.load(run)
        figure = pictures.attention_figure(attention_weights(model, token_ids),
                                           list(map(tokenizer.label, token_ids)))
        found.append(Picture(
            f"attention{models.suffix(run)}",
            f"Attention of {name_weights(run, step, models.weights)}, over {text!r}",
            "A map for each layer and head: how the attention of the token on the left is spread "
            "over itself and those before it. A row sums to 1. A hyphen at the end of a token: its "
            "word goes on; where tokens hold their spaces, \u2423 is one.", figure))
    return found


def _watched(batches: Batches, description: str) -> Iterator[dict]:
    """The batches, with their progress."""
    with Progress(len(batches.dataset), "batch", description) as progress:
        for batch in batches:
            yield batch
            progress.update(1)
