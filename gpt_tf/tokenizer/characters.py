"""Words of languages whose words no rule finds: by characters and punctuation."""

import functools
import re
from typing import NamedTuple
import unicodedata

# spaCy splits these by programs and dictionaries of their own, or by single characters. Chinese,
# Japanese and Thai put no space between words; Vietnamese puts one between syllables.
LANGUAGES = frozenset(("ja", "ko", "th", "vi", "zh"))

# Characters of which each is a word: Thai; radicals, Han and its numerals, kana, Bopomofo, and
# Han beyond the first plane. Of a script that puts spaces between words none is here.
UNSPACED = ("\u0e00-\u0e7f\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3040-\u312f"
             "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
             "\U0001aff0-\U0001b16f\U00020000-\U0003ffff")
# What belongs to the character before it, beside marks: what joins (ZWNJ, ZWJ), and a Thai vowel
# that Unicode calls a letter.
_JOINING = "\u200c\u200d\u0e33"


class CharacterRules(NamedTuple):
    """How a language's words are found by characters.

    word: what a word is, wherever it stands, in Python's patterns and in RE2's (with characters
      escaped as Python does it). Read from left to right, its matches are the words, and all but
      white space is part of one.
    """

    word: str


class CharacterSplitter:
    """Splits text by characters: every Han, kana and Thai character is a word, with its marks.

    Other letters and digits that stand side by side are one word, so that Hangul stays whole
    between spaces and Latin everywhere; also numbers with points in them (3.14), English words
    with apostrophes (don't), and dots side by side. Any other sign is a word. Nothing depends on
    what stands beside a chunk, nor on the language: one of `LANGUAGES`.

    For Chinese text of Han and punctuation this is what `spacy.blank("zh")` does by default; that
    also splits Latin words and numbers into characters, and marks from what they mark.

    Example:
      splitter.split_line("你好，2024年5月 GPT4 don't 3.14 한국어는") ==
        ["你", "好", "，", "2024", "年", "5", "月", "GPT4", "don't", "3.14", "한국어는"]
    """

    def __init__(self):
        self.rules = CharacterRules(_word_pattern())
        self._find = re.compile(self.rules.word).findall

    def split_chunk(self, chunk: str) -> list[str]:
        """Words of one standardised chunk."""
        return self._find(chunk)

    def split_line(self, line: str) -> list[str]:
        """Words of one standardised line."""
        return self._find(line)


@functools.cache  # a pass over all of Unicode
def _word_pattern() -> str:
    unspaced = re.compile(f"[{UNSPACED}]")
    letters, digits, marks = [], [], [*map(ord, _JOINING)]
    for code in range(0x110000):
        category = unicodedata.category(character := chr(code))
        if category == "Nd":
            digits.append(code)
        elif category[0] == "M":
            marks.append(code)
        elif category[0] in "LN" and not unspaced.match(character):
            letters.append(code)
    letter, digit, mark = map(_character_class, (letters + marks, digits, marks))
    return (f"[A-Za-z]+(?:'[A-Za-z]+)+|(?:{digit}+(?:\\.{digit}+)*|{letter}+)+|\\.+|\\S{mark}*")


def _character_class(codes: list[int]) -> str:
    """A pattern of the characters of these codes."""
    ranges = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]"
