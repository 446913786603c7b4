"""Raw text to clean, whitespace-separated chunks, and long documents to pieces.

GPT-1 (section 4.1) reads its books through ftfy and a standardisation of its released program.
Run as released, that path is slow; here each step is reduced to what can change a given text:

* `clean` equals `ftfy.fix_text`, but calls it only for lines on which it could do something;
* `standardise` works on any text whose whitespace is free, so also on a list of distinct chunks.

`split_text` cuts a long document so that its pieces can be encoded apart, in any process.
"""

from collections.abc import Iterable, Iterator
import functools
import re
from typing import NamedTuple
import unicodedata

import ftfy
from ftfy import chardata
from ftfy.badness import is_bad

from gpt_tf.common.errors import UserError

# Stands for a line break once whitespace is gone; `clean` leaves no such character in a text.
NEWLINE = "\0"

# ftfy turns the curly quotes straight; the released standardisation replaces the others.
_CHARACTERS = str.maketrans({
    **dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
    **dict.fromkeys("\u2014\u2013\u2015", "-"),
    "\u2026": "...",
})

# A run of one of these characters stands alone. The backslash is not among them: the released
# pattern has one, but in a string that is not raw, where it only escapes the plus sign again.
_PUNCTUATION_RUN = re.compile(r'([-~!";?+,)(/*\[\]{}|_])\1*')
_LINE_BREAK = re.compile(r"\n\s*")
_VISIBLE = re.compile(r"\S")

# On a line of these characters alone `ftfy.fix_text` does nothing but straighten quotes and turn
# \r into line breaks: none takes part in mojibake without a character from outside this list.
_SIMPLE_RUN = re.compile(r"[\t\n\f\r -%'-~\xa0\u2010-\u2015\u2018-\u201f\u2026]*")

# Nothing is mojibake to ftfy without two characters beyond ASCII side by side or one of these four.
_MAYBE_BAD = re.compile("[^\0-\x7f](?:(?<=[\u00c2\u00c3\u0152\u0153])|[^\0-\x7f])")

# What a step of ftfy other than mojibake repair, HTML, quotes and normalisation can act upon.
_REPAIRABLE = re.compile("[\x80-\x9f\ud800-\udfff\u2028\u2029" + "".join(
    f"\\U{character:08x}" for table in (chardata.CONTROL_CHARS, chardata.WIDTH_MAP,
                                        chardata.LIGATURES) for character in table) + "]")

# Characters of a line, which is held in memory: text8, a known corpus, is one of 10**8.
LONGEST_HELD_LINE = 1 << 27

# ftfy breaks longer lines, and so may find mojibake where a part begins.
_LONGEST_LINE = ftfy.TextFixerConfig().max_decode_length


def _clean_line(line: str, unescape_html: bool) -> str:
    if (len(line) <= _LONGEST_LINE and not _REPAIRABLE.search(line)
            and not ("&" in line and chardata.HTML_ENTITY_RE.search(line))
            and unicodedata.is_normalized("NFC", line)
            and not (_MAYBE_BAD.search(line) and is_bad(line))):
        return line
    return ftfy.fix_text(line, unescape_html="auto" if unescape_html else False)


def clean(text: str, unescape_html: bool = True) -> str:
    """`ftfy.fix_text(text)`, except that curly quotes may stay: `standardise` straightens them.

    Args:
      text: raw text that starts at the start of a line.
      unescape_html: whether HTML entities may still be replaced; ftfy stops at the first line
        that holds a "<", for the rest of the document.
    """
    first_tag = text.find("<")
    done, cleaned = 0, []
    while (found := _SIMPLE_RUN.match(text, done).end()) < len(text):
        start = text.rfind("\n", done, found) + 1 or done
        end = text.find("\n", found) + 1 or len(text)
        cleaned.append(text[done:start])
        unescape = unescape_html and not 0 <= first_tag < start
        cleaned.append(_clean_line(text[start:end], unescape))
        done = end
    cleaned.append(text[done:])
    text = "".join(cleaned)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def chunks(cleaned: str) -> list[str]:
    """Whitespace-separated chunks, with `NEWLINE` for each run of whitespace that breaks a line.

    `chunks(" one two  \\n\\n three\\n") == ["one", "two", "\\0", "three"]`
    """
    return _LINE_BREAK.sub(f" {NEWLINE} ", cleaned.strip()).split()


def standardise(cleaned: str) -> str:
    """The released program's standardisation, up to the amount of whitespace between chunks."""
    # A function is faster here than the template " \\g<0> ".
    return _PUNCTUATION_RUN.sub(lambda run: f" {run[0]} ", cleaned.translate(_CHARACTERS))


