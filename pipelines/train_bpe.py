"""Learns a byte-pair vocabulary from raw text, as GPT-1's was from its books.

  python -m pipelines.train_bpe --input='books/*.txt' --output_dir=bpe --num_merges=40000

Reads what pipelines.build_corpus reads. Words are made as the tokenizer makes them (ftfy, the
released standardisation, spaCy's rules for --language, lower case). The same text and flags make
the same bytes, with any number of processes. The folder made is a tokenizer: give it as
--tokenizer to pipelines.build_corpus.
"""

import collections
from collections.abc import Iterable, Iterator
import dataclasses
import functools
import os
import time

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.common.progress import Progress
from gpt_tf.config import option
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.cleaning import NEWLINE, Piece, chunks, clean, split_text, standardise
from gpt_tf.tokenizer.files import is_tokenizer_file
from gpt_tf.tokenizer.words import WordSplitter
from pipelines.building.workers import Workers
from pipelines.corpus import corpus as readers
from pipelines.corpus import merges as bpe

# Characters counted by a process at a time.
_TASK_SIZE = 1 << 21
# Longer words are numbers, addresses, or text without spaces: they teach nothing about words.
_LONGEST_WORD = 256
# The most frequent words that merges are learned from; in a huge corpus the rest is noise.
_MOST_WORDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class TrainBpeConfig(readers.InputConfig):
    """What to learn from, how much, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    output_dir: str = option("", "Folder to make.", required=True)
    num_merges: int = option(40_000, "Merges to learn; with the characters they are the "
                             "vocabulary.", at_least=1)
    language: str = option("en", "spaCy code of the language whose rules split words; xx: none.")
    num_workers: int = option(0, "Word-counting processes; 0: one for each core.",
                             at_least=0)
    overwrite: bool = option(False, "Replace the tokenizer that stands in --output_dir.")


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
            if len(word) <= _LONGEST_WORD:
                words[word.lower()] += count
    return words


@functools.cache
def _splitter(language: str) -> WordSplitter:
    return WordSplitter(language)


def _tasks(corpus: readers.Corpus) -> Iterator[tuple[list[Piece], int]]:
    """(pieces of about `_TASK_SIZE` characters, bytes of input behind them)."""
    pieces, size, source_bytes = [], 0, 0
    for document in corpus.documents():
        taken = 0
        for piece in split_text(document.blocks(), _TASK_SIZE):
            pieces.append(piece)
            size += len(piece.text)
            source_bytes += document.source_bytes - taken
            taken = document.source_bytes
            if size >= _TASK_SIZE:
                yield pieces, source_bytes
                pieces, size, source_bytes = [], 0, 0
    yield pieces, source_bytes


def _count_task(task: tuple[list[Piece], int, str]) -> tuple[collections.Counter[str], int]:
    pieces, source_bytes, language = task
    return count_words(pieces, language), source_bytes


def count_corpus(corpus: readers.Corpus, language: str,
                 num_workers: int) -> collections.Counter[str]:
    """Words of all documents and how often each stands there, the most frequent million at most.

    Raises:
      UserError: the input cannot be read, or spaCy has no rules for the language.
    """
    words: collections.Counter[str] = collections.Counter()
    with Workers(num_workers) as workers, Progress(
            corpus.total_bytes, "B", "counting words") as progress:
        cli.import_tensorflow()
        tasks = ((*task, language) for task in _tasks(corpus))
        for counted, source_bytes in workers.map(_count_task, tasks):
            words.update(counted)
            progress.update(source_bytes)
            if len(words) > 4 * _MOST_WORDS:  # results come in order: the same in any run
                words = collections.Counter({w: n for w, n in words.items() if n > 1})
    most = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    return collections.Counter(dict(most))


def learn(words: collections.Counter[str], num_merges: int, language: str) -> Tokenizer:
    """Learns a tokenizer from word counts.

    Raises:
      UserError: the words give fewer merges than asked.
    """
    merges = []
    with Progress(num_merges, "merge", "learning merges") as progress:
        for merge in bpe.learn_merges(words):
            merges.append(merge)
            progress.update(1)
            if len(merges) == num_merges:
                return Tokenizer(bpe.make_vocabulary(words, merges), merges, language)
    raise UserError(f"The text is too small for {num_merges:,} merges: it gives {len(merges):,}, "
                    f"and then each of its {len(words):,} different words is one token. Give more "
                    "text, or ask for fewer with --num_merges.")


def train(config: TrainBpeConfig) -> Tokenizer:
    """Makes the tokenizer's folder, whole or not at all.

    Raises:
      UserError: anything wrong with input, flags or folder.
    """
    start = time.monotonic()
    _check_folder(config)
    corpus = config.open_corpus()
    words = count_corpus(corpus, config.language, config.num_workers)
    tokenizer = learn(words, config.num_merges, config.language)
    with atomic_folder(config.output_dir) as folder:
        tokenizer.save(folder)
    print(f"Learned {config.num_merges:,} merges from {words.total():,} words, {len(words):,} "
          f"different, in {time.monotonic() - start:.1f} s: {config.output_dir} is a tokenizer of "
          f"{tokenizer.vocabulary_size:,} tokens.")
    for reason, count in sorted(corpus.skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    print(f"Next: python -m pipelines.build_corpus --input='{config.input}' "
          f"--tokenizer={config.output_dir} --output_dir=data")
    return tokenizer


def _check_folder(config: TrainBpeConfig) -> None:
    folder = config.output_dir
    if not os.path.exists(folder) or os.path.isdir(folder) and not os.listdir(folder):
        return
    # A data folder or a run holds a tokenizer too, and more: those are never replaced.
    if not os.path.isdir(folder) or any(not is_tokenizer_file(name)
                                        for name in os.listdir(folder)):
        raise UserError(f"--output_dir={folder} is there and holds more than a tokenizer; name a "
                        "new folder.")
    if not config.overwrite:
        raise UserError(f"--output_dir={folder} holds a tokenizer; name another folder, or "
                        "replace it with --overwrite.")


def main() -> None:
    """Reads the flags and learns."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    train(cli.from_flags(TrainBpeConfig))


if __name__ == "__main__":
    cli.define_flags(TrainBpeConfig)
    cli.run(main)
