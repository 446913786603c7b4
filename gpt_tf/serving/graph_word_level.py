"""The paper's tokenizer in a TensorFlow graph: `WordTokenizer` in core ops.

What a graph cannot do of ftfy's work: mojibake stays as it is, and marks do not join the letters
before them (NFC). Where spaCy's answer for a chunk depends on the chunks around it, the chunk alone
decides. benchmarks/RESULTS.md says how often that matters.
"""

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.serving import re2
from gpt_tf.serving.graph_bpe import GraphBpe, of_each
from gpt_tf.serving.graph_decoder import GraphDecoder
from gpt_tf.serving.graph_words import GraphCharacterSplitter, GraphWordSplitter, string_table
from gpt_tf.tokenizer import WordTokenizer, cleaning
from gpt_tf.tokenizer.characters import CharacterRules
from gpt_tf.tokenizer.word_level import END_OF_WORD

_TERMINAL_ESCAPE = "\x1b\\[[0-9;]*[a-zA-Z]"
_ENTITY = "(&#?[0-9A-Za-z]{1,24};)"

# Stand around entities, and for line breaks; `clean` leaves neither in a text. A graph would cut
# its constants off at "\0".
_MARK, _NEWLINE = "\x01", "\x02"
_PUNCTUATION_RUN = "(" + "|".join(f"\\{mark}+" for mark in '-~!";?+,)(/*[]{}|_') + ")"


class GraphCleaner(tf.Module):
    """Raw texts to chunks: `cleaning.clean`, `chunks` and `standardise`, as far as a graph can."""

    def __init__(self):
        super().__init__(name="cleaner")
        changes = cleaning.character_changes()
        self._removed, self._line_breaks, self._spaces = (
            re2.character_class([before for before, after in changes.items() if after == kind])
            for kind in ("", "\n", " "))
        self._changes = string_table({before: after for before, after in changes.items()
                                      if after.strip()})
        self._entities = string_table({before: after for before, after
                                       in cleaning.html_changes().items() if after})

    def chunks(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Whitespace-separated chunks: string [B] -> ragged string [B, (C)].

        `_NEWLINE` stands for each run of whitespace that breaks a line.
        """
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = tf.strings.regex_replace(texts, _TERMINAL_ESCAPE, "")
        texts = tf.strings.regex_replace(texts, self._removed, "")
        texts = self._unescape(texts)
        texts = tf.strings.regex_replace(texts, self._line_breaks, "\n")
        texts = tf.strings.strip(tf.strings.regex_replace(texts, self._spaces, " "))
        return tf.strings.split(
            tf.strings.regex_replace(texts, r"\s*\n\s*", f" {_NEWLINE} "))

    def standardise(self, chunks: tf.Tensor) -> tf.Tensor:
        """Chunks [N] with characters replaced, and spaces around runs of punctuation."""
        other = tf.where(~tf.strings.regex_full_match(chunks, "[\x01-\x7f]*"))
        characters = tf.strings.unicode_split(tf.gather_nd(chunks, other), "UTF-8")
        changed = tf.strings.reduce_join(self._changed(self._changes, characters), axis=-1)
        chunks = tf.tensor_scatter_nd_update(chunks, other, changed)
        return tf.strings.regex_replace(chunks, _PUNCTUATION_RUN, r" \1 ")

    def _unescape(self, texts):
        """HTML's entities, in texts without tags."""
        where = tf.where(tf.strings.regex_full_match(texts, "(?s)[^<]*&[^<]*"))
        marked = tf.strings.regex_replace(tf.gather_nd(texts, where), _ENTITY,
                                          f"{_MARK}\\1{_MARK}")
        parts = tf.strings.split(marked, _MARK)
        changed = tf.strings.reduce_join(self._changed(self._entities, parts), axis=-1)
        return tf.tensor_scatter_nd_update(texts, where, changed)

    def _changed(self, table, parts):
        found = table.lookup(parts.flat_values)
        return parts.with_flat_values(tf.where(found == "", parts.flat_values, found))


class GraphWordTokenizer(tf.Module):
    """A tokenizer of words that is part of a graph.

    Args:
      tokenizer: its vocabulary, merges and rules become tables of the graph.

    Raises:
      UserError: the tokenizer is of a language whose rules do not fit a graph.
    """

    def __init__(self, tokenizer: WordTokenizer):
        super().__init__(name="word_level")
        rules, self._cleaner = tokenizer.word_rules, GraphCleaner()
        try:
            self._words = (GraphCharacterSplitter(rules) if isinstance(rules, CharacterRules)
                           else GraphWordSplitter(rules))
        except ValueError as error:
            raise UserError(f"The rules of the tokenizer's language {tokenizer.language!r} do not "
                            f"fit a graph: {error}") from error
        symbols = {token: index for index, token in enumerate(tokenizer.tokens)
                   if len(token.removesuffix(END_OF_WORD)) == 1}
        self._symbols = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            list(symbols), list(symbols.values()), tf.string, tf.int64), tokenizer.unknown_id)
        self._bpe = GraphBpe(tokenizer.tokens, tokenizer.merges)
        self._decoder = GraphDecoder(tokenizer)
        self.decode = self._decoder.decode

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids without special tokens: string [B] -> ragged int32 [B, (T)]."""
        return of_each(self._cleaner.chunks(texts), self._encode_chunks)

    def _encode_chunks(self, chunks):
        parts = tf.strings.split(self._cleaner.standardise(chunks))
        return of_each(parts, self._encode_parts)

    def _encode_parts(self, parts):
        words = self._words.split(parts)
        # The mark of a line break is a word like others from here on.
        lower = tf.strings.regex_replace(tf.strings.lower(words.flat_values, encoding="utf-8"),
                                         _NEWLINE, "\n")
        return of_each(words.with_flat_values(lower), self._encode_words)

    def _encode_words(self, words):
        characters = tf.strings.unicode_split(words, "UTF-8")
        is_last = tf.cast(characters.row_limits()[:, None] - 1, tf.int64)
        symbols = characters.flat_values
        symbols = tf.tensor_scatter_nd_update(
            symbols, is_last, tf.strings.join([tf.gather_nd(symbols, is_last), END_OF_WORD]))
        return self._bpe.merge(characters.with_flat_values(self._symbols.lookup(symbols)))
