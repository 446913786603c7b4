"""Token ids -> readable text in a TensorFlow graph: `Tokenizer.decode` in core ops."""

import tensorflow as tf

from gpt_tf.tokenizer import SPECIAL_TOKENS, Tokenizer
from gpt_tf.tokenizer.spacing import spacing_of
from gpt_tf.tokenizer.word_level import END_OF_WORD, UNKNOWN


class GraphDecoder(tf.Module):
    """Joins a tokenizer's tokens to text, as `spacing.join_words` joins words.

    Args:
      tokenizer: whose ids they are.
    """

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(name="decoder")
        # Unknown pieces and special tokens end a word.
        whole = [f"{token}{END_OF_WORD}" for token in (UNKNOWN, *SPECIAL_TOKENS)]
        self._spacing = spacing_of(tokenizer.language)
        self._tokens = tf.constant([whole[0], *tokenizer.tokens[1:], *whole[1:]])

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False)
    def decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Ragged int32 [B, (T)] of the vocabulary or the special tokens -> string [B]."""
        texts = tf.strings.reduce_join(
            token_ids.with_flat_values(tf.gather(self._tokens, token_ids.flat_values)), axis=-1)
        words = tf.strings.split(tf.strings.regex_replace(texts, f"{END_OF_WORD}$", ""),
                                 END_OF_WORD)
        flat, rows = words.flat_values, words.value_rowids()
        first, breaks = _changes(rows), flat == "\n"
        starts = first | _after(breaks)  # of a line
        lines = tf.cumsum(tf.cast(starts, tf.int32))
        previous = tf.concat([[""], flat[:-1]], axis=0)[:tf.size(flat)]
        elides = tf.strings.regex_full_match(previous, self._spacing.elided) & ~first
        quote, closes = tf.zeros_like(breaks), tf.zeros_like(breaks)
        for kind in sorted(set(self._spacing.quotes.values())):
            mine = tf.reduce_any([flat == sign for sign, its_kind in self._spacing.quotes.items()
                                  if its_kind == kind], axis=0)
            quote |= mine
            closes |= _closing_quotes(mine, elides & (kind == "'"), lines)
        glues = (tf.strings.regex_full_match(flat, self._spacing.opening) | breaks
                 | (quote & ~closes))
        joins = (first | _after(glues) | breaks | closes
                 | tf.strings.regex_full_match(flat, self._spacing.closing))
        spaced = tf.strings.join([tf.where(joins, "", " "), flat])
        joined = tf.strings.reduce_join(words.with_flat_values(spaced), axis=-1)
        for pattern, replacement in self._spacing.squeezed:
            joined = tf.strings.regex_replace(joined, pattern, replacement)
        return joined


def _changes(values):
    """Whether a word is the first, or its value is another than that of the word before."""
    return tf.concat([[True], values[1:] != values[:-1]], axis=0)[:tf.size(values)]


def _after(flags):
    """Whether the word before is flagged."""
    return tf.concat([[False], flags[:-1]], axis=0)[:tf.size(flags)]


def _closing_quotes(is_quote, elides, lines):
    """Which quotes of one kind close: they open and close in turn, and one that elides closes.

    Args:
      is_quote, elides: bool [W].
      lines: int32 [W], the line of each word.
    """
    # Counted from the start of the line, or after one that elided, those of odd number close.
    before = tf.cumsum(tf.cast(is_quote, tf.int32), exclusive=True)
    elisions = tf.cumsum(tf.cast(is_quote & elides, tf.int32), exclusive=True)
    groups = tf.cumsum(tf.cast(_changes(elisions) | _changes(lines), tf.int32)) - 1
    number = before - tf.gather(tf.math.segment_min(before, groups), groups)
    return is_quote & (elides | (number % 2 == 1))
