"""Words joined to readable text, with the spaces that their language puts between them."""

from collections.abc import Callable, Mapping, Sequence
import functools
import re
from typing import NamedTuple

from gpt_tf.tokenizer import characters
from gpt_tf.tokenizer.languages import base_code

_NEWLINE = "\n"


class Spacing(NamedTuple):
    """Where a language puts no space between words. All patterns are Python's and RE2's at once.

    closing: words without a space before them.
    opening: words without a space after them.
    quotes: sign -> its kind; the signs of a kind open and close in turn within a line.
    elided: words after which an apostrophe stands for letters: it closes.
    squeezed: (pattern, replacement) that take spaces out of the joined text, in turn.
    """

    closing: str
    opening: str
    quotes: Mapping[str, str]
    elided: str = ""
    squeezed: Sequence[tuple[str, str]] = ()


_STRAIGHT = {'"': '"', "'": "'"}
_ENGLISH = Spacing(r"[.,;:!?)\]}%]+|n't|'(?:s|m|d|ll|re|ve)", r"[(\[{$]+", _STRAIGHT,
                   "(?s).*(?:s|in)")  # the boys', runnin'

# The signs of Armenian, Arabic, Indic and Ethiopic scripts that close, too.
_CLOSING = r".,;:!?)\]}%" "\u0589\u060c\u061b\u061f\u06d4\u0964\u0965\u1361-\u1368"
_OPENING = r"(\[{$" "\u00bf\u00a1"
# Which way one points does not say whether it opens: »Deutsch«, »suomi», «Schweiz».
_ANGLES = {"\u00bb": "\u00bb", "\u00ab": "\u00bb", "\u203a": "\u203a", "\u2039": "\u203a"}
_INWARD = frozenset("cs da de dsb fi hr hsb hu sk sl sr sv".split())
# Articles and pronouns without their vowel, as l', dell' and qu'.
_ELISION = "[a-z]*(?:[b-df-hj-np-tv-z]|qu)'"
_ELIDING = frozenset("ca it lb lij".split())

# Beside Han, kana, Thai and their punctuation stands no space.
_UNSPACED = f"[{characters.UNSPACED}\u3001-\u3003\u3008-\u3020\u30fb]"
_SQUEEZED = ((f" ?({_UNSPACED}) ?", r"\1"),)
# Nor between two signs; twice, for what one match has read the next one cannot.
_SIGNS = ((r"""([-"'(),.:;!?]) ([-"'(),.:;!?])""", r"\1\2"),) * 2


@functools.cache
def spacing_of(language: str) -> Spacing:
    """The spacing of a language; of those that are not told apart, what most have in common.

    English is as it always was. French has spaces around guillemets and before `! ? ; :`.
    """
    code = base_code(language)
    if code == "en":
        return _ENGLISH
    others = Spacing(f"[{_CLOSING}\u00bb\u203a]+|'s", f"[{_OPENING}\u00ab\u2039]+", _STRAIGHT,
                     squeezed=_SQUEEZED)
    if code == "fr":
        return others._replace(closing=r"[.,)\]}]+", opening=rf"[(\[{{$]+|{_ELISION}")
    if code == "nl":  # 's avonds
        return others._replace(closing=f"[{_CLOSING}\u00bb\u203a]+")
    if code in _ELIDING:
        return others._replace(opening=f"{others.opening}|{_ELISION}")
    if code in _INWARD:
        return others._replace(closing=f"[{_CLOSING}]+|'s", opening=f"[{_OPENING}]+",
                               quotes=_STRAIGHT | _ANGLES,
                               elided="(?s).*[sxz\u00df]" if code == "de" else "")
    if code in ("ja", "th", "zh"):
        return others._replace(squeezed=_SQUEEZED + _SIGNS)
    return others


def join_words(words: Sequence[str], language: str) -> str:
    """Joins words as people write them in a language.

    `join_words(["i", "do", "n't", "know", ",", '"', "he", "said", '"', "."], "en")` is
    `i don't know, "he said".`: no space before closing punctuation and the ends of contractions,
    none after opening brackets; quotes open and close in turn within a line.
    """
    return _joiner(language)(words)


@functools.cache
def _joiner(language: str) -> Callable[[Sequence[str]], str]:
    spacing = spacing_of(language)
    closing, opening, elided = (re.compile(pattern).fullmatch for pattern in (
        spacing.closing, spacing.opening, spacing.elided))
    squeezed = [(re.compile(pattern), replacement) for pattern, replacement in spacing.squeezed]

    def join(words: Sequence[str]) -> str:
        text, glue, open_quotes = [], True, set()
        for word in words:
            if word == _NEWLINE:
                text.append(word)
                glue, open_quotes = True, set()
                continue
            kind = spacing.quotes.get(word)
            closes = kind in open_quotes or (
                kind == "'" and bool(text) and bool(elided(text[-1])))
            if not (glue or closes or closing(word)):
                text.append(" ")
            text.append(word)
            glue = bool(opening(word)) or bool(kind and not closes)
            if kind and not closes:
                open_quotes.add(kind)
            elif kind:
                open_quotes.discard(kind)
        joined = "".join(text)
        for pattern, replacement in squeezed:
            joined = pattern.sub(replacement, joined)
        return joined

    return join
