"""Byte-pair encoding in a TensorFlow graph, of core ops only."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow as tf

# What the table says of a pair that no merge takes: now, but one may reach over it; or ever.
_WAITING, _NONE = tf.int64.max - 1, tf.int64.max


def of_each(parts: tf.RaggedTensor,
            function: Callable[[tf.Tensor], tf.RaggedTensor]) -> tf.RaggedTensor:
    """What `function` makes of the parts of each row, one after the other.

    Args:
      parts: ragged string [N, (P)].
      function: string [U] -> ragged [U, (T)]; sees each distinct part once.

    Returns:
      ragged [N, (T)].
    """
    distinct, places = tf.unique(parts.flat_values)
    found = tf.gather(function(distinct), places)
    return parts.with_flat_values(found).merge_dims(1, 2)


class GraphBpe(tf.Module):
    """Symbols of words -> ids: a tokenizer's merges, the first possible one first.

    A pair that no merge can ever reach over parts a word: the best merges of all parts are made
    at once, so that a word of n symbols takes about as many turns as its longest part and not n.

    Args:
      tokens: the vocabulary by id.
      merges: pairs of tokens, first merged first.
    """

    def __init__(self, tokens: Sequence[str], merges: Sequence[tuple[str, str]]):
        super().__init__(name="bpe")
        ids = {token: index for index, token in enumerate(tokens)}
        self._size = len(tokens)
        # A pair that comes twice has its last rank, as in the `tokenizers` library.
        ranks = {pair: rank for rank, pair in enumerate(merges)}
        alone = _alone(ranks)
        values = {-1: _NONE}  # a table needs an entry
        values |= {ids[left] * self._size + ids[right]: _WAITING for left, right in _bridged(ranks)}
        # Values order by rank and hold the id that the pair becomes.
        values |= {ids[left] * self._size + ids[right]:
                   (2 * rank + ((left, right) in alone)) * self._size + ids[left + right]
                   for (left, right), rank in ranks.items()}
        self._pairs = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            list(values), list(values.values()), tf.int64, tf.int64), _NONE)

    def merge(self, symbols: tf.RaggedTensor) -> tf.RaggedTensor:
        """Ids of each word's symbols, ragged int64 [N, (S)] -> of tokens, ragged int32 [N, (T)]."""
        ids = symbols.flat_values
        # Not `value_rowids()`, which takes memory for as many words as there are of the longest.
        rows = tf.searchsorted(symbols.row_limits(), tf.range(tf.size(ids, tf.int64)), "right",
                               tf.int64)
        pairs = self._pairs_at(tf.range(tf.size(ids)), ids, rows)
        vector = tf.TensorShape([None])
        ids, rows, _ = tf.while_loop(lambda ids, rows, pairs: tf.reduce_any(pairs < _WAITING),
                                     self._merge, (ids, rows, pairs),
                                     shape_invariants=(vector, vector, vector))
        return tf.RaggedTensor.from_value_rowids(
            tf.cast(ids, tf.int32), rows, symbols.nrows(), validate=False)

    def _pairs_at(self, places, ids, rows):
        """Values of the pairs that begin at some places; `_NONE` where a word ends."""
        last = tf.size(ids) - 1
        right = tf.minimum(places + 1, last)
        keys = tf.gather(ids, places) * self._size + tf.gather(ids, right)
        in_word = (tf.gather(rows, places) == tf.gather(rows, right)) & (places < last)
        return tf.where(in_word, self._pairs.lookup(keys), _NONE)

    def _merge(self, ids, rows, pairs):
        """The best pair of every part of a word, wherever it stands there, becomes one symbol."""
        places = self._best_places(pairs)
        merged = tf.gather(pairs, places) % self._size
        ids = tf.tensor_scatter_nd_update(ids, places[:, None], merged)
        stays = tf.tensor_scatter_nd_update(tf.fill(tf.shape(ids), True), places[:, None] + 1,
                                            tf.fill(tf.shape(places), False))
        ids, rows, pairs = (tf.boolean_mask(each, stays) for each in (ids, rows, pairs))
        # One symbol fell away behind each merge before this one.
        places -= tf.range(tf.size(places))
        changed = tf.concat([places, tf.maximum(places - 1, 0)], axis=0)
        return ids, rows, tf.tensor_scatter_nd_update(
            pairs, changed[:, None], self._pairs_at(changed, ids, rows))

    def _best_places(self, pairs):
        """Where the best pair of each part begins, int32 [M]; the first of those that overlap."""
        parts = tf.cumsum(tf.cast(pairs == _NONE, tf.int32), exclusive=True)
        best = tf.gather(tf.math.segment_min(pairs, parts), parts)
        places = tf.cast(tf.where((pairs == best) & (pairs < _WAITING))[:, 0], tf.int32)
        # Of one that overlaps itself, as in "aaaa", every second one is left.
        is_first = tf.concat([[True], places[1:] != places[:-1] + 1], axis=0)
        runs = tf.gather(tf.boolean_mask(places, is_first),
                         tf.cumsum(tf.cast(is_first, tf.int32)) - 1)
        places = tf.boolean_mask(places, (places - runs) % 2 == 0)
        parts = tf.gather(parts, places)
        is_first = tf.concat([[True], parts[1:] != parts[:-1]], axis=0)
        is_alone = tf.gather(pairs, places) // self._size % 2 == 1
        return tf.boolean_mask(places, is_first | ~is_alone)


def _alone(ranks: Mapping[tuple[str, str], int]) -> set[tuple[str, str]]:
    """Merges whose token may at once be merged by an earlier one: they are made one at a time.

    A vocabulary that was learned has none.
    """
    first_use = {}
    for pair, rank in ranks.items():
        for token in pair:
            first_use[token] = min(first_use.get(token, rank), rank)
    return {(left, right) for (left, right), rank in ranks.items()
            if first_use.get(left + right, rank) < rank}


def _bridged(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Pairs of tokens that a merge reaches over, sooner or later: "a", "b" by ("xa", "bc")."""
    starts, ends = {}, {}  # token -> the tokens that it may have been at its start, or end
    for left, right in sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1])):
        for found, part in ((starts, left), (ends, right)):
            found.setdefault(left + right, {left + right}).update(found.get(part, {part}))
    return {(end, start) for left, right in pairs
            for end in ends.get(left, {left}) for start in starts.get(right, {right})}
