"""The trigram yardstick: a hand-computed case, a naive rewrite of the formulas, sums to one."""

import collections
import math

import numpy as np
import pytest

from gpt_tf.evaluation.trigram import TrigramModel


def _windows(seed: int, count: int, vocabulary_size: int) -> list[np.ndarray]:
    """Windows of 1 to 30 tokens in which some tokens and successions are far commoner."""
    random = np.random.default_rng(seed)
    windows = []
    for _ in range(count):
        steps = random.geometric(0.4, size=random.integers(1, 31))
        windows.append(np.cumsum(steps) % vocabulary_size)
    return windows


class _Naive:
    """Modified Kneser-Ney in dictionaries, straight from Chen & Goodman 1998, section 3."""

    def __init__(self, windows, vocabulary_size):
        self._size = vocabulary_size
        trigrams, pairs = collections.Counter(), set()
        for window in windows:
            trigrams.update(zip(window, window[1:], window[2:]))
            pairs.update(zip(window, window[1:]))
        bigrams = collections.Counter((y, z) for _, y, z in trigrams)
        unigrams = collections.Counter((z,) for _, z in pairs)
        self._orders = {3: trigrams, 2: bigrams, 1: unigrams}

    def probability(self, token, history):
        if history is None:
            return 1 / self._size
        counts = self._orders[len(history) + 1]
        shorter = self.probability(token, history[1:] if history else None)
        after = [count for ngram, count in counts.items() if ngram[:-1] == history]
        if not after:
            return shorter
        freed = sum(self._discount(counts, count) for count in after)
        count = counts[history + (token,)]
        return (count - self._discount(counts, count) + freed * shorter) / sum(after)

    @staticmethod
    def _discount(counts, count):
        n = collections.Counter(counts.values())
        if count == 0:
            return 0.0
        if all(n[k] for k in (1, 2, 3, 4)):
            y = n[1] / (n[1] + 2 * n[2])
            found = {k: k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)}
            if all(value > 0 for value in found.values()):
                return found[min(count, 3)]
        return n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5


def test_hand_computed_case():
    """One window 0 1 0 1 2, three tokens: worked out on paper.

    Trigrams 010, 101, 012, once each. Only counts of one: D = 1/2 at order 3.
    n(. y z): 10 -> 1, 01 -> 1, 12 -> 1, all once: D = 1/2 at order 2.
    Distinct pairs 01, 10, 12: n(. z) = 1 for each of 0, 1, 2, D = 1/2 at order 1:
    p(z) = (1 - 1/2) / 3 + (3/2 / 3) / 3 = 1/3.
    p(2 | 1) = (1 - 1/2) / 2 + (1 / 2) (1/3) = 5/12
    p(2 | 0 1) = (1 - 1/2) / 2 + (1 / 2) (5/12) = 11/24
    p(0 | 2) = p(0) = 1/3: nothing was seen after 2;  p(1 | 0) = 1/2 + 1/2 * 1/3 = 2/3.
    """
    model = TrigramModel.fit([np.array([0, 1, 0, 1, 2])], vocabulary_size=3)
    np.testing.assert_allclose(np.exp(model.log_prob(np.array([0, 1, 2, 0]))),
                               [2 / 3, 11 / 24, 1 / 3], rtol=1e-12)
    assert model.perplexity([np.array([0, 1]), np.array([2, 0]), np.array([1])]) == pytest.approx(
        1 / math.sqrt(2 / 3 * 1 / 3), rel=1e-12)


@pytest.mark.parametrize("count", [3, 12, 400])  # Few windows: the discounts' fallbacks are met.
def test_agrees_with_the_formulas_written_naively(count):
    windows = _windows(seed=count, count=count, vocabulary_size=25)
    naive = _Naive([tuple(window) for window in windows], vocabulary_size=30)
    model = TrigramModel.fit(windows, vocabulary_size=30)
    for window in _windows(seed=99, count=6, vocabulary_size=30):
        expected = [math.log(naive.probability(window[i], tuple(window[max(i - 2, 0):i])))
                    for i in range(1, len(window))]
        np.testing.assert_allclose(model.log_prob(window), expected, rtol=1e-9)


def test_sums_to_one_after_seen_and_unseen_contexts():
    model = TrigramModel.fit(_windows(seed=1, count=200, vocabulary_size=25), vocabulary_size=40)
    for context in ((3, 4), (4, 3), (24, 0), (30, 3), (3, 30), (35, 35), (7,), (33,)):
        total = sum(math.exp(model.log_prob(np.array([*context, z]))[-1]) for z in range(40))
        assert total == pytest.approx(1, abs=1e-9), context


def test_no_ngram_crosses_windows():
    """Cut into windows, the same tokens teach nothing about the successions at the cuts."""
    apart = TrigramModel.fit([np.array([1, 2, 3]), np.array([4, 5, 6])] * 5, vocabulary_size=7)
    joined = TrigramModel.fit([np.array([1, 2, 3, 4, 5, 6])] * 5, vocabulary_size=7)
    across = np.array([2, 3, 4])
    assert apart.log_prob(across)[-1] < joined.log_prob(across)[-1] - 1
    one_by_one = [apart.log_prob(window) for window in ([1, 2, 3], [4], [], [5, 6])]
    expected = math.exp(-np.mean(np.concatenate(one_by_one)))
    assert apart.perplexity([[1, 2, 3], [4], [], [5, 6]]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("windows, size", [([[0, 1, 5]], 5), ([[0, -1, 2]], 5), ([[0, 1]], 5),
                                           ([], 5), ([[0, 1, 2]], 2**22), ([[0, 1, 2]], 0)])
def test_refuses_what_it_cannot_count(windows, size):
    with pytest.raises(ValueError):
        TrigramModel.fit(windows, size)


def test_perplexity_of_nothing_is_refused():
    model = TrigramModel.fit([np.array([0, 1, 2])], vocabulary_size=3)
    assert model.log_prob(np.array([1])).shape == (0,)
    with pytest.raises(ValueError, match="two or more tokens"):
        model.perplexity([np.array([1])])
