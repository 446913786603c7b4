"""The released splitting as patterns of `tokenizers`, which put marks where a word ends.

`tokenizers` has no loops, no tables and no step that changes letters once words are split: all that
the released program does before BPE must be replacements of a pattern by a constant text. So each
step here replaces nothing, at the places where words are to end, by a space or a mark; what decides
a place stands in the pattern before `\\K`, which drops it from the match, or in what is looked at.
The order is that of spaCy's rule tokenizer: special cases first, then affixes off both ends of a
chunk, `_ROUNDS` times, and infixes of what is left.

What it leaves out: URLs, whose inside is split as if they were none; special cases that spaCy finds
only among the words of a split chunk; what ftfy repairs beyond quotes, control characters and
Unicode's normal form C.
"""

from collections.abc import Iterable, Iterator
import re

from gpt_tf.tokenizer import cleaning
from gpt_tf.tokenizer.characters import CharacterRules
from gpt_tf.tokenizer.words import WordRules

# Marks: before a special case and before a prefix, which are split no further; and between two
# words of a chunk. The first steps take such characters out of a text, as ftfy does.
_SPECIAL, _PREFIX, _BETWEEN = MARKS = "\1", "\2", "\3"
_MARKED = f"[{_SPECIAL}{_PREFIX}]"

# What characters may become, of all changes of single ones: the rest are letters and signs of other
# widths and compositions, of which each becomes something else, a step of its own. Where words are
# found by characters, whose texts are full of ASCII's wide forms, these are taken, too.
_TARGETS = ("", " ", "\n", "'", '"', "-", "...")

_START, _END = r"(?<![^ \n])", r"(?![^ \n])"
_PLAIN = r"[A-Za-z]+" + _END  # no affix and no infix of any language splits these
_PUNCTUATION = r"-~!\";?+,)(/*\[\]{}|_"
_WIDE = re.compile(r"\\U([0-9a-fA-F]{8})")
_ESCAPED = re.compile(r"\\(?![wWdDsSbB])(.)", re.DOTALL)
_ROUNDS = 3


def steps(rules: WordRules | CharacterRules) -> Iterator[tuple[str, str]]:
    """(pattern, what replaces it), in the order in which they are applied to a text.

    Afterwards words end at spaces and `MARKS`, and "\\n" is a word of its own.

    Args:
      rules: how words of the language are split.
    """
    if isinstance(rules, CharacterRules):
        yield from _standard_steps((*_TARGETS, *map(chr, range(0x21, 0x7f))))
        yield f"(?:{_translate(rules.word)})\\K", _BETWEEN
    else:
        yield from _standard_steps(_TARGETS)
        yield from _word_steps(rules)


def _word_steps(rules: WordRules) -> Iterator[tuple[str, str]]:
    """What spaCy's rule tokenizer does to chunks."""
    special = {chunk: words for chunk, words in rules.special.items()
               if chunk.strip() == chunk and cleaning.standardise(chunk) == chunk}
    prefix, suffix = _any(rules.prefixes), _any(rules.suffixes)
    known = _tree(special)
    opened = _tree(chunk for chunk in special if re.match(prefix, chunk))
    mark = f"{_START}(?={known}{_END})", _SPECIAL
    yield mark
    for _ in range(_ROUNDS):
        # A special case that begins as a prefix does, such as 'em, with a suffix behind it.
        yield f"{_START}{opened}\\K(?={suffix}{_END})", " "
        yield mark
        yield f"{_START}(?!{_MARKED})(?={prefix})", _PREFIX
        yield f"{_PREFIX}(?>{prefix})\\K(?=[^ \\n])", " "
        yield mark
        yield f"{_START}(?!{_MARKED}|{_PLAIN})[^ \\n]+?\\K(?={suffix}{_END})", " "
        yield mark
    yield from _special_steps(special)
    yield from _infix_steps(rules.infixes)


def _standard_steps(targets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What `cleaning` does, but of the changes of characters those that make one of `targets`."""
    yield r"\r\n?", "\n"
    changes = cleaning.character_changes()
    for target in dict.fromkeys(targets):
        if sources := [re.escape(each) for each in changes if changes[each] == target]:
            yield f"[{''.join(sources)}]", target
    yield r"\s*\n\s*", "\n"
    yield r"[^\S\n]+", " "
    yield rf"([{_PUNCTUATION}])\1*\K", " "
    yield rf"(?<=[^{_PUNCTUATION} \n])(?=[{_PUNCTUATION}])", " "


def _special_steps(special: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The words of special cases, one cut of each at a time."""
    for place in range(1, max(map(len, special.values()), default=0)):
        cuts = ((_BETWEEN.join(words[:place]), "".join(words[place:]))
                for words in special.values() if len(words) > place)
        either = "|".join(f"{re.escape(head)}\\K(?={re.escape(tail)}{_END})" for head, tail in cuts)
        yield f"(?<={_SPECIAL})(?:{either})", _BETWEEN


def _infix_steps(infixes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """A mark behind each infix, and then one before it; the places of the first tell it again."""
    infixes = list(map(_translate, infixes))
    either = "|".join(infixes)
    yield f"{_MARKED}[^ \\n]*\\K|(?<=[^ \\n])(?:{either})\\K", _BETWEEN
    either = "|".join(infix.replace("(?=", f"(?={_BETWEEN}") for infix in infixes)
    yield (f"(?:{_START}(?!{_MARKED})|{_BETWEEN})[^ \\n{''.join(MARKS)}]+?"
           f"\\K(?=(?:{either}){_BETWEEN})", _BETWEEN)


def _translate(pattern: str) -> str:
    """A pattern of Python's as `tokenizers` reads it, which knows no `\\U0001f600`."""
    return _WIDE.sub(lambda found: chr(int(found[1], 16)), pattern)


def _any(alternatives: Iterable[str]) -> str:
    """A pattern of alternatives, of which those of one character are one."""
    single, longer = [], []
    for pattern in alternatives:
        plain = _ESCAPED.sub(r"\1", pattern)
        if len(plain) == 1 and (plain == pattern or len(pattern) == 2):
            single.append(re.escape(plain))
        else:
            longer.append(_translate(pattern))
    characters = "".join(dict.fromkeys(single))
    return f"(?:{'|'.join([f'[{characters}]', *longer])})"


def _tree(texts: Iterable[str]) -> str:
    """A pattern of exactly these texts, as a tree: it is tried at the start of every chunk."""
    following: dict[str, list[str]] = {}
    for text in texts:
        following.setdefault(text[:1], []).append(text[1:])
    is_end = following.pop("", None) is not None
    branches = "|".join(re.escape(first) + _tree(rest) for first, rest in following.items())
    return f"(?:{branches}){'?' if is_end else ''}" if branches else ""

