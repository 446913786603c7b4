"""Zero-shot data of one folder: a model's scores -> answers -> measures, beside chance."""

from collections.abc import Callable
import dataclasses
import warnings

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_output
from gpt_tf.common.names import in_utf8
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest, Split
from gpt_tf.data.padding import in_split_order
from gpt_tf.evaluation import task_scores
from gpt_tf.evaluation.scoring import Scorer
from gpt_tf.tasks.answers import HEADER
from gpt_tf.tasks.metrics import METRICS, MetricWarning
from gpt_tf.tasks.task import MEAN, THRESHOLD, ZeroShotTask

RANDOM = "random guess"
_TRAIN = "train"

# The first of these that has labels is measured where none is named.
_SPLITS = ("validation", "test", _TRAIN)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of the N rows of a split, in their order.

    source_rows: int64 [N], the row's number in its source.
    labels: int32 [N]; -1 where the source has none.
    scores: float64 [N, K], of each sequence.
    predictions: int64 [N].
    threshold: what the scores were compared with; None where the highest one wins.
    """

    source_rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    predictions: np.ndarray
    threshold: float | None


class ZeroShotData:
    """One split of a folder of zero-shot data.

    Attributes:
      manifest: the folder's Manifest.
      split: name of the split that is measured.
      chance: measures without a model, from the first `measure` on; see `chance_measures`.

    Args:
      data_dir: the folder, of data of kind ZERO_SHOT.
      split: name of a split; empty for the first of validation, test and train that has labels.
      batch_size: sequences at once.

    Raises:
      UserError: the folder has no such split, or no training rows to choose a threshold on.
    """

    def __init__(self, data_dir: str, split: str, batch_size: int):
        self._folder = data_dir
        self.manifest = Manifest.load(data_dir)
        splits = self.manifest.splits
        labelled = [name for name, value in splits.items() if value.records and value.labelled]
        first = [name for start in _SPLITS for name in labelled if name.startswith(start)]
        if not split and not first:
            raise UserError(f"{data_dir} has no rows with labels: name a split with --split.")
        self.split = split or first[0]
        self.chance: dict[str, dict[str, float]] = {}
        self._measures: list[dict[str, float]] = []
        self._rows = max(1, batch_size // self.task.num_sequences)
        # Opened here, so that what is missing is said before anything is computed.
        self._batches = evaluation_batches(data_dir, self.split, self._rows)
        if self.task.decision == THRESHOLD and _TRAIN not in labelled:
            raise UserError(f"{data_dir} has no labelled training rows to choose the threshold of "
                            f"{self.task.name} on: build it with them.")

    @property
    def task(self) -> ZeroShotTask:
        """The task of the folder."""
        return self.manifest.task

    @property
    def split_totals(self) -> Split:
        """What the manifest says of the split."""
        return self.manifest.splits[self.split]

    @property
    def scored_rows(self) -> int:
        """Rows that one `answer` reads."""
        splits = {self.split} | ({_TRAIN} if self.task.decision == THRESHOLD else set())
        return sum(self.manifest.splits[name].records for name in splits)

    def answer(self, scorer: Scorer, progress: Callable[[int], None]) -> Answers:
        """Scores every row of the split once, and the training rows that a threshold is chosen on.

        Args:
          scorer: of the model.
          progress: told how many rows more are done.
        """
        source_rows, labels, scores = _score(scorer, self._batches, self.task, progress)
        if self.task.decision != THRESHOLD:
            return Answers(source_rows, labels, scores, np.argmax(scores, axis=1), None)
        train_labels, train_scores = labels, scores
        if self.split != _TRAIN:
            batches = evaluation_batches(self._folder, _TRAIN, self._rows)
            _, train_labels, train_scores = _score(scorer, batches, self.task, progress)
        threshold = best_threshold(train_labels, train_scores[:, 0])
        predictions = (scores[:, 0] > threshold).astype(int)
        return Answers(source_rows, labels, scores, predictions, threshold)

    def measure(self, step: int, answers: Answers) -> dict[str, float]:
        """The measures of the answers after update `step`, kept for `save`; none without labels."""
        if not self.split_totals.labelled:
            return {}
        self.chance = chance_measures(self.task, answers.labels)
        scores = task_scores.measure(self.task, answers.labels, answers.predictions)
        threshold = {} if answers.threshold is None else {"threshold": answers.threshold}
        self._measures.append({"update": step} | scores | threshold)
        return scores

    def keep(self, model_dir: str) -> None:
        """Writes all that was measured into the run folder, as `task_scores.keep` does."""
        task_scores.keep(model_dir, self.manifest, self.split, {
            "data_dir": in_utf8(self._folder), "split": self.split,
            "rows": self.split_totals.records, "chance": self.chance,
            "checkpoints": self._measures})

    def curve(self) -> tuple[list[int], list[float]]:
        """The updates that were measured, and the first metric of each, as `relative` has it."""
        name = self.task.metrics[0]
        guess = self.chance[RANDOM][name]
        return ([each["update"] for each in self._measures],
                [relative(each[name], guess) for each in self._measures])


def _score(scorer: Scorer, batches, task: ZeroShotTask, progress: Callable[[int], None]):
    """source_rows int64 [N], labels int32 [N], scores float64 [N, K], in the order of the split."""
    def columns(batch):
        found = scorer(batch)
        scores = found.log_probabilities
        if task.score == MEAN:
            scores = scores / np.maximum(found.counts, 1)
        positions, *given = (batch[name].numpy()
                             for name in ("split_positions", "source_rows", "labels"))
        progress(int(np.count_nonzero(positions >= 0)))
        return [positions, *given, scores]

    return in_split_order(map(columns, batches))


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The threshold above which scores are of class 1, for the best Matthews correlation.

    It is half-way between two scores; the lowest of equally good ones. Where all scores are equal
    it is that score.

    Args:
      labels: int [N] of 0 and 1.
      scores: float [N].
    """
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order].astype(np.float64), labels[order].astype(np.float64)
    cuts = np.flatnonzero(np.diff(ranked)) + 1  # so many scores are below
    if not cuts.size:
        return float(ranked[0])
    total, ones = len(ranked), positive.sum()
    above = total - cuts
    hits = ones - np.cumsum(positive)[cuts - 1]  # of class 1, and above
    # The correlation of two variables of 0 and 1, up to a factor that all thresholds share.
    quality = (total * hits - ones * above) / np.sqrt(above * cuts.astype(np.float64))
    best = cuts[np.argmax(quality)]
    return float((ranked[best - 1] + ranked[best]) / 2)


