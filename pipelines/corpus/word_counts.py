"""Counting the words of a corpus, from which merges are learned."""

import collections
from collections.abc import Iterable, Iterator
import functools
from typing import NamedTuple

from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer.cleaning import NEWLINE, Piece, chunks, clean, split_text, standardise
from gpt_tf.tokenizer.languages import LetterSample
from gpt_tf.tokenizer.words import splitter_of
from pipelines.building.workers import WorkerPool
from pipelines.corpus.corpus import Corpus

# Characters counted by a process at a time.
_PORTION_SIZE = 1 << 21
# Longer words are numbers, addresses, or text without spaces: they teach nothing about words.
LONGEST_WORD = 256
# The most frequent words that merges are learned from; in a huge corpus the rest is noise.
_MOST_WORDS = 1_000_000


def count_words(pieces: Iterable[Piece], language: str) -> collections.Counter[str]:
    """Lower-case words of the pieces and how often each stands there; line breaks are no words."""
    splitter = _splitter(language)
    seen = collections.Counter()
    for piece in pieces:
        seen.update(chunks(clean(piece.text, piece.unescape_html)))
    del seen[NEWLINE]
    parts = collections.Counter()
    for chunk, line in zip(seen, standardise("\n".join(seen)).split("\n")):
        for part in line.split():
            parts[part] += seen[chunk]
    words = collections.Counter()
    for part, count in parts.items():
        # What a neighbour could change in a rare chunk does not matter here.
        for word in splitter.split_chunk(part) or splitter.split_line(part):
            words[word.lower()] += count
    return words


_splitter = functools.cache(splitter_of)  # of a process's portions


class CorpusWords(NamedTuple):
    """What the documents of a corpus are made of.

    words: how often each occurs, of the most frequent million at most.
    too_long: how many of more than `LONGEST_WORD` characters were left out.
    letters: some of the text.
    """

    words: collections.Counter[str]
    too_long: int
    letters: LetterSample


def _portions(corpus: Corpus, letters: LetterSample) -> Iterator[tuple[list[Piece], int]]:
    """(pieces of about `_PORTION_SIZE` characters, bytes of input behind them)."""
    pieces, size, source_bytes = [], 0, 0
    for document in corpus.documents():
        taken = 0
        for piece in split_text(document.blocks(), _PORTION_SIZE):
            pieces.append(piece)
            letters.add(piece.text)
            size += len(piece.text)
            source_bytes += document.source_bytes - taken
            taken = document.source_bytes
            if size >= _PORTION_SIZE:
                yield pieces, source_bytes
                pieces, size, source_bytes = [], 0, 0
    yield pieces, source_bytes


def _count_portion(portion: tuple[list[Piece], int, str]) -> tuple[collections.Counter[str], int]:
    pieces, source_bytes, language = portion
    return count_words(pieces, language), source_bytes


def count_corpus(corpus: Corpus, language: str, num_workers: int) -> CorpusWords:
    """Counts the words of all documents.

    Raises:
      UserError: the input cannot be read, or spaCy has no rules for the language.
    """
    words: collections.Counter[str] = collections.Counter()
    too_long, letters = 0, LetterSample()
    with WorkerPool(num_workers) as pool:
        portions = ((*portion, language) for portion in _portions(corpus, letters))
        with Progress(corpus.total_bytes, "B", "counting words") as progress:
            for counted, source_bytes in pool.map(_count_portion, portions):
                too_long += sum(counted.pop(word) for word in list(counted)
                                if len(word) > LONGEST_WORD)
                words.update(counted)
                progress.update(source_bytes)
                if len(words) > 4 * _MOST_WORDS:  # results come in order: the same in any run
                    words = collections.Counter({w: n for w, n in words.items() if n > 1})
    most = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    return CorpusWords(collections.Counter(dict(most)), too_long, letters)
