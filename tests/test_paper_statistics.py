"""benchmarks.paper.statistics against scipy and the definition, and what "ahead" means."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks.paper import comparison, statistics
from benchmarks.paper.results import Outcome, Result, percent
from gpt_tf.tasks.metrics import METRICS

ROWS = 7


def answers(metric, seed, runs=1, rows=ROWS):
    """Labels [N], and the answers of two arms [S, N] to those rows."""
    rng = np.random.default_rng(seed)
    if metric == "pearson":
        labels = rng.uniform(0, 5, rows)
        return labels, labels + rng.normal(0, 1, (runs, rows)), rng.uniform(0, 5, (runs, rows))
    labels = rng.permutation(np.arange(rows) % 2)
    flips = [rng.random((runs, rows)) < share for share in (0.2, 0.5)]
    return labels, *(np.where(flip, 1 - labels, labels) for flip in flips)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews", "pearson"])
@pytest.mark.filterwarnings("ignore::gpt_tf.tasks.metrics.MetricWarning")
def test_one_run_is_scipys_permutation_test(metric):
    labels, first, second = answers(metric, seed=14)

    def statistic(one, other):
        return METRICS[metric](labels, one) - METRICS[metric](labels, other)

    theirs = stats.permutation_test((first[0], second[0]), statistic, n_resamples=np.inf,
                                    permutation_type="samples", vectorized=False)
    # scipy's two-sided p is twice the smaller tail; ours counts both, which symmetry makes equal.
    assert statistics.permutation_p_value(metric, labels, first, second) == pytest.approx(
        theirs.pvalue, abs=1e-12)
    assert 0 < theirs.pvalue < 1


@pytest.mark.parametrize("metric", ["matthews", "pearson"])
@pytest.mark.filterwarnings("ignore::gpt_tf.tasks.metrics.MetricWarning")
def test_several_runs_by_the_definition(metric):
    labels, first, second = answers(metric, seed=4, runs=3, rows=5)

    def difference(swapped):
        ones = np.where(swapped, second, first)
        others = np.where(swapped, first, second)
        return np.mean([METRICS[metric](labels, one) - METRICS[metric](labels, other)
                        for one, other in zip(ones, others)])

    every = np.array([difference(np.array(swapped, bool))
                      for swapped in itertools.product((0, 1), repeat=5)])
    found = abs(difference(np.zeros(5, bool)))
    assert statistics.permutation_p_value(metric, labels, first, second) == pytest.approx(
        np.mean(np.abs(every) >= found - 1e-12), abs=1e-12)


def test_accuracy_of_one_run_is_mcnemars_test():
    labels = np.ones(300, int)
    first, second = np.ones((1, 300), int), np.ones((1, 300), int)
    first[0, :15], second[0, 15:47] = 0, 0  # 15 rows for one, 32 for the other
    exact = stats.binomtest(15, 47).pvalue
    found = statistics.permutation_p_value("accuracy", labels, first, second)
    # Four standard deviations of a share of 9,999 draws.
    assert abs(found - exact) < 4 * np.sqrt(exact / 9999)
    assert found == statistics.permutation_p_value("accuracy", labels, first, second)


def test_what_is_alike_and_what_is_not():
    labels = np.tile([0, 1], 500)
    right, wrong = labels[None], 1 - labels[None]
    assert statistics.permutation_p_value("accuracy", labels, right, right) == 1
    assert statistics.permutation_p_value("matthews", labels, right, wrong) == 1 / 10_000
    with pytest.raises(ValueError, match="spearman"):
        statistics.permutation_p_value("spearman", labels, right, wrong)


def outcome(*scores, asked=None, seeds=None):
    runs = [Result("sst2", 0, "arm", 1e-3, seed, {}, [], 1.0, {"accuracy": score}, [1, 0],
                   [1, round(score)])
            for seed, score in zip(seeds or range(1, len(scores) + 1), scores)]
    return Outcome(1e-3, runs, 0, asked or len(scores))


@pytest.mark.parametrize("first,second,expected", [
    ((0.8, 0.82, 0.84), (0.7, 0.75, 0.77), False),  # 0.07 apart, one range is 0.07
    ((0.83, 0.83, 0.84), (0.7, 0.75, 0.77), True),
    ((0.7, 0.75, 0.77), (0.8, 0.82, 0.84), False),
    ((0.9,), (0.1, 0.1), False),
    ((), (0.1, 0.1), False)])
def test_ahead_by_more_than_both_ranges(first, second, expected):
    assert comparison.is_ahead(outcome(*first), outcome(*second), "accuracy") is expected


def test_none_is_ahead_while_seeds_are_missing():
    ours, scratch = outcome(0.9, 0.9, asked=5), outcome(0.1, 0.1)
    assert not comparison.is_ahead(ours, scratch, "accuracy")
    assert comparison.missing(scratch, ours) == "; 2 of 5 seeds" and not comparison.missing(scratch)


def test_a_baseline_of_few_rows_is_measured_of_each_seed():
    campaign = SimpleNamespace(
        settings=SimpleNamespace(seeds=range(1, 4)), metric=lambda task: "accuracy",
        baselines=lambda task, rows, seed: {"bag of words": {"accuracy": seed / 8}})
    assert comparison.baseline_scores(campaign, "bag of words", "sst2", 9) == [1/8, 2/8, 3/8]
    assert comparison.baseline_scores(campaign, "bag of words", "sst2", 0) == [1/8]


def test_seeds_are_paired():
    first, second = outcome(1.0, 1.0, seeds=[1, 3]), outcome(0.0, 0.0, seeds=[2, 3])
    # Of the two rows the arms differ in one: swapped or not, the difference is as large.
    assert comparison.p_value(first, second, "accuracy") == 1
    assert np.isnan(comparison.p_value(first, outcome(0.5, seeds=[2]), "accuracy"))


def test_cells_of_a_table():
    assert percent([]) == "" and percent([81.25]) == "81.2"
    assert outcome(0.5, 0.25, 0.75).cell("accuracy") == "50.0 (25.0 to 75.0)"
    assert outcome(0.5, asked=5).cell("accuracy") == "50.0 [1 of 5]"
