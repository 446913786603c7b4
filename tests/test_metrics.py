"""The measures against scikit-learn's and scipy's, and where they have no value."""

import warnings

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as peers

from gpt_tf.tasks import metrics
from gpt_tf.tasks.metrics import MetricWarning

CLOSE = dict(rel=1e-12, abs=1e-12)


def pairs(values):
    """Two lists of one length."""
    return st.integers(2, 60).flatmap(lambda size: st.tuples(
        *[st.lists(values, min_size=size, max_size=size)] * 2))


def quiet(function, *arguments, **options):
    """The value, without what ours and theirs say of degenerate cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@hypothesis.given(pairs(st.integers(0, 1)))
def test_two_classes(lists):
    labels, predictions = lists
    assert metrics.accuracy(labels, predictions) == pytest.approx(
        peers.accuracy_score(labels, predictions), **CLOSE)
    assert quiet(metrics.f1, labels, predictions) == pytest.approx(
        quiet(peers.f1_score, labels, predictions, zero_division=0), **CLOSE)
    assert quiet(metrics.matthews, labels, predictions) == pytest.approx(
        quiet(peers.matthews_corrcoef, labels, predictions), **CLOSE)


@hypothesis.given(pairs(st.integers(0, 4)))
def test_more_classes(lists):
    labels, predictions = lists
    assert metrics.accuracy(labels, predictions) == pytest.approx(
        peers.accuracy_score(labels, predictions), **CLOSE)
    assert quiet(metrics.matthews, labels, predictions) == pytest.approx(
        quiet(peers.matthews_corrcoef, labels, predictions), **CLOSE)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, predictions, 5),
        peers.confusion_matrix(labels, predictions, labels=range(5)))


# Few different values, so that many are tied; and any.
NUMBERS = st.one_of(st.integers(0, 3).map(float),
                    st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3)))


@hypothesis.given(pairs(NUMBERS))
def test_correlations(lists):
    labels, predictions = map(np.array, lists)
    hypothesis.assume(np.ptp(labels) and np.ptp(predictions))
    assert metrics.pearson(labels, predictions) == pytest.approx(
        scipy.stats.pearsonr(labels, predictions).statistic, **CLOSE)
    assert metrics.spearman(labels, predictions) == pytest.approx(
        scipy.stats.spearmanr(labels, predictions).statistic, **CLOSE)


def test_a_large_random_case():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 26, 20_000) / 5.0  # scores as STS-B's, with ties
    predictions = (labels + rng.normal(size=labels.size)).astype(np.float32)
    assert metrics.pearson(labels, predictions) == pytest.approx(
        scipy.stats.pearsonr(labels, predictions.astype(np.float64)).statistic, **CLOSE)
    assert metrics.spearman(labels, predictions) == pytest.approx(
        scipy.stats.spearmanr(labels, predictions).statistic, **CLOSE)


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
    assert metrics.f1([2, 1, 1], [2, 1, 0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("labels, predictions", [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_nothing_to_measure(name, labels, predictions):
    with pytest.raises(ValueError, match="one length"):
        metrics.METRICS[name](labels, predictions)


def test_summary_of_runs():
    assert metrics.summarize([0.5, 0.9, 0.7, 0.8]) == {
        "median": 0.75, "lowest": 0.5, "highest": 0.9}
