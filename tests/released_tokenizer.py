"""The released program's text encoder, step by step and slow: what `gpt_tf.tokenizer` must equal.

Written from the description of the path (ftfy, standardisation, spaCy, lower case, BPE) on the
libraries themselves; it shares no code with `gpt_tf`.
"""

import re

import ftfy
import spacy

_REPLACEMENTS = (("\u2014", "-"), ("\u2013", "-"), ("\u2015", "-"), ("\u2026", "..."),
                 ("\u00b4", "'"))
_RUNS = "|".join([r"-+", r"~+", r"!+", r'"+', r";+", r"\?+", r"\++", r",+", r"\)+", r"\(+",
                  r"\/+", r"\*+", r"\[+", r"\]+", r"}+", r"{+", r"\|+", r"_+"])


class ReleasedTokenizer:
    """Args: vocabulary (token -> id), merges (pairs in order), a spaCy language code."""

    def __init__(self, vocabulary, merges, language="en"):
        self._vocabulary = vocabulary
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._spacy = spacy.blank(language)
        self._pieces = {}
        self.rules = self._spacy.tokenizer.rules

    def standardise(self, text):
        for old, new in _REPLACEMENTS:
            text = text.replace(old, new)
        text = re.sub(f"({_RUNS})", r" \1 ", text)
        text = re.sub(r"\s*\n\s*", " \n ", text)
        return re.sub(r"[^\S\n]+", " ", text).strip()

    def words(self, text):
        document = self._spacy.tokenizer(self.standardise(ftfy.fix_text(text)))
        return [token.text.lower() for token in document]

    def encode(self, text):
        return [self._vocabulary.get(piece, 0) for word in self.words(text)
                for piece in self.pieces(word)]

    def pieces(self, word):
        if word not in self._pieces:
            self._pieces[word] = self._merge(word)
        return self._pieces[word]

    def _merge(self, word):
        symbols = [*word[:-1], word[-1] + "</w>"]
        if symbols == ["\n", " </w>"]:
            return ["\n</w>"]
        while len(symbols) > 1:
            pairs = set(zip(symbols, symbols[1:]))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, float("inf")))
            if best not in self._ranks:
                break
            merged, place = [], 0
            while place < len(symbols):
                if tuple(symbols[place:place + 2]) == best:
                    merged.append("".join(best))
                    place += 2
                else:
                    merged.append(symbols[place])
                    place += 1
            symbols = merged
        return symbols
