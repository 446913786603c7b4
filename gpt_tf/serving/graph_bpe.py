"""Byte-pair encoding in a TensorFlow graph, of core ops only."""

from collections.abc import Sequence

import tensorflow as tf

END_OF_WORD = "</w>"
_UNKNOWN_ID = 0
_NONE = tf.int64.max  # what the table of merges says of a pair that is none


class GraphBpe(tf.Module):
    """Words -> ids: the merges of `tokenizer.Tokenizer`, the first possible one first.

    Args:
      tokens: the vocabulary by id.
      merges: pairs of tokens, first merged first.
    """

    def __init__(self, tokens: Sequence[str], merges: Sequence[tuple[str, str]]):
        super().__init__(name="bpe")
        ids = {token: index for index, token in enumerate(tokens)}
        self._size = len(tokens)
        symbols = {token: index for token, index in ids.items()
                   if len(token.removesuffix(END_OF_WORD)) == 1}
        self._symbols = _table(list(symbols), list(symbols.values()), tf.string, _UNKNOWN_ID)
        # A pair's value orders by rank and holds the id that the pair becomes. A pair that comes
        # twice has its last rank, as in the `tokenizers` library.
        values = {ids[left] * self._size + ids[right]: rank * self._size + ids[left + right]
                  for rank, (left, right) in enumerate(merges)}
        self._pairs = _table(list(values), list(values.values()), tf.int64, _NONE)

    def encode(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Lower-case words, string [N], none empty -> ragged int32 [N, (T)]."""
        characters = tf.strings.unicode_split(words, "UTF-8")
        ends = tf.cast(characters.row_limits()[:, None] - 1, tf.int64)
        symbols = characters.flat_values
        symbols = tf.tensor_scatter_nd_update(
            symbols, ends, tf.strings.join([tf.gather_nd(symbols, ends), END_OF_WORD]))
        ids = self._symbols.lookup(symbols)
        rows = characters.value_rowids()
        pairs = self._pairs_at(tf.range(tf.size(ids)), ids, rows)
        vector = tf.TensorShape([None])
        ids, rows, _ = tf.while_loop(lambda ids, rows, pairs: tf.reduce_any(pairs < _NONE),
                                     self._merge, (ids, rows, pairs),
                                     shape_invariants=(vector, vector, vector))
        return tf.RaggedTensor.from_value_rowids(
            tf.cast(ids, tf.int32), rows, tf.size(words, out_type=tf.int64), validate=False)

    def _pairs_at(self, places, ids, rows):
        """Values of the pairs that begin at some places; `_NONE` where a word ends."""
        last = tf.size(ids) - 1
        right = tf.minimum(places + 1, last)
        keys = tf.gather(ids, places) * self._size + tf.gather(ids, right)
        in_word = (tf.gather(rows, places) == tf.gather(rows, right)) & (places < last)
        return tf.where(in_word, self._pairs.lookup(keys), _NONE)

    def _merge(self, ids, rows, pairs):
        """The best pair of every word, the first of equals, becomes one symbol."""
        best = tf.gather(tf.math.segment_min(pairs, rows), rows)
        places = tf.range(tf.size(ids))
        is_best = (pairs == best) & (pairs < _NONE)
        first = tf.math.segment_min(tf.where(is_best, places, tf.int32.max), rows)
        first = tf.boolean_mask(first, first < tf.int32.max)
        merged = tf.gather(pairs, first) % self._size
        ids = tf.tensor_scatter_nd_update(ids, first[:, None], merged)
        stays = tf.tensor_scatter_nd_update(tf.fill(tf.shape(ids), True), first[:, None] + 1,
                                            tf.fill(tf.shape(first), False))
        ids, rows, pairs = (tf.boolean_mask(each, stays) for each in (ids, rows, pairs))
        # One symbol fell away behind each merge before this one.
        first -= tf.range(tf.size(first))
        changed = tf.concat([first, tf.maximum(first - 1, 0)], axis=0)
        return ids, rows, tf.tensor_scatter_nd_update(
            pairs, changed[:, None], self._pairs_at(changed, ids, rows))


def _table(keys, values, key_dtype, default: int) -> tf.lookup.StaticHashTable:
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(keys, key_dtype),
                                            tf.constant(values, tf.int64)), default)
