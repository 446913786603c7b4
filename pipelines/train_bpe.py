"""Learns a byte-pair vocabulary from raw text, as GPT-1's was from its books.

  python -m pipelines.train_bpe --input='books/*.txt' --output_dir=bpe --num_merges=40000

Reads what pipelines.build_corpus reads. --kind says which tokenizer it becomes:

  gpt1        the paper's: ftfy, the released standardisation, spaCy's rules for --language, lower
              case. What the vocabulary has no symbol for is <unk>.
  byte_level  GPT-2's: its splitting rule, then bytes. Every text of any language comes back from
              its tokens as it was.

The same text and flags make the same bytes, with any number of processes. The folder made is a
tokenizer: give it as --tokenizer to pipelines.build_corpus.
"""

import dataclasses
import functools
import os
import time

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.common.names import unused
from gpt_tf.common.small_files import SUMS
from gpt_tf.config import option
from gpt_tf.tokenizer import ByteLevelTokenizer, Tokenizer, WordTokenizer
from gpt_tf.tokenizer.files import is_tokenizer_file
from pipelines.corpus.corpus import Corpus, InputConfig
from pipelines.corpus.merges import learn_byte_level, learn_words, of_frequent_characters
from pipelines.corpus.word_counts import LONGEST_WORD, count_corpus, count_parts, count_words

_MAX = "max"


@dataclasses.dataclass(frozen=True)
class TrainBpeConfig(InputConfig):
    """What to learn from, how much, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    output_dir: str = option("", "Folder to make.", required=True, path=True)
    num_merges: str = option("40000", "Merges to learn at the most; with the characters they are "
                             "the vocabulary. max: as many as the text has pairs that occur twice.")
    kind: str = option(WordTokenizer.kind, "GPT-1's kind of tokenizer, for --language, or GPT-2's, "
                       "for any text.", choices=(WordTokenizer.kind, ByteLevelTokenizer.kind))
    language: str | None = option(None, "Of --kind=gpt1: spaCy code of the language whose rules "
                                        "split words; zh, ja, ko, th, vi: by characters; xx: by no "
                                        "rules. Without it en.")
    character_coverage: float = option(
        1.0, "Of --kind=gpt1: share of the text's characters that have a symbol, the most frequent "
        "ones; the others are <unk>, and nothing is learned from words with them. Below 1 for text "
        "with scattered words of many scripts: 0.9999 keeps 300 of the 2,700 characters of some "
        "encyclopedia articles.", above=0, at_most=1)
    num_workers: int = option(0, "Word-counting processes; 0: one for each core.",
                              at_least=0)
    overwrite: bool = option(False, "Replace the tokenizer that stands in --output_dir.")

    def __post_init__(self):
        super().__post_init__()
        if self.num_merges != _MAX and not (self.num_merges.isdecimal() and int(self.num_merges)):
            raise ValueError(f"--num_merges={self.num_merges!r:.40} must be a whole number from 1 "
                             f"on, or {_MAX}.")
        if self.kind == ByteLevelTokenizer.kind and self.language is not None:
            raise ValueError(f"--language={self.language} is not for --kind={self.kind}, which "
                             "splits the text of any language: leave it out.")
        if self.kind == ByteLevelTokenizer.kind and self.character_coverage != 1:
            raise ValueError(f"--character_coverage={self.character_coverage} is not for "
                             f"--kind={self.kind}, which has no unknown characters: leave it out.")


def train(config: TrainBpeConfig) -> Tokenizer:
    """Makes the tokenizer's folder, whole or not at all.

    Raises:
      UserError: anything wrong with input, flags or folder.
    """
    _check_folder(config)
    corpus = config.open_corpus()
    with atomic_folder(config.output_dir) as folder:  # that it can be made is seen at once
        tokenizer = _learn(config, corpus)
        tokenizer.save(folder)
    print("Next: " + cli.command_line(
        "pipelines.build_corpus", **config.input_flags, tokenizer=config.output_dir,
        output_dir=unused(f"data/{config.corpus_name}")))
    return tokenizer


def _learn(config: TrainBpeConfig, corpus: Corpus) -> Tokenizer:
    """The tokenizer; says what was learned, and what was left out."""
    start = time.monotonic()
    most = None if config.num_merges == _MAX else int(config.num_merges)
    if config.kind == ByteLevelTokenizer.kind:
        found = count_corpus(corpus, ByteLevelTokenizer, count_parts, config.num_workers)
        tokenizer = learn_byte_level(found.words, most)
    else:
        language = config.language or "en"
        found = count_corpus(corpus, WordTokenizer,
                             functools.partial(count_words, language=language), config.num_workers)
        found.letters.warn(language)
        tokenizer = learn_words(of_frequent_characters(found.words, config.character_coverage),
                                most, language)
    print(f"Learned {len(tokenizer.merges):,} merges from {found.words.total():,} words, "
          f"{len(found.words):,} different, in {time.monotonic() - start:.1f} s: "
          f"{config.output_dir} is a tokenizer of {tokenizer.vocabulary_size:,} tokens.")
    if most and len(tokenizer.merges) < most:
        print(f"The text gives no more merges than these, and --num_merges asks for {most:,}: each "
              "of its words is one token now, also those that occur once. --num_merges=max learns "
              "what occurs twice; more text is better.")
    if found.too_long:
        unit = "bytes" if config.kind == ByteLevelTokenizer.kind else "characters"
        print(f"Left out as longer than {LONGEST_WORD} {unit}: {found.too_long:,} "
              f"{'word' if found.too_long == 1 else 'words'}.")
    for reason, count in sorted(corpus.skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    return tokenizer


def _check_folder(config: TrainBpeConfig) -> None:
    folder = config.output_dir
    if os.path.islink(folder):
        raise UserError(f"--output_dir={folder} is no folder of its own: name another.")
    if not os.path.exists(folder) or os.path.isdir(folder) and not os.listdir(folder):
        return
    # A data folder or a run holds a tokenizer too, and more: those are never replaced.
    if not os.path.isdir(folder) or any(
            name != SUMS and not is_tokenizer_file(name) for name in os.listdir(folder)):
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
    cli.run(main, makes_files=True)
