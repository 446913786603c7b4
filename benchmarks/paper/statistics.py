"""Whether two arms' answers to the same rows differ by more than chance: a paired permutation test.

If the arms were alike, each row's answers could as well be the other arm's. So the answers of
random rows are swapped between the arms, many times, and the p-value is how often the difference
of the metric is then as large as it was found (Noreen 1989, "Computer-Intensive Methods for Testing
Hypotheses"; in this field "approximate randomization", Yeh 2000). It takes any metric, those that
are no mean over rows, too, and for the accuracy of one run it is McNemar's exact test. With several
runs of each arm, run s of one is paired with run s of the other, a row's answers of all runs are
swapped at once, as they are no independent rows, and the difference is the mean over the pairs.
"""

from collections.abc import Iterator

import numpy as np

NUM_PERMUTATIONS = 9999
_BATCH = 500  # permutations at once
_MOST_EXACT = 12  # rows of which all 2**N permutations are tried


def permutation_p_value(metric: str, labels: np.ndarray, first: np.ndarray, second: np.ndarray,
                        seed: int = 0) -> float:
    """The two-sided p-value that two arms are alike.

    Args:
      metric: accuracy, f1, matthews (of classes 0 and 1) or pearson.
      labels: [N], of the rows.
      first, second: [S, N], the answers of S runs of each arm.
      seed: of the permutations; of 12 rows and fewer all are tried.

    Returns:
      At the least 1 / (NUM_PERMUTATIONS + 1).
    """
    labels = np.asarray(labels, np.float64)
    pairs = [(_terms(metric, labels, one), _terms(metric, labels, other))
             for one, other in zip(first, second, strict=True)]

    def difference(swapped: np.ndarray) -> np.ndarray:
        """[P], of bool [P, N]."""
        total = 0.0
        for one, other in pairs:
            moved = swapped.astype(np.float64) @ (other - one)
            total += (_value(metric, labels, one.sum(axis=0) + moved)
                      - _value(metric, labels, other.sum(axis=0) - moved))
        return np.atleast_1d(total / len(pairs))

    found = abs(difference(np.zeros((1, len(labels)), bool))[0])
    found -= 1e-12 * max(1.0, found)  # what is equal but for rounding counts
    if len(labels) <= _MOST_EXACT:
        every = np.arange(1 << len(labels))[:, None] >> np.arange(len(labels)) & 1
        return float(np.mean(np.abs(difference(every)) >= found))
    as_large = sum(int((np.abs(difference(swapped)) >= found).sum())
                   for swapped in _permutations(len(labels), seed))
    return (1 + as_large) / (NUM_PERMUTATIONS + 1)


def _permutations(num_rows: int, seed: int) -> Iterator[np.ndarray]:
    """bool [at most _BATCH, N], which rows are swapped; NUM_PERMUTATIONS in all."""
    generator = np.random.default_rng(seed)
    for start in range(0, NUM_PERMUTATIONS, _BATCH):
        count = min(_BATCH, NUM_PERMUTATIONS - start)
        yield generator.random((count, num_rows), np.float32) < 0.5


def _terms(metric: str, labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """float64 [N, k], whose sums over the rows decide the metric."""
    answers = np.asarray(answers, np.float64)
    if metric == "accuracy":
        return (answers == labels)[:, None].astype(np.float64)
    if metric in ("f1", "matthews"):
        positive = answers == 1
        return np.stack([positive & (labels == 1), positive], axis=1).astype(np.float64)
    if metric == "pearson":
        centred = answers - labels.mean()  # near 0, so that squares lose no digits
        return np.stack([centred, centred**2, centred * (labels - labels.mean())], axis=1)
    raise ValueError(f"There is no test of {metric!r} here.")


def _value(metric: str, labels: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """[P], the metric of sums [P, k] of `_terms`; 0 where it has no value."""
    count, columns = len(labels), np.moveaxis(sums, -1, 0)
    if metric == "accuracy":
        return columns[0] / count
    if metric == "pearson":
        total, squares, products = columns
        spread = np.maximum(squares - total**2 / count, 0.0)
        return _ratio(products, np.sqrt(spread * ((labels - labels.mean())**2).sum()))
    hits, answered = columns
    true = (labels == 1).sum()
    if metric == "f1":
        return _ratio(2 * hits, answered + true)
    return _ratio(count * hits - answered * true,
                  np.sqrt(answered * (count - answered) * true * (count - true)))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)
