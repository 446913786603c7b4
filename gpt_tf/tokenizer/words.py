"""Words of a language: spaCy's rule tokenizer made fast for single chunks, or by characters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import functools
import re
from typing import Any, NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import characters
from gpt_tf.tokenizer.languages import base_code

# What may be a code such as en or zh-Hans: spaCy makes a module's name of it, and imports that.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@functools.cache
def _load_spacy(language: str) -> Any:
    import spacy  # takes most of a second

    try:
        if not _LANGUAGE.fullmatch(language):
            raise ValueError("no language code")
        pipeline = spacy.blank(language)
    except (ImportError, ValueError) as error:
        raise UserError(f"spaCy cannot split words of the language {language!r}; give one of its "
                        "language codes, such as en, fr, de or zh, or xx for rules of no "
                        "language; or split bytes, of any language, with pipelines.train_bpe "
                        "--kind=byte_level.") from error
    return pipeline


class WordRules(NamedTuple):
    """What decides how a language's words are split, in Python's patterns.

    special: chunk -> its words.
    sought: those of them that the last pass looks for among the words of a chunk -> the words that
      stand for them there.
    letters_are_words: no rule but a special case takes a chunk of ASCII letters apart.
    prefixes, suffixes, infixes: alternatives, the first that fits first.
    url: pattern of chunks that are split no further.
    token_match: pattern of what is split no further, affixes or not; "" where there is none.
    """

    special: dict[str, list[str]]
    sought: dict[str, list[str]]
    letters_are_words: bool
    prefixes: list[str]
    suffixes: list[str]
    infixes: list[str]
    url: str
    token_match: str


def _never(text: str) -> None:
    del text


# Far more characters than a rule of an affix has; none sees more than so many around its own.
_AFFIX, _CONTEXT = 64, 16

# A URL's user and password, and the same texts by a pattern that does not try every colon with
# every character after it: n * n steps for a chunk of n characters.
_USER, _PLAIN_USER = r"(?:\S+(?::\S*)?@)?", r"(?:\S+@)?"


class WordSplitter:
    """spaCy's rule tokenizer for one chunk at a time, without its cost for each new word.

    Follows `spacy.tokenizer.Tokenizer` with the language's own rules: special cases first, then
    prefixes and suffixes one by one, then special cases, URLs and infixes of what is left; at last
    special cases among all words of a line. spaCy takes n * n steps for some chunks of n
    characters, this n.

    Args:
      language: a spaCy language code, e.g. "en".

    Raises:
      UserError: spaCy has no rule tokenizer for the language.
    """

    def __init__(self, language: str):
        self._spacy = _load_spacy(language)
        rules = self._spacy.tokenizer
        self._prefix = rules.prefix_search or _never
        self._suffix = rules.suffix_search or _never
        self._infixes = rules.infix_finditer or (lambda text: ())
        self._token_match = rules.token_match or _never
        url = rules.url_match.__self__.pattern  # every language has one
        self._url_match = re.compile(url.replace(_USER, _PLAIN_USER)).match
        orth = self._spacy.vocab.strings["ORTH"]  # the key of a rule token's text
        special = {rule: [token[orth] for token in tokens]
                   for rule, tokens in rules.rules.items()}
        self._special = {}  # spaCy reads the rules that its last pass looks for without any
        self._longest_special = 0
        # English rules touch a chunk of ASCII letters as a special case only.
        self._letters_are_words = False
        # Other white space, which a standardised line has not, is a word to spaCy.
        sought = {rule: self._split_chunks(rule.split())[0] for rule in special
                  if " ".join(rule.split()) == rule.removesuffix(" ")
                  and (" " in rule or self._is_split(rule))}
        self._sought_alone = {rule: words for rule, words in sought.items() if " " not in rule}
        self._sought = _tree(sought.values())
        # Chunks and words of rules that hold a space, such as the Spanish "EE. UU.".
        self._bridging = {part for rule, words in sought.items() if " " in rule
                          for part in (*rule.split(), *words)}
        self._special = special
        self._longest_special = max(map(len, special), default=0)
        self._letters_are_words = language == "en"

    @property
    def rules(self) -> WordRules:
        """The rules, for those who split words by other means."""
        defaults = self._spacy.Defaults
        # spaCy leaves empty alternatives out.
        affixes = ([piece for piece in pieces if piece.strip()] for pieces in
                   (defaults.prefixes, defaults.suffixes, defaults.infixes))
        token_match = "" if self._token_match is _never else self._token_match.__self__.pattern
        return WordRules(self._special, self._sought_alone, self._letters_are_words, *affixes,
                         self._url_match.__self__.pattern, token_match)

    def _is_split(self, rule: str) -> bool:
        """Whether affixes or infixes take a special case apart: others come out as they are."""
        return bool(self._prefix(rule) or self._suffix(rule) or any(self._infixes(rule)))

    def split_chunk(self, chunk: str) -> list[str] | None:
        """Words of one standardised chunk; None where spaCy's answer depends on its neighbours.

        Its last pass looks for special cases among all words of a text. A match that reaches over
        whitespace is void unless its rule holds a space, but hides the matches it overlaps. So a
        chunk stands alone exactly when that pass finds nothing to change inside it, and no word
        of such a rule.
        """
        words = self._split_chunk(chunk)
        if self._bridging and (chunk in self._bridging or not self._bridging.isdisjoint(words)):
            return None
        is_changed = any(
            self._special.get("".join(words[start:end]), words[start:end]) != words[start:end]
            for start, end in self._find_sought(words))
        return None if is_changed else words

    def split_line(self, line: str) -> list[str]:
        """Words of one standardised line, right whatever the neighbours of a chunk do."""
        words, is_last = self._split_chunks(line.split())
        matches = sorted(self._find_sought(words), key=lambda match: match[0] - match[1])
        hidden, replaced = bytearray(len(words)), {}
        for start, end in matches:  # the longest first, and of those the first
            if not (hidden[start] or hidden[end - 1]):
                text = "".join(word + " " if is_last[start + index] else word
                               for index, word in enumerate(words[start:end]))
                replaced[start] = end, self._special.get(text.removesuffix(" "), words[start:end])
            hidden[start:end] = b"\1" * (end - start)  # what is hidden itself hides, too
        found, place = [], 0
        while place < len(words):
            end, some = replaced.get(place, (place + 1, words[place:place + 1]))
            found += some
            place = end
        return found

    def _find_sought(self, words: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Where words one after the other are those of a rule: start and end."""
        for start, word in enumerate(words):
            node, end = self._sought.get(word), start + 1
            while node is not None:
                if _END in node:
                    yield start, end
                node, end = node.get(words[end]) if end < len(words) else None, end + 1

    def _split_chunks(self, chunks: Sequence[str]) -> tuple[list[str], list[bool]]:
        """Words before the last pass, and whether each is the last of its chunk."""
        words, is_last = [], []
        for chunk in chunks:
            some = self._split_chunk(chunk)
            words += some
            is_last += [False] * (len(some) - 1) + [True]
        return words, is_last

    def _split_chunk(self, chunk: str) -> list[str]:
        if (self._letters_are_words and chunk.isascii() and chunk.isalpha()
                and chunk not in self._special):
            return [chunk]
        return self._split_affixes(chunk)

    def _split_affixes(self, text: str) -> list[str]:
        prefixes, suffixes = [], []
        start, end, length = 0, len(text), -1
        while start < end and end - start != length:
            if (self._token_match is not _never and self._token_match(text[start:end])
                    or self._is_special(text, start, end)):
                break
            length = end - start
            prefix = self._affix_length(self._prefix, text, start, end, at_start=True)
            if prefix and self._is_special(text, start + prefix, end):
                prefixes.append(text[start:start + prefix])
                start += prefix
                break
            suffix = self._affix_length(self._suffix, text, start + prefix, end, at_start=False)
            if suffix and self._is_special(text, start, end - suffix):
                suffixes.append(text[end - suffix:end])
                end -= suffix
                break
            if prefix + suffix > length:
                suffix = 0  # they overlap: the prefix goes first
            if prefix:
                prefixes.append(text[start:start + prefix])
            if suffix:
                suffixes.append(text[end - suffix:end])
            start, end = start + prefix, end - suffix
        return [*prefixes, *self._split_infixes(text[start:end]), *reversed(suffixes)]

    def _is_special(self, text: str, start: int, end: int) -> bool:
        return end - start <= self._longest_special and text[start:end] in self._special

    def _affix_length(self, search: Callable[[str], re.Match | None], text: str, start: int,
                      end: int, at_start: bool) -> int:
        """The length of the prefix or suffix of text[start:end]; 0: there is none.

        Only an end of it is looked at, so that a chunk of n characters that come off one by one
        takes n steps and not n * n. A rule that fills that end may go on, as that of "...." does.
        """
        width = _AFFIX
        while True:
            part = (text[start:min(end, start + width)] if at_start
                    else text[max(start, end - width):end])
            length = _length(search(part))
            if length < width - _CONTEXT or len(part) == end - start:
                return length
            width *= 2

    def _split_infixes(self, text: str) -> list[str]:
        if not text:
            return []
        if text in self._special:
            return self._special[text]
        if self._token_match(text) or self._url_match(text):
            return [text]
        words, done = [], 0
        for infix in self._infixes(text):
            start, end = infix.span()
            if start:  # at the very start it is no infix
                words += [text[done:start], text[start:end]]
                done = end
        return [word for word in [*words, text[done:]] if word]


_END = ""  # no word: marks the nodes of a tree where a rule ends


def _tree(rules: Iterable[Sequence[str]]) -> dict[str, dict]:
    """Words -> what may come after them, for rules as sequences of words."""
    tree = {}
    for words in rules:
        node = tree
        for word in words:
            node = node.setdefault(word, {})
        node[_END] = {}
    return tree


def _length(match: re.Match | None) -> int:
    return match.end() - match.start() if match else 0


@functools.cache
def splitter_of(language: str) -> WordSplitter | characters.CharacterSplitter:
    """What splits words of a language: spaCy's rules, or where it has none the characters.

    Raises:
      UserError: spaCy does not know the language.
    """
    if base_code(language) in characters.LANGUAGES:
        return characters.CharacterSplitter()
    return WordSplitter(language)
