"""The yardstick of a language model: an interpolated modified Kneser-Ney trigram.

The model is the one of Chen & Goodman, "An Empirical Study of Smoothing Techniques for Language
Modeling" (TR-10-98, Harvard 1998), section 3. With c the counts of the training windows,

    p(z | x y) = (c(x y z) - D3(c)) / c(x y .)  +  g3(x y) p(z | y)
    p(z | y)   = (n(. y z) - D2(n)) / n(. y .)  +  g2(y)   p(z)
    p(z)       = (n(. z)   - D1(n)) / n(. .)    +  g1 / V

where n(. y z) is the number of different tokens seen before "y z" (a continuation count), a dot
sums over that place, D(k) is one of three discounts for k = 1, k = 2 and k >= 3, and each g is the
mass that the discounts freed, so that every distribution sums to one over the V tokens. A context
never seen in training hands everything to the shorter one. Windows are separate: no n-gram crosses
them.
"""

from collections.abc import Iterable
import dataclasses

import numpy as np


def _discounts(counts: np.ndarray) -> np.ndarray:
    """D(1), D(2), D(3+) from the counts of counts (Chen & Goodman 1998, equations 26).

    On small or artificial text a count of counts may be zero, or give a discount that is not
    positive; one discount for all, n1 / (n1 + 2 n2) (Ney et al. 1994), serves then, and 1/2 where
    that fails too.

    Args:
      counts: positive int64 [N], the counts of the N different n-grams of one order.

    Returns:
      float64 [4]; entry k is the discount of count k, the last that of 3 and more, the first 0.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == k)) for k in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if np.all(found[1:] > 0):
            return found
    single = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    return np.array([0.0, single, single, single])


@dataclasses.dataclass(frozen=True)
class _Order:
    """The n-grams of one order: discounted mass by n-gram, and the freed share by context.

    keys: int64 [N] ascending; share: float64 [N], (count - D) / total of its context;
    contexts: int64 [C] ascending; backoff: float64 [C], the context's g.
    """

    keys: np.ndarray
    share: np.ndarray
    contexts: np.ndarray
    backoff: np.ndarray

    @classmethod
    def estimate(cls, keys: np.ndarray, counts: np.ndarray, vocabulary_size: int) -> "_Order":
        """From distinct n-grams, ascending and packed with the last token in the lowest digit."""
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        histories = keys // vocabulary_size
        first = np.flatnonzero(np.diff(histories, prepend=-1))
        totals = np.add.reduceat(counts, first)
        freed = np.add.reduceat(discounts, first)
        sizes = np.diff(first, append=len(keys))
        share = (counts - discounts) / np.repeat(totals, sizes)
        return cls(keys, share, histories[first], freed / totals)

    def interpolate(self, keys: np.ndarray, vocabulary_size: int,
                    shorter: np.ndarray) -> np.ndarray:
        """Probability of each n-gram `keys` [M], given that of its one shorter, `shorter` [M]."""
        backoff = _look_up(self.contexts, self.backoff, keys // vocabulary_size, 1.0)
        return _look_up(self.keys, self.share, keys, 0.0) + backoff * shorter


def _look_up(keys: np.ndarray, values: np.ndarray, sought: np.ndarray,
             absent: float) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
    return np.where(keys[at] == sought, values[at], absent)


def _distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending distinct keys and their counts: np.unique without its spare copies."""
    keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[first], np.diff(first, append=len(keys))


