"""Word splitting in a TensorFlow graph, in core string ops: by spaCy's rules, by characters."""

import tensorflow as tf

from gpt_tf.serving import re2
from gpt_tf.tokenizer.characters import CharacterRules
from gpt_tf.tokenizer.words import WordRules

_LETTERS = "[A-Za-z]+"

# Characters. A chunk of more than the first gives up its affixes all at once, seen through windows
# of the third, as long as at least the second are left; the rest one by one. No special case is as
# long as the second, and no affix with what it sees around its own as a window, but for a run of
# dots, of which a part ends where the whole does.
_LONG, _SHORT, _WINDOW = 128, 64, 32


def string_table(entries: dict[str, str]) -> tf.lookup.StaticHashTable:
    """Text -> text; "" for what is not in it."""
    initializer = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(entries), tf.string), tf.constant(list(entries.values()), tf.string))
    return tf.lookup.StaticHashTable(initializer, default_value="")


class GraphCharacterSplitter(tf.Module):
    """`characters.CharacterSplitter` for chunks of standardised text.

    Args:
      rules: what a word is.
    """

    def __init__(self, rules: CharacterRules):
        super().__init__(name="words")
        self._word = f"({re2.translate(rules.word)})"

    def split(self, chunks: tf.Tensor) -> tf.RaggedTensor:
        """Words of each chunk: string [N] -> ragged string [N, (W)]."""
        return tf.strings.split(tf.strings.regex_replace(chunks, self._word, r"\1 "))


