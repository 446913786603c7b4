"""The paper's measures of a task (Radford et al. 2018, tables 2 - 4), and those of a text.

Each of a task takes labels and predictions, both [N], and returns a Python float. Where a measure
has no value, because only one class or one number occurs, it is 0 and a `MetricWarning` says so.

What takes more than a line is scikit-learn's and scipy's, which load in seconds: each when it is
first measured.
"""

from collections.abc import Callable, Sequence
import math
import statistics
import warnings

import numpy as np


class MetricWarning(UserWarning):
    """A measure has no value on this data and 0 stands for it."""


def _checked(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(f"Labels and predictions must be two lists of one length, not empty; "
                         f"they have shapes {labels.shape} and {predictions.shape}.")
    return labels, predictions


def _undefined(name: str, reason: str) -> float:
    warnings.warn(f"{name} is not defined, as {reason}; 0 stands for it.", MetricWarning,
                  stacklevel=3)
    return 0.0


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of predictions that are right.

    Raises:
      ValueError: nothing to measure, or lists of different lengths; so do all measures here.
    """
    labels, predictions = _checked(labels, predictions)
    return float(np.mean(labels == predictions))


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where neither list has a 1."""
    from sklearn.metrics import f1_score
    labels, predictions = (values == 1 for values in _checked(labels, predictions))
    if not (labels.any() or predictions.any()):
        return _undefined("F1", "no label and no prediction is 1")
    return float(f1_score(labels, predictions))


def matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation of two classes (1975) or more (Gorodkin 2004); CoLA's measure.

    0 where all labels, or all predictions, are of one class.
    """
    from sklearn.metrics import matthews_corrcoef
    labels, predictions = _checked(labels, predictions)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return _undefined("Matthews correlation", "labels or predictions are of one class")
    return float(matthews_corrcoef(labels, predictions))


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson's correlation; 0 where labels or predictions do not vary."""
    from scipy.stats import pearsonr
    return _correlation(pearsonr, labels, predictions)


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson's correlation of the ranks; equal values share the mean of their ranks.

    0 where labels or predictions do not vary.
    """
    from scipy.stats import spearmanr
    return _correlation(spearmanr, labels, predictions)


def _correlation(function: Callable, labels: np.ndarray, predictions: np.ndarray) -> float:
    """The statistic of a function of scipy's, of float64."""
    labels, predictions = _checked(labels, predictions)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return _undefined("Correlation", "labels or predictions do not vary")
    return float(function(labels.astype(np.float64), predictions.astype(np.float64)).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson,
    "spearman": spearman}


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [C, C]: entry [i, j] counts the rows of class i that were taken for class j; rows
    without a label, -1, are in none."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    labels, predictions = _checked(labels, predictions)
    labelled = labels >= 0
    np.add.at(matrix, (labels[labelled], predictions[labelled]), 1)
    return matrix


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of one measure over several runs, as the paper reports medians."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def perplexity(loss: float) -> float:
    """exp of a mean negative log-likelihood in nats; infinite where no float holds it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def language_scores(loss: float, predicted_tokens: int, text_bytes: int) -> dict[str, float]:
    """How well a text is predicted, whatever its tokens.

    Args:
      loss: mean negative log-likelihood of its predicted tokens, in nats.
      predicted_tokens: how many these are in the whole text.
      text_bytes: of the raw text in UTF-8.

    Returns:
      loss; perplexity: its exponential; bits_per_byte: bits of all predicted tokens at this loss,
      over the bytes.
    """
    return {"loss": loss, "perplexity": perplexity(loss),
            "bits_per_byte": loss / math.log(2) * predicted_tokens / text_bytes}
