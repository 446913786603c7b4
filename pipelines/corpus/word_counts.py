"""Counting the words of a corpus, from which merges are learned."""

import collections
from collections.abc import Callable, Iterable, Iterator
import functools
from typing import NamedTuple

from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer import Tokenizer, byte_level
from gpt_tf.tokenizer.cleaning import NEWLINE, Piece, chunks, clean, standardise
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


def count_parts(pieces: Iterable[Piece]) -> collections.Counter[str]:
    """What GPT-2's rule splits the pieces into, as symbols of bytes, and how often each stands
    there."""
    seen = collections.Counter()
    for piece in pieces:
        seen.update(byte_level.chunks(piece.text))
    parts, splitter = collections.Counter(), byte_level.splitter()
    for chunk, count in seen.items():
        for part, _ in splitter.pre_tokenize_str(chunk):
            parts[part] += count
    return parts


class CorpusWords(NamedTuple):
    """What the documents of a corpus are made of.

    words: how often each occurs, of the most frequent million at most.
    too_long: how many of more than `LONGEST_WORD` symbols were left out.
    letters: some of the text.
    """

    words: collections.Counter[str]
    too_long: int
    letters: LetterSample


def _portions(corpus: Corpus, kind: type[Tokenizer],
              letters: LetterSample) -> Iterator[tuple[list[Piece], int]]:
    """(pieces of about `_PORTION_SIZE` characters, bytes of input behind them)."""
    pieces, size, source_bytes = [], 0, 0
    for document in corpus.documents():
        taken = 0
        for piece in kind.split_text(document.blocks(), _PORTION_SIZE):
            pieces.append(piece)
            letters.add(piece.text)
            size += len(piece.text)
            source_bytes += document.source_bytes - taken
            taken = document.source_bytes
            if size >= _PORTION_SIZE:
                yield pieces, source_bytes
                pieces, size, source_bytes = [], 0, 0
    yield pieces, source_bytes


Count = Callable[[Iterable[Piece]], collections.Counter[str]]


def _count_portion(count: Count, portion: tuple[list[Piece], int]
                   ) -> tuple[collections.Counter[str], int]:
    pieces, source_bytes = portion
    return count(pieces), source_bytes


def count_corpus(corpus: Corpus, kind: type[Tokenizer], count: Count,
                 num_workers: int) -> CorpusWords:
    """Counts the words of all documents.

    Args:
      corpus: the input.
      kind: of the tokenizer that is to be learned.
      count: what counts pieces, in any process.
      num_workers: processes; 0: one for each core.

    Raises:
      UserError: the input cannot be read, or spaCy has no rules for the language.
    """
    words: collections.Counter[str] = collections.Counter()
    too_long, letters = 0, LetterSample()
    with WorkerPool(num_workers) as pool:
        with Progress(corpus.total_bytes, "B", "counting words") as progress:
            for counted, source_bytes in pool.map(functools.partial(_count_portion, count),
                                                  _portions(corpus, kind, letters)):
                too_long += sum(counted.pop(word) for word in list(counted)
                                if len(word) > LONGEST_WORD)
                words.update(counted)
                progress.update(source_bytes)
                if len(words) > 4 * _MOST_WORDS:  # results come in order: the same in any run
                    words = collections.Counter({w: n for w, n in words.items() if n > 1})
    most = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    return CorpusWords(collections.Counter(dict(most)), too_long, letters)