def _count(tokens: np.ndarray, starts: np.ndarray,
           size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct packed trigrams and their counts, and distinct packed pairs, all inside windows."""
    pairs = tokens[:-1] * size + tokens[1:]
    trigrams = pairs[:-1] * size
    trigrams += tokens[2:]
    pair_inside = np.ones(len(pairs), bool)
    pair_inside[starts[starts > 0] - 1] = False
    trigrams, counts = _distinct(trigrams[pair_inside[:-1] & pair_inside[1:]])
    return trigrams, counts, _distinct(pairs[pair_inside])[0]


class TrigramModel:
    """An interpolated modified Kneser-Ney trigram model; the equations stand above.

    Example:
      model = TrigramModel.fit(training_windows, vocabulary_size=2000)
      model.perplexity(validation_windows)
    """

    def __init__(self, vocabulary_size: int, unigram: np.ndarray, bigram: _Order, trigram: _Order):
        """Use `fit`. unigram: float64 [V], the smoothed p(z) of every token."""
        self._size = vocabulary_size
        self._unigram = unigram
        self._bigram = bigram
        self._trigram = trigram

    @classmethod
    def fit(cls, windows: Iterable[np.ndarray], vocabulary_size: int) -> "TrigramModel":
        """Counts the windows and estimates the three orders.

        Args:
          windows: int arrays [n] of token ids in [0, vocabulary_size); lengths may differ.
          vocabulary_size: V, the number of different token ids there can be; at most 2**21, so
            that three ids fit into one int64.

        Raises:
          ValueError: an id outside the vocabulary, a vocabulary too large, or no window of three.
        """
        if not 0 < vocabulary_size <= 2**21:
            raise ValueError(f"vocabulary_size must be in 1..{2**21}, not {vocabulary_size}")
        tokens, starts = _join(windows, vocabulary_size)
        trigrams, counts, pairs = _count(tokens, starts, vocabulary_size)
        if not len(trigrams):
            raise ValueError("no window of three or more tokens to fit a trigram model on")
        # The lower orders count what came before, not how often: the heart of Kneser-Ney. A pair
        # that only ever opens a window has no token before it, and stays out of n(. y z).
        continuations = _distinct(trigrams % vocabulary_size**2)
        seen, weights = _distinct(pairs % vocabulary_size)
        base = _Order.estimate(seen, weights, vocabulary_size)
        unigram = np.full(vocabulary_size, base.backoff[0] / vocabulary_size)
        unigram[base.keys] += base.share
        return cls(vocabulary_size, unigram,
                   _Order.estimate(*continuations, vocabulary_size),
                   _Order.estimate(trigrams, counts, vocabulary_size))

    def log_prob(self, sequence: np.ndarray) -> np.ndarray:
        """Natural log probability of every token but the first.

        Args:
          sequence: int [n], one window of token ids.

        Returns:
          float64 [n - 1] (empty for n < 2): entry i is the log of p(sequence[i + 1]) given its two
          predecessors, for i = 0 its one predecessor.

        Raises:
          ValueError: an id outside the vocabulary.
        """
        return self._log_prob(*_join([sequence], self._size))

    def perplexity(self, windows: Iterable[np.ndarray]) -> float:
        """exp of the mean negative log probability over all predicted tokens of all windows.

        Raises:
          ValueError: an id outside the vocabulary, or no window of two tokens.
        """
        log_probs = self._log_prob(*_join(windows, self._size))
        if not len(log_probs):
            raise ValueError("no window of two or more tokens to take the perplexity of")
        return float(np.exp(-np.mean(log_probs)))

    def _log_prob(self, tokens: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Of all tokens but the first of each window, in order: float64 [tokens - windows]."""
        pairs = tokens[:-1] * self._size + tokens[1:]
        shorter = self._bigram.interpolate(pairs, self._size, self._unigram[tokens[1:]])
        trigrams = pairs[:-1] * self._size + tokens[2:]
        full = self._trigram.interpolate(trigrams, self._size, shorter[1:])
        result = np.empty(len(tokens))
        result[1:2] = shorter[:1]
        result[2:] = full
        second = starts[starts + 1 < len(tokens)] + 1
        result[second] = shorter[second - 1]
        predicted = np.ones(len(tokens), bool)
        predicted[starts] = False
        return np.log(result[predicted])


def _join(windows: Iterable[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows in one int64 array, and the ascending index where each (non-empty) one starts."""
    arrays = [array for array in map(np.asarray, windows) if len(array)]
    if not arrays:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tokens = np.concatenate(arrays).astype(np.int64)
    if tokens.min() < 0 or tokens.max() >= size:
        raise ValueError(f"token ids {tokens.min()}..{tokens.max()} leave the vocabulary of {size}")
    lengths = np.array([len(array) for array in arrays])
    return tokens, np.cumsum(lengths) - lengths
