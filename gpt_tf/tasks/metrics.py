"""The paper's measures of a task (Radford et al. 2018, tables 2 - 4), and those of a text.

Each of a task takes labels and predictions, both [N], and returns a Python float. Where a measure
has no value, because only one class or one number occurs, it is 0 and a `MetricWarning` says so.
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
    labels, predictions = _checked(labels, predictions)
    hits = np.count_nonzero((labels == 1) & (predictions == 1))
    named = np.count_nonzero(labels == 1) + np.count_nonzero(predictions == 1)
    return 2.0 * hits / named if named else _undefined("F1", "no label and no prediction is 1")


def matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation of two classes (1975) or more (Gorodkin 2004); CoLA's measure.

    0 where all labels, or all predictions, are of one class.
    """
    labels, predictions = _checked(labels, predictions)
    classes = np.union1d(labels, predictions)
    # Columns of 0 and 1, one for each class: the measure is the correlation of the two tables.
    x, y = (values[:, None] == classes for values in (labels, predictions))
    counts = [np.count_nonzero(table, axis=0).astype(np.float64) for table in (x, y)]
    total, right = float(len(labels)), float(np.count_nonzero(labels == predictions))
    spread_x, spread_y = (total * total - count @ count for count in counts)
    if spread_x == 0 or spread_y == 0:
        return _undefined("Matthews correlation", "labels or predictions are of one class")
    return float((right * total - counts[0] @ counts[1]) / np.sqrt(spread_x * spread_y))


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson's correlation; 0 where labels or predictions do not vary."""
    labels, predictions = _checked(labels, predictions)
    x, y = labels.astype(np.float64), predictions.astype(np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return _undefined("Correlation", "labels or predictions do not vary")
    # Scaled first: squares of small numbers may not be representable.
    x, y = ((values - values.mean()) / np.ptp(values) for values in (x, y))
    correlation = (x / np.linalg.norm(x)) @ (y / np.linalg.norm(y))
    return float(np.clip(correlation, -1.0, 1.0))


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson's correlation of the ranks; equal values share the mean of their ranks."""
    labels, predictions = _checked(labels, predictions)
    return pearson(_ranks(labels), _ranks(predictions))


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64 [N]: ranks from 1, ties averaged."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[place]
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson,
    "spearman": spearman}


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [C, C]: entry [i, j] counts the rows of class i that were taken for class j."""
    labels, predictions = _checked(labels, predictions)
    flat = np.bincount(labels.astype(np.int64) * num_classes + predictions.astype(np.int64),
                       minlength=num_classes * num_classes)
    return flat.reshape(num_classes, num_classes)


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of one measure over several runs, as the paper reports medians."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def perplexity(loss: float) -> float:
    """exp of a mean negative log-likelihood in nats; a diverging one stays a number."""
    return math.exp(min(loss, 700.0))


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