class Piece(NamedTuple):
    """Part of a document: whole lines, and what must be known of the text before them."""

    text: str
    unescape_html: bool = True  # no "<" came before
    continues: bool = False  # a line break separates it from the text before it


@functools.cache  # a pass over all of Unicode
def character_changes() -> dict[str, str]:
    """Characters that never stay as they are, and what each becomes: "" is removed.

    What `clean` and `standardise` make of a character alone, and " " and "\\n" for the kinds of
    whitespace; not what depends on its neighbours: mojibake, HTML, marks that join a letter.
    """
    changes = {}
    for character in map(chr, [*range(0xd800), *range(0xe000, 0x110000)]):
        if (character.isspace() or ord(character) in _CHARACTERS or _REPAIRABLE.search(character)
                or not unicodedata.is_normalized("NFC", character)):
            changed = clean(character).translate(_CHARACTERS)
            if changed.isspace():
                changed = "\n" if "\n" in changed else " "
            if changed != character:
                changes[character] = changed
    return changes


@functools.cache
def html_changes() -> dict[str, str]:
    """The named entities of HTML, and numbered ones of Western text, as `clean` reads them."""
    western = [*range(0x20, 0x7f), *range(0xa0, 0x180), *range(0x2010, 0x2040), 0x20ac, 0x2122]
    numbered = [name for code in western for name in (f"&#{code};", f"&#{code:03d};",
                                                      f"&#x{code:x};", f"&#x{code:X};")]
    return {entity: clean(entity) for entity in [*chardata.HTML_ENTITIES, *numbered]}


def check_lines(blocks: Iterable[str], name: str) -> Iterator[str]:
    """The blocks of the document `name` as they are; a small compressed file may hold one line
    without end.

    Raises:
      UserError: a line has more than `LONGEST_HELD_LINE` characters.
    """
    length = 0  # of a line that the last block did not end
    for block in blocks:
        lengths = list(map(len, block.split("\n")))
        lengths[0] += length
        if max(lengths) > LONGEST_HELD_LINE:
            raise UserError(f"{name} has a line of more than {LONGEST_HELD_LINE:,} characters: "
                            "break it into lines.")
        length = lengths[-1]
        yield block


def split_text(blocks: Iterable[str], piece_size: int = 1_000_000) -> Iterator[Piece]:
    """Cuts one document into pieces whose ids, one after the other, are the document's ids.

    A piece ends before the first line with visible text after `piece_size` characters; a line is
    never cut, for ftfy judges whole lines. Memory: one piece and one block.

    Args:
      blocks: the document in parts of any length, e.g. `[text]`; they need not end with lines.
      piece_size: characters.
    """
    held, length = [], 0
    piece = Piece("")
    for block in blocks:
        held.append(block)
        length += len(block)
        if length > piece_size and "\n" in block:
            pieces = cut(piece._replace(text="".join(held)), piece_size)
            yield from pieces[:-1]
            piece = pieces[-1]
            held, length = [piece.text], len(piece.text)
    yield piece._replace(text="".join(held))


def cut(piece: Piece, piece_size: int) -> list[Piece]:
    """Cuts a piece into smaller ones, wherever the line that follows is seen whole."""
    text, start, pieces = piece.text, 0, []
    line = text.find("\n", piece_size) + 1
    while line and (visible := _VISIBLE.search(text, line)):
        line = text.rfind("\n", line - 1, visible.start()) + 1
        line_end = text.find("\n", line)
        if line_end < 0:
            break
        previous = text.rfind("\n", start, line - 1) + 1 or start
        unescape_before = piece.unescape_html and "<" not in text[start:previous]
        unescape_html = unescape_before and "<" not in text[previous:line]
        if (_has_text(text[line:line_end + 1], unescape_html)
                # Repaired mojibake can swallow the line break after it.
                and clean(text[previous:line], unescape_before).endswith("\n")
                and (piece.continues or any(_has_text(before + "\n", piece.unescape_html)
                                            for before in text[start:line].split("\n")))):
            pieces.append(piece._replace(text=text[start:line]))
            piece = Piece("", unescape_html, continues=True)
            start, line_end = line, max(line_end, line + piece_size)
        line = text.find("\n", line_end) + 1
    return [*pieces, piece._replace(text=text[start:])]


def _has_text(line: str, unescape_html: bool) -> bool:
    return bool(clean(line, unescape_html).strip())
