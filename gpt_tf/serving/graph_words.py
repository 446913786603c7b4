"""Word splitting in a TensorFlow graph: `words.WordSplitter` in core string ops."""

import tensorflow as tf

from gpt_tf.serving import re2
from gpt_tf.tokenizer.words import WordRules

_LETTERS = "[A-Za-z]+"
_LAST_PASS = (3, 2)  # words of special cases in the order of spaCy's last pass


def string_table(entries: dict[str, str]) -> tf.lookup.StaticHashTable:
    """Text -> text; "" for what is not in it."""
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(entries), tf.string), tf.constant(list(entries.values()), tf.string))
    return tf.lookup.StaticHashTable(initializer, default_value="")


class GraphWordSplitter(tf.Module):
    """spaCy's rule tokenizer for chunks of standardised text.

    As `words.WordSplitter.split_chunk`. spaCy's last pass, which looks for special cases among all
    words of a text, sees two or three words of one chunk here, and no chunk's neighbours.

    Args:
      rules: of English; other languages have rules of other kinds.

    Raises:
      ValueError: a rule has no equal in RE2.
    """

    def __init__(self, rules: WordRules):
        super().__init__(name="words")
        # A chunk has no spaces, so that they can stand between its words.
        special = {chunk: " ".join(words)
                   for chunk, words in rules.special.items() if chunk.strip()}
        self._special = string_table(special)
        self._sought = string_table({chunk: special[chunk] for chunk in rules.sought
                                     if chunk in special})
        self._prefix_rule = re2.prefix(rules.prefixes)
        self._suffix_rules = re2.suffixes(rules.suffixes)
        self._infix_rules = re2.infixes(rules.infixes)
        self._url, self._no_url = re2.url(rules.url)

    def split(self, chunks: tf.Tensor) -> tf.RaggedTensor:
        """Words of each chunk: string [N] -> ragged string [N, (W)]."""
        plain = tf.logical_and(tf.strings.regex_full_match(chunks, _LETTERS),
                               self._special.lookup(chunks) == "")
        hard = tf.where(~plain)
        words = self._split_affixes(tf.gather_nd(chunks, hard))
        words = tf.strings.split(tf.tensor_scatter_nd_update(chunks, hard, words))
        for count in _LAST_PASS:
            words = self._join_special(words, count)
        return words

    def _join_special(self, words, count: int):
        """Where `count` words one after the other are a special case, its words stand for them."""
        size = tf.size(words.flat_values)
        flat = tf.concat([words.flat_values, [""] * (count - 1)], axis=0)
        rows = tf.concat([words.value_rowids(), [-1] * (count - 1)], axis=0)
        found = self._sought.lookup(tf.strings.join([flat[i:i + size] for i in range(count)]))
        matches = (found != "") & (rows[:size] == rows[count - 1:count - 1 + size])
        # A match hides those that begin inside it, and so do the hidden ones.
        matches &= ~_inside(matches, count)
        joined = tf.where(matches, found,
                          tf.where(_inside(matches, count), "", words.flat_values))
        return tf.strings.split(tf.strings.reduce_join(words.with_flat_values(joined), axis=-1,
                                                       separator=" "))

    def _split_affixes(self, chunks):
        """Prefixes and suffixes go one by one, until a special case or nothing is left."""
        count = tf.size(chunks)
        nothing = tf.fill([count], "")

        def step(going, texts, before, after):
            text = tf.gather(texts, going)
            prefix, suffix, text, goes_on = self._strip(text)
            where = going[:, None]
            texts = tf.tensor_scatter_nd_update(texts, where, text)
            before = tf.tensor_scatter_nd_update(
                before, where, tf.strings.join([tf.gather(before, going), prefix, " "]))
            after = tf.tensor_scatter_nd_update(
                after, where, tf.strings.join([" ", suffix, tf.gather(after, going)]))
            return tf.boolean_mask(going, goes_on), texts, before, after

        _, texts, before, after = tf.while_loop(
            lambda going, *_: tf.size(going) > 0, step,
            (tf.range(count), chunks, nothing, nothing),
            shape_invariants=(tf.TensorShape([None]),) * 4)
        return tf.strings.join([before, self._split_infixes(texts), after])

    def _strip(self, text):
        """One prefix and one suffix of each text, what is left, and whether to look again."""
        is_special = self._is_special(text)
        prefix = tf.where(is_special, "", tf.strings.regex_replace(text, *self._prefix_rule))
        rest = _without(text, prefix, at_start=True)
        ends = is_special | ((prefix != "") & self._is_special(rest))
        suffix = tf.where(ends, "", self._suffix(rest))
        without_suffix = _without(text, suffix, at_start=False)
        suffix_is_last = (suffix != "") & self._is_special(without_suffix)
        prefix = tf.where(suffix_is_last, "", prefix)
        left = tf.where(suffix_is_last, without_suffix, _without(rest, suffix, at_start=False))
        return prefix, suffix, left, (
            ~(ends | suffix_is_last) & (left != text) & (left != ""))

    def _is_special(self, text):
        return self._special.lookup(text) != ""

    def _suffix(self, text):
        """The longest that any rule finds."""
        longest = tf.fill(tf.shape(text), "")
        for rule in self._suffix_rules:
            found = tf.strings.regex_replace(text, *rule)
            longest = tf.where(tf.strings.length(found) > tf.strings.length(longest), found,
                               longest)
        return longest

    def _split_infixes(self, text):
        special = self._special.lookup(text)
        is_url = (tf.strings.regex_full_match(text, self._url)
                  & ~tf.strings.regex_full_match(text, self._no_url))
        split = text
        for rule in self._infix_rules:
            split = tf.strings.regex_replace(split, *rule)
        return tf.where(special != "", special, tf.where(is_url, text, split))


def _inside(matches, count: int):
    """Which words [W] stand behind the first word of a match of `count` words."""
    inside = tf.zeros_like(matches)
    for shift in range(1, count):
        inside |= tf.concat([tf.fill([shift], False), matches], axis=0)[:tf.size(matches)]
    return inside


def _without(text, part, at_start: bool):
    """Texts [N] without the parts [N] that they start or end with."""
    length = tf.strings.length(part)
    return tf.strings.substr(text, length if at_start else tf.zeros_like(length),
                             tf.strings.length(text) - length)
