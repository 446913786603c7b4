"""Reliability by hand, and against scikit-learn and scipy."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from gpt_tf.evaluation.calibration import reliability


def two_classes(confidence):
    """Probabilities [N, 2] whose second class is predicted with this confidence."""
    return np.stack([1 - np.asarray(confidence), confidence], axis=1)


def test_by_hand():
    found = reliability(two_classes([0.9, 0.9, 0.9, 0.9, 0.55]), np.array([1, 1, 0, 1, 0]))
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 4, 0]  # 0.9 is of 0.8 - 0.9
    assert (found.accuracy[5], found.accuracy[8]) == (0.0, 0.75)
    np.testing.assert_allclose(found.confidence[[5, 8]], [0.55, 0.9])
    assert np.isnan(found.accuracy[[0, 9]]).all()
    assert found.expected_error == pytest.approx((4 * 0.15 + 0.55) / 5)


def test_three_classes():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]])
    found = reliability(probabilities, np.array([0, 1, 1]), num_bins=2)
    assert found.counts.tolist() == [1, 2]
    np.testing.assert_allclose(found.accuracy, [1.0, 0.5])
    np.testing.assert_allclose(found.confidence, [0.5, 0.75])
    assert found.expected_error == pytest.approx((0.5 + 2 * 0.25) / 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from([2, 7, 10, 15]))
def test_against_scikit_learn_and_scipy(seed, count, num_bins):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.5] * 3, count)
    labels = generator.integers(3, size=count)
    found = reliability(probabilities, labels, num_bins)
    right = probabilities.argmax(axis=1) == labels
    # It takes two classes: here, whether a prediction is right.
    if 0 < right.sum() < count:
        accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=num_bins)
        np.testing.assert_allclose(found.accuracy[found.counts > 0], accuracy)
        np.testing.assert_allclose(found.confidence[found.counts > 0], confidence)
    for bin_ in np.flatnonzero(found.counts):
        total = int(found.counts[bin_])
        interval = binomtest(round(found.accuracy[bin_] * total), total).proportion_ci(
            method="wilson")
        np.testing.assert_allclose([found.low[bin_], found.high[bin_]], interval, atol=1e-6)