def chance_measures(task: ZeroShotTask, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """What answers without a model reach: the commonest class of these rows, and random guesses.

    A random guess is each class equally often: its expected accuracy is 1 / C, and its expected
    Matthews correlation 0.
    """
    expected = {"accuracy": 1 / task.num_classes, "matthews": 0.0}
    constant = np.full(len(labels), np.bincount(labels).argmax())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # a constant has no correlation
        majority = {name: METRICS[name](labels, constant) for name in task.metrics}
    return {"majority class": majority, RANDOM: {name: expected[name] for name in task.metrics}}


def relative(value: float, random: float, best: float = 1.0) -> float:
    """Performance between that of a random guess, 0, and `best`, 1: that of right answers."""
    return (value - random) / (best - random)


def write_answers(path: str, task: ZeroShotTask, answers: Answers) -> None:
    """A TSV with a header, in the order of the source: index, published label, and the scores."""
    names = ["score"] if task.decision == THRESHOLD else [f"score_{name}" for name in task.labels]
    with open_output(path) as stream:
        stream.write(("\t".join([*HEADER, *names]) + "\n").encode("utf-8"))
        for row in np.argsort(answers.source_rows, kind="stable"):
            columns = [str(answers.source_rows[row]), task.labels[answers.predictions[row]],
                       *(f"{score:.6f}" for score in answers.scores[row])]
            stream.write(("\t".join(columns) + "\n").encode("utf-8"))
