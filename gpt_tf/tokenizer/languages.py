"""Languages by their codes, and whether a text's letters are those of its language."""

import collections
import functools
import sys
import unicodedata

# Scripts by the first word of their letters' names in Unicode, and spaCy's languages that are
# written in each. A language in none, as xx, is not judged.
_WRITTEN = {script: frozenset(codes.split()) for script, codes in {
    "CJK": "zh ja ko", "ARABIC": "ar fa ur", "ARMENIAN": "hy", "BENGALI": "bn", "BOPOMOFO": "zh",
    "CYRILLIC": "bg ky mk ru sr tt uk", "DEVANAGARI": "hi mr ne sa", "ETHIOPIC": "am ti",
    "GREEK": "el grc", "GUJARATI": "gu", "HANGUL": "ko", "HEBREW": "he", "HIRAGANA": "ja",
    "KANNADA": "kn", "KATAKANA": "ja", "MALAYALAM": "ml", "SINHALA": "si", "TAMIL": "ta",
    "TELUGU": "te", "THAI": "th", "TIBETAN": "bo",
    "LATIN": "af az ca cs da de dsb en es et eu fi fo fr ga gd hr hsb ht hu id is it kmr la lb lg "
             "lij lt lv ms nb nl nn pl pt ro sk sl sq sr sv tl tn tr tt vi yo",
}.items()}

_SAMPLE = 200  # characters of a text
_FEWEST = 50  # letters that say anything
_MOSTLY = 0.5


def base_code(language: str) -> str:
    """The language itself: "zh" of "zh-Hans"."""
    return language.partition("-")[0].lower()


class LetterSample:
    """Some of a corpus's text, which tells whether its letters are those of a language."""

    def __init__(self):
        self._characters: collections.Counter[str] = collections.Counter()

    def add(self, text: str) -> None:
        """Takes a few characters from all over a text."""
        self._characters.update(text[::max(1, len(text) // _SAMPLE)])

    def warn(self, language: str) -> None:
        """Says on standard error if most letters are not those that the language is written in.

        Args:
          language: a code of spaCy's; of one whose script is not known here nothing is said.
        """
        code = base_code(language)
        own = [script for script, codes in _WRITTEN.items() if code in codes]
        scripts: collections.Counter[str] = collections.Counter()
        for character, count in self._characters.items():
            if character.isalpha():
                scripts[_script(character)] += count
        total = scripts.total()
        foreign = total - sum(scripts[script] for script in own)
        if not own or total < _FEWEST or foreign <= _MOSTLY * total:
            return
        most = max(scripts.keys() - set(own), key=scripts.__getitem__)
        print(f"Of the letters {foreign / total:.0%} are not {' or '.join(map(_shown, own))}, as "
              f"those of --language={language} are; most of these are {_shown(most)}: a tokenizer "
              f"that pipelines.train_bpe makes with {_flag(most)} or --kind=byte_level suits such "
              "text.",
              file=sys.stderr)


@functools.cache
def _script(letter: str) -> str:
    """The first word of a letter's name: CJK, LATIN, KATAKANA."""
    plain = unicodedata.normalize("NFKC", letter)  # of wide and narrow forms
    return unicodedata.name(plain[0], "?").partition(" ")[0].partition("-")[0]


def _shown(script: str) -> str:
    return "Han" if script == "CJK" else script.capitalize()


def _flag(script: str) -> str:
    """The flag for text in a script."""
    codes = {"zh"} if script == "CJK" else _WRITTEN.get(script, ())
    return f"--language={min(codes)}" if len(codes) == 1 else "its own --language"
