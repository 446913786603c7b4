"""Whether a classifier is right as often as it is sure (Guo et al. 2017). No TensorFlow here."""

import dataclasses

import numpy as np

_NORMAL = 1.959964  # 95% of a normal distribution lie within so many standard deviations


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Of the rows by their confidence, the probability of the class that was predicted.

    M bins of equal width over 0 .. 1, each with its upper edge and without its lower one.

    counts: int64 [M], rows in each bin.
    confidence, accuracy: float64 [M], their mean confidence, and the share that is right; NaN in
      an empty bin.
    low, high: float64 [M], the 95% interval of the accuracy (Wilson 1927); NaN in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: the rows' mean of |accuracy - confidence| of their bin."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((self.counts * gaps).sum() / self.counts.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 10) -> Reliability:
    """Compares confidence with accuracy.

    Args:
      probabilities: float [N, C].
      labels: int [N], class ids.
      num_bins: M.

    Example: of four rows of confidence 0.9, three of which are right, and one of 0.55, which is
      wrong, the expected error is (4 |0.75 - 0.9| + 1 |0 - 0.55|) / 5 = 0.23.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):  # 0 / 0: an empty bin has no mean
        means = [np.bincount(bins, values, num_bins) / counts for values in (confidence, right)]
        low, high = _interval(means[1], counts)
    return Reliability(counts, *means, low, high)


def _interval(share: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval of a share that was seen in so many rows, by Wilson's score."""
    square = _NORMAL**2 / np.maximum(counts, 1)
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return middle - half, middle + half
