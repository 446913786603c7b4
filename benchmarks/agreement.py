"""How far another program's ids are those of `gpt_tf.tokenizer`, and what differs."""

import collections
from collections.abc import Callable, Sequence
import glob

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import Tokenizer, cleaning


def read_paragraphs(pattern: str, step: int = 1) -> list[str]:
    """The paragraphs of files, in the order of their names.

    Args:
      pattern: a glob of UTF-8 files.
      step: the last of each so many files is read.

    Raises:
      UserError: there is none.
    """
    paragraphs = []
    for path in sorted(glob.glob(pattern))[step - 1::step]:
        with open(path, encoding="utf-8") as stream:
            paragraphs += [each for each in stream.read().split("\n\n") if each.strip()]
    if not paragraphs:
        raise UserError(f"--input={pattern} has no text to read: {step} or more files that are not "
                        "empty must match.")
    return paragraphs


def is_repaired(paragraph: str) -> bool:
    """Whether ftfy changes more of it than characters one by one."""
    changes = str.maketrans(cleaning.character_changes())
    repaired, translated = map(cleaning.standardise,
                               (cleaning.clean(paragraph), paragraph.translate(changes)))
    return repaired.split() != translated.split()


def measure(side: str, paragraphs: Sequence[str], encode: Callable[[list[str]], list[list[int]]],
            tokenizer: Tokenizer, kind_of: Callable[[str], str], examples: int) -> None:
    """Prints how many paragraphs come out the same, and what the others are.

    Args:
      side: the other program's name.
      paragraphs: the texts.
      encode: its ids of some of them.
      tokenizer: ours.
      kind_of: why it may read a paragraph otherwise.
      examples: how many differences of each kind to show.
    """
    differing, num_tokens = collections.defaultdict(list), 0
    for start in range(0, len(paragraphs), 1000):
        batch = paragraphs[start:start + 1000]
        for paragraph, theirs in zip(batch, encode(batch), strict=True):
            ours = tokenizer.encode(paragraph)
            num_tokens += len(ours)
            if theirs != ours:
                differing[kind_of(paragraph)].append(_first_difference(theirs, ours, tokenizer))
    same = len(paragraphs) - sum(map(len, differing.values()))
    print(f"{same:,} of {len(paragraphs):,} paragraphs ({num_tokens:,} tokens) have the same ids "
          f"({100 * same / len(paragraphs):.3f}%).")
    for kind, shown in differing.items():
        print(f"  {kind}: {len(shown)}")
        for example in shown[:examples]:
            print(f"    {side} | tokenizer: {example}")


def _first_difference(theirs: list[int], ours: list[int], tokenizer: Tokenizer) -> str:
    """Both readings around the first token that differs."""
    pairs = zip(theirs, ours)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(theirs), len(ours)))
    shown = (" ".join(tokenizer.tokens[i] for i in ids[max(0, place - 2):place + 4])
             for ids in (theirs, ours))
    return " | ".join(map(repr, shown))
