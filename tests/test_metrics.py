"""The measures: their definitions written out, cases by hand, and where they have no value."""

import collections
import fractions
import itertools
import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401  both here, so that no example waits for them

from gpt_tf.tasks import metrics
from gpt_tf.tasks.metrics import MetricWarning

CLOSE = dict(rel=1e-12, abs=1e-12)


def pairs(values):
    """Two lists of one length."""
    return st.integers(2, 60).flatmap(lambda size: st.tuples(
        *[st.lists(values, min_size=size, max_size=size)] * 2))


@hypothesis.given(st.tuples(*[st.integers(1, 30)] * 4), st.randoms())
def test_two_classes(counts, order):
    hits, false_alarms, misses, rejections = counts
    rows = [(1, 1)] * hits + [(0, 1)] * false_alarms + [(1, 0)] * misses + [(0, 0)] * rejections
    order.shuffle(rows)
    labels, predictions = zip(*rows)
    assert metrics.accuracy(labels, predictions) == pytest.approx(
        (hits + rejections) / len(rows), **CLOSE)
    precision = fractions.Fraction(hits, hits + false_alarms)
    recall = fractions.Fraction(hits, hits + misses)
    assert metrics.f1(labels, predictions) == pytest.approx(
        float(2 * precision * recall / (precision + recall)), **CLOSE)
    assert metrics.matthews(labels, predictions) == pytest.approx(
        (hits * rejections - false_alarms * misses) / math.sqrt(
            (hits + false_alarms) * (hits + misses) * (rejections + false_alarms)
            * (rejections + misses)), **CLOSE)


@hypothesis.given(pairs(st.integers(0, 4)))
def test_more_classes(lists):
    labels, predictions = lists
    hypothesis.assume(len(set(labels)) > 1 and len(set(predictions)) > 1)
    pairs_of = collections.Counter(zip(labels, predictions))
    right = sum(pairs_of[each, each] for each in range(5))
    assert metrics.accuracy(labels, predictions) == pytest.approx(right / len(labels), **CLOSE)
    table = metrics.confusion_matrix(labels, predictions, 5)
    assert table.shape == (5, 5) and table.dtype == np.int64
    for cell in itertools.product(range(5), repeat=2):
        assert table[cell] == pairs_of[cell]
    # Gorodkin 2004: the covariance of the tables of 0 and 1, a column for each class.
    x, y = (np.eye(5)[values] - np.eye(5)[values].mean(0) for values in (labels, predictions))
    assert metrics.matthews(labels, predictions) == pytest.approx(
        (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()), **CLOSE)


def test_cases_by_hand():
    assert metrics.accuracy([0, 1, 2, 2], [0, 2, 2, 2]) == 0.75
    assert metrics.f1([1, 1, 1, 0, 0], [1, 1, 0, 1, 0]) == pytest.approx(2 / 3)
    assert metrics.matthews([1, 1, 1, 0, 0], [1, 1, 0, 1, 0]) == pytest.approx(1 / 6)
    assert metrics.matthews([0, 1], [1, 0]) == -1.0
    np.testing.assert_array_equal(metrics.confusion_matrix([0, 1, 1, 0], [0, 0, 1, 0], 3),
                                  [[2, 0, 0], [1, 1, 0], [0, 0, 0]])
    # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2).
    assert metrics.pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5, **CLOSE)
    assert metrics.spearman([1, 2, 3], [10, 1000, 11]) == pytest.approx(0.5, **CLOSE)
    # Without ties, 1 - 6 sum d^2 / (n (n^2 - 1)): differences of ranks 1, 1, 1, 1.
    assert metrics.spearman([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6, **CLOSE)
    # Ranks 1.5, 1.5, 3 and 1, 2, 3: 1.5 / sqrt(1.5 * 2).
    assert metrics.spearman([0, 0, 9], [1, 2, 3]) == pytest.approx(math.sqrt(0.75), **CLOSE)


# Few different values, so that many are tied; and any.
NUMBERS = st.one_of(st.integers(0, 3).map(float),
                    st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3)))


def correlation(x, y):
    """By the definition, in rational numbers but for the root."""
    x, y = ([fractions.Fraction(each) for each in values] for values in (x, y))
    x, y = ([each - sum(values) / len(values) for each in values] for values in (x, y))
    products = sum(a * b for a, b in zip(x, y))
    return float(products) / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def ranks(values):
    """How many are smaller, and half of the equal ones."""
    return [sum(other < each for other in values) + (values.count(each) + 1) / 2
            for each in values]


@hypothesis.given(pairs(NUMBERS))
def test_correlations(lists):
    labels, predictions = lists
    hypothesis.assume(len(set(labels)) > 1 and len(set(predictions)) > 1)
    assert metrics.pearson(labels, predictions) == pytest.approx(
        correlation(labels, predictions), **CLOSE)
    assert metrics.spearman(labels, predictions) == pytest.approx(
        correlation(ranks(labels), ranks(predictions)), **CLOSE)
    # Of ranks, a curve that rises changes nothing.
    assert metrics.spearman(labels, np.array(predictions) ** 3) == pytest.approx(
        metrics.spearman(labels, predictions), **CLOSE)


def test_predictions_of_a_model():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 26, 200) / 5.0  # scores as STS-B's, with ties
    predictions = (labels + rng.normal(size=labels.size)).astype(np.float32)
    assert metrics.pearson(labels, predictions) == pytest.approx(
        correlation(labels, predictions.astype(np.float64)), **CLOSE)
    assert metrics.spearman(labels, predictions) == pytest.approx(
        correlation(ranks(labels.tolist()), ranks(predictions.tolist())), **CLOSE)


def test_tiny_and_huge_numbers_keep_their_correlation():
    values = np.array([1.0, 2.0, 4.0])
    for scale in (1e-200, 1e200):
        assert metrics.pearson(values * scale, values[::-1]) == pytest.approx(
            metrics.pearson(values, values[::-1]), **CLOSE)


@pytest.mark.parametrize("name, labels, predictions", [
    ("f1", [0, 0, 0], [0, 0, 0]),
    ("matthews", [1, 1, 1], [0, 1, 1]), ("matthews", [0, 1, 1], [1, 1, 1]),
    ("matthews", [1, 1], [1, 1]),
    ("pearson", [1.0, 2.0], [3.0, 3.0]), ("pearson", [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]),
    ("spearman", [1.0, 2.0], [3.0, 3.0]), ("spearman", [2.5], [1.0])])
def test_no_value(name, labels, predictions):
    with pytest.warns(MetricWarning, match="not defined.*0 stands for it"):
        assert metrics.METRICS[name](labels, predictions) == 0.0


def test_f1_without_a_hit_has_a_value():
    assert metrics.f1([1, 0, 0], [0, 1, 0]) == 0.0  # a warning would be an error
    assert metrics.f1([1, 0, 0], [0, 0, 0]) == 0.0
    assert metrics.f1([2, 1, 1], [2, 1, 0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("labels, predictions", [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_nothing_to_measure(name, labels, predictions):
    with pytest.raises(ValueError, match="one length"):
        metrics.METRICS[name](labels, predictions)


def test_summary_of_runs():
    assert metrics.summarize([0.5, 0.9, 0.7, 0.8]) == {
        "median": 0.75, "lowest": 0.5, "highest": 0.9}