class GraphWordSplitter(tf.Module):
    """spaCy's rule tokenizer for chunks of standardised text.

    As `words.WordSplitter.split_chunk`. spaCy's last pass, which looks for special cases among all
    words of a text, sees one chunk here, and not its neighbours.

    Args:
      rules: those of a language.

    Raises:
      ValueError: a rule has no equal in RE2.
    """

    def __init__(self, rules: WordRules):
        super().__init__(name="words")
        # A chunk has no spaces, so that they can stand between its words.
        special = {chunk: " ".join(words)
                   for chunk, words in rules.special.items() if chunk.strip()}
        self._special = string_table(special)
        self._sought = string_table({" ".join(words): special[chunk]
                                     for chunk, words in rules.sought.items()})
        self._counts = sorted({len(words) for words in rules.sought.values()}, reverse=True)
        self._letters_are_words = rules.letters_are_words
        if rules.token_match:
            raise ValueError(f"{rules.token_match[:40]!r} is looked at before affixes.")
        self._prefix_rule = re2.prefix(rules.prefixes)
        self._suffix_rules = re2.suffixes(rules.suffixes)
        self._infix_rules = re2.infixes(rules.infixes)
        self._url, self._no_url = re2.url(rules.url)

    def split(self, chunks: tf.Tensor) -> tf.RaggedTensor:
        """Words of each chunk: string [N] -> ragged string [N, (W)]."""
        plain = tf.fill(tf.shape(chunks), False)
        if self._letters_are_words:
            plain = tf.logical_and(tf.strings.regex_full_match(chunks, _LETTERS),
                                   self._special.lookup(chunks) == "")
        hard = tf.where(~plain)
        words = self._split_affixes(tf.gather_nd(chunks, hard))
        words = tf.strings.split(tf.tensor_scatter_nd_update(chunks, hard, words))
        return self._join_special(words)

    def _join_special(self, words):
        """Where words one after the other are those of a special case, its words stand for them.

        The longest first, and of those the first; a match hides what it overlaps, and so do the
        hidden ones.
        """
        flat, rows, size = words.flat_values, words.value_rowids(), tf.size(words.flat_values)
        joined, hidden = flat, tf.fill([size], False)
        for count in self._counts:
            shifted = [tf.concat([flat[shift:], tf.fill([tf.minimum(shift, size)], "")], axis=0)
                       for shift in range(count)]
            last = tf.minimum(tf.range(size) + count - 1, size - 1)
            found = self._sought.lookup(tf.strings.join(shifted, separator=" "))
            matches = (found != "") & (rows == tf.gather(rows, last))
            inside = _inside(matches, count)
            replaced = matches & ~(inside | hidden | tf.gather(hidden, last))
            joined = tf.where(replaced, found,
                              tf.where(_inside(replaced, count), "", joined))
            hidden |= matches | inside
        return tf.strings.split(tf.strings.reduce_join(words.with_flat_values(joined), axis=-1,
                                                       separator=" "))

    def _split_affixes(self, chunks):
        """Prefixes and suffixes go one by one, until a special case or nothing is left."""
        long = tf.where(tf.strings.length(chunks, unit="UTF8_CHAR") > _LONG)
        taken = tf.map_fn(self._take_affixes, tf.gather_nd(chunks, long),
                          fn_output_signature=tf.TensorSpec([3], tf.string))
        nothing = tf.fill(tf.shape(chunks), "")
        before, texts, after = (
            tf.tensor_scatter_nd_update(whole, long, part) for whole, part in
            zip((nothing, chunks, nothing), tf.unstack(taken, axis=1)))

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
            (tf.range(tf.size(chunks)), texts, before, after),
            shape_invariants=(tf.TensorShape([None]),) * 4)
        return tf.strings.join([before, self._split_infixes(texts), after])

    def _take_affixes(self, text):
        """A long text without the affixes that come off it while it is long.

        It is no special case then, so that neither end waits for the other: what comes off at each
        is a chain of its own, of which a turn takes one link.

        Args:
          text: string [], of more than `_LONG` characters.

        Returns:
          string [3]: prefixes with a space after each, the rest, suffixes with one before each.
        """
        characters = tf.strings.unicode_split(text, "UTF-8")
        count, windows = tf.size(characters), characters
        for shift in (1, 2, 4, 8, 16):  # windows[i] is of _WINDOW characters from i on
            windows = tf.strings.join([windows, tf.concat([windows[shift:], [""] * shift], axis=0)])
        windows, places = tf.unique(windows)
        prefixes, suffixes = (
            tf.gather(tf.strings.length(found, unit="UTF8_CHAR"), places) for found in
            (tf.strings.regex_replace(windows, *self._prefix_rule), self._suffix(windows)))
        starts = _ends_of_links(prefixes)
        ends = count - _ends_of_links(tf.concat(
            [tf.reverse(suffixes[:1 - _WINDOW], [0]), tf.zeros([_WINDOW - 1], tf.int32)], axis=0))
        turns = tf.range(tf.maximum(tf.size(starts), tf.size(ends)))
        left = (tf.gather(ends, tf.minimum(turns, tf.size(ends) - 1))
                - tf.gather(starts, tf.minimum(turns, tf.size(starts) - 1)))
        turns = tf.math.count_nonzero(left >= _SHORT, dtype=tf.int32)
        starts, ends = starts[:turns], ends[:turns]
        space = tf.scatter_nd(tf.concat([starts, ends], axis=0)[:, None] % count,
                              tf.fill([tf.size(starts) + tf.size(ends)], 1), [count]) > 0
        spaced = tf.strings.join([tf.where(space, " ", ""), characters])
        start, end = starts[-1], ends[-1]
        return tf.stack([
            tf.strings.reduce_join(spaced[:start]) + " ",
            tf.strings.reduce_join(characters[start:end]),
            tf.strings.reduce_join(spaced[end:])])

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


def _ends_of_links(lengths):
    """Where the affixes end that come off one after the other: int32 [1 + P], the first is 0.

    Args:
      lengths: int32 [N], of the affix that begins at each place as far as a window shows it; 0
        where none does.
    """
    is_cut = lengths == _WINDOW
    size = tf.size(lengths) + 1
    after = tf.concat([tf.range(size - 1) + tf.where(is_cut, _WINDOW // 2, lengths),
                       [size - 1]], axis=0)

    def double(step, after, reached):
        reached |= tf.math.unsorted_segment_max(tf.cast(reached, tf.int32), after, size) > 0
        return 2 * step, tf.gather(after, after), reached

    reached = tf.while_loop(lambda step, *_: step < size, double,
                            (1, after, tf.range(size) == 0))[2]
    return tf.concat([[0], tf.boolean_mask(after[:-1], reached[:-1] & (lengths > 0) & ~is_cut)],
                     axis=0)


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
