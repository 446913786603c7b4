"""GPT-2's byte-level tokenizer in a TensorFlow graph, without a difference."""

import functools

import tensorflow as tf
import tokenizers

from gpt_tf.serving.graph_bpe import GraphBpe, of_each
from gpt_tf.tokenizer import SPECIAL_TOKENS, ByteLevelTokenizer
from gpt_tf.tokenizer.byte_level import SYMBOLS, to_utf8

# Classes of characters; before each text stands one of a class of its own.
_EDGE, _OTHER, _LETTER, _NUMBER, _SPACE = range(-1, 4)
_PATTERNS = {_LETTER: r"\p{L}+", _NUMBER: r"\p{N}+", _SPACE: r"\s+"}
# An apostrophe and one of these are a word, where the apostrophe begins one.
_CONTRACTED = ("s", "t", "re", "ve", "m", "ll", "d")


@functools.cache  # passes over all of Unicode
def character_classes() -> tuple[list[int], list[int]]:
    """Letters, numbers and spaces as the `tokenizers` library knows them.

    Its Unicode is neither TensorFlow's nor Python's.

    Returns:
      The first code point of each run of characters of one class, in order, and its class.
    """
    codes = [*range(0xd800), *range(0xe000, 0x110000)]
    text = "".join(map(chr, codes))
    runs = {_EDGE: _EDGE, 0: _OTHER}
    for kind, pattern in _PATTERNS.items():
        found = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
        for _, (start, end) in found.pre_tokenize_str(text):
            runs.setdefault(codes[end - 1] + 1, _OTHER)
            runs[codes[start]] = kind
    starts = sorted(runs)
    return starts, [runs[start] for start in starts]


class GraphByteLevelTokenizer(tf.Module):
    """A byte-level tokenizer that is part of a graph: `ByteLevelTokenizer` in core ops.

    Args:
      tokenizer: its vocabulary and merges become tables of the graph.
    """

    def __init__(self, tokenizer: ByteLevelTokenizer):
        super().__init__(name="byte_level")
        ids = {token: index for index, token in enumerate(tokenizer.tokens)}
        self._symbols = tf.constant([ids[SYMBOLS[byte]] for byte in range(256)], tf.int64)
        self._bpe = GraphBpe(tokenizer.tokens, tokenizer.merges)
        self._utf8 = tf.constant([*map(to_utf8, tokenizer.tokens),
                                  *(token.encode() for token in SPECIAL_TOKENS)])
        self._class_starts, self._classes = map(tf.constant, character_classes())

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids without special tokens: string [B] -> ragged int32 [B, (T)].

        Bytes that are not UTF-8 are read as U+FFFD.
        """
        return of_each(self.split(texts), self._encode_words)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)], autograph=False)
    def decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Ragged int32 [B, (T)] of the vocabulary or the special tokens -> string [B].

        Bytes that are not UTF-8 become U+FFFD, as many as in Python.
        """
        parts = token_ids.with_flat_values(tf.gather(self._utf8, token_ids.flat_values))
        return tf.strings.unicode_transcode(tf.strings.reduce_join(parts, axis=-1),
                                            "UTF-8", "UTF-8", errors="replace")

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Words by GPT-2's pattern: string [B] -> ragged string [B, (W)].

        The pattern is

          's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

        Where its matches begin is seen from a few characters: RE2 has no look-ahead.
        """
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        framed = tf.concat([tf.fill([tf.shape(texts)[0], 1], _EDGE), codes], axis=1)
        begins = framed.with_flat_values(self._begins(framed.flat_values))[:, 1:].flat_values
        words = tf.RaggedTensor.from_row_starts(codes.flat_values, tf.where(begins)[:, 0],
                                                validate=False)
        begun = tf.concat([[0], tf.cumsum(tf.cast(begins, tf.int64))], axis=0)
        return tf.RaggedTensor.from_row_splits(tf.strings.unicode_encode(words, "UTF-8"),
                                               tf.gather(begun, codes.row_splits), validate=False)

    def _begins(self, codes):
        """Whether a word begins with a character: int32 [C], `_EDGE` before each text -> bool [C].

        As an edge comes first, it does not matter that `tf.roll` goes round.
        """
        kinds = tf.gather(self._classes,
                          tf.searchsorted(self._class_starts, codes, side="right") - 1)
        before, after = tf.roll(kinds, 1, 0), tf.roll(kinds, -1, 0)
        # A blank is of the word behind it, and other spaces are of none.
        follows_blank = tf.roll(codes, 1, 0) == ord(" ")
        opens = (codes == ord("'")) & (before != _OTHER) & ~follows_blank
        in_contraction = ends_contraction = tf.zeros_like(opens)
        for letters in _CONTRACTED:
            found = opens
            for place, letter in enumerate(letters, 1):
                found &= tf.roll(codes, -place, 0) == ord(letter)
            in_contraction |= tf.roll(found, 1, 0)
            ends_contraction |= tf.roll(found, 1 + len(letters), 0)
        # The last space of several stands alone, or before a word, unless it ends the text.
        return tf.where(kinds == _SPACE,
                        (before != _SPACE) | ((after != _SPACE) & (after != _EDGE)),
                        ends_contraction
                        | ~((before == kinds) | follows_blank | in_contraction))

    def _encode_words(self, words):
        values = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        symbols = tf.gather(self._symbols, tf.cast(values, tf.int32))
        return self._bpe.merge(tf.RaggedTensor.from_row_lengths(
            symbols, tf.cast(tf.strings.length(words), tf.int64), validate=False))
