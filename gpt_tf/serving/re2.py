"""spaCy's splitting patterns in the dialect of TensorFlow's string ops (RE2).

RE2 has no look-around. spaCy uses it in one way only: `(?<=before)body(?=after)`, with contexts
that are of one width. A rule so written becomes a pattern that also reads its contexts, and whose
groups tell them apart.
"""

from collections.abc import Iterable, Iterator, Sequence
import itertools
import re
from typing import NamedTuple

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")
_LOOK_AHEAD = re.compile(r"\(\?[=!]")
# An escape, a class of characters, or one character: in a class a bracket may come first.
_SIGN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_OF_ASCII = re.compile(r"(?<!\\)(?:\\\\)*\\[wWdDsSbB1-9]")

# Counted to the 63 letters of a host's part, RE2's program does not fit its memory.
_HOST_LENGTH = re.compile(r"\{(\d+),6[23]\}")
_MOST_GROUPS = 9  # a rewrite can name \1 .. \9


class Rule(NamedTuple):
    """One alternative: what must stand before it, itself, what must follow it; RE2 patterns."""

    before: str
    body: str
    after: str


class Rewrite(NamedTuple):
    """What `tf.strings.regex_replace` needs."""

    pattern: str
    rewrite: str


def translate(pattern: str) -> str:
    """Python's escapes of characters as RE2 writes them: `\\u00a1` -> `\\x{00a1}`."""
    return _ESCAPED.sub(lambda found: f"\\x{{{found[1] or found[2]}}}", pattern)


def parse(pattern: str) -> Rule:
    """Takes one alternative apart.

    Example:
      parse("(?<=[0-9]):(?=[a-z])") == Rule("[0-9]", ":", "(?:[a-z])")
      parse("x(?![0-9])") == Rule("", "x", "(?:[^0-9]|$)")

    Groups become ones that capture nothing.

    Raises:
      ValueError: there is look-around in another place or of another kind, a class of characters
        that RE2 knows as those of ASCII only, or there are several alternatives.
    """
    pattern = _without_groups(translate(pattern))
    before = after = ""
    if pattern.startswith("(?<="):
        end = _group_end(pattern, 0)
        before, pattern = pattern[4:end - 1], pattern[end:]
    for found in _LOOK_AHEAD.finditer(pattern):
        start = found.start()
        if _group_end(pattern, start) == len(pattern):
            inside, is_negative = pattern[start + 3:-1], pattern[start + 2] == "!"
            if is_negative and not re.fullmatch(r"\[[^\[\]^]+\]", inside):
                raise ValueError(f"{pattern!r} excludes more than one character.")
            after = f"(?:[^{inside[1:]}|$)" if is_negative else f"(?:{inside})"
            pattern = pattern[:start]
            break
    if any(look in pattern for look in ("(?=", "(?!", "(?<")):
        raise ValueError(f"{pattern!r} looks around in its middle.")
    return Rule(before, pattern, after)


def _signs(pattern: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Places and characters of what is no letter: escapes are one sign, and so are classes."""
    for found in _SIGN.finditer(pattern, start):
        yield found.start(), found[0]


def _without_groups(pattern: str) -> str:
    depth, changed = 0, []
    for place, sign in _signs(pattern):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and not depth:
            raise ValueError(f"{pattern!r} is of several alternatives.")
        if re.search(_OF_ASCII, sign):
            raise ValueError(f"{pattern!r} has a class of which RE2 knows a part.")
        is_group = sign == "(" and pattern[place + 1:place + 2] != "?"
        changed.append("(?:" if is_group else sign)
    return "".join(changed)


def _group_end(pattern: str, start: int) -> int:
    """The place after the group that opens at `start`."""
    depth = 0
    for place, sign in _signs(pattern, start):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return place + 1
    raise ValueError(f"{pattern!r} leaves a group open.")


def prefix(pieces: Iterable[str]) -> Rewrite:
    """Makes of a text its prefix: what the first rule that fits at its start takes, or nothing.

    Raises:
      ValueError: a rule cannot be written so.
    """
    groups = []
    for (before, after), rules in itertools.groupby(
            map(parse, pieces), key=lambda rule: (rule.before, rule.after)):
        if before:
            raise ValueError("A prefix has nothing before it.")
        groups.append(f"({'|'.join(rule.body for rule in rules)}){after}")
    if len(groups) > _MOST_GROUPS:
        raise ValueError("Too many prefixes look ahead.")
    return Rewrite(f"(?s)^(?:{'|'.join(groups)}|).*$",
                   "".join(f"\\{number}" for number in range(1, len(groups) + 1)))


def suffixes(pieces: Iterable[str]) -> list[Rewrite]:
    """Each makes of a text its suffix, the longest by some of the rules, or nothing."""
    bodies: dict[str, list[str]] = {}
    for rule in map(parse, pieces):
        if rule.after:
            raise ValueError("A suffix has nothing after it.")
        bodies.setdefault(rule.before, []).append(rule.body)
    return [Rewrite(f"(?s)^(?:.*?{before}({'|'.join(some)})|.*)$", r"\1")
            for before, some in bodies.items()]


def infixes(pieces: Iterable[str]) -> list[Rewrite]:
    """In turn they put spaces around the infixes of a text.

    A rule that reads its contexts misses an infix whose context another one has just read:
    applied once more it finds it, and in what has spaces around it it finds nothing.
    """
    rules = list(map(parse, pieces))
    around = [Rewrite(f"({rule.before})({rule.body})({rule.after})", r"\1 \2 \3")
              for rule in rules if rule.before or rule.after]
    plain = [rule.body for rule in rules if not (rule.before or rule.after)]
    return [*around, *around, Rewrite(f"({'|'.join(plain)})", r" \1 ")]


def url(pattern: str) -> tuple[str, str]:
    """Two patterns of whole texts: a URL fits the first and not the second.

    spaCy's pattern refuses some addresses by looking ahead: `(?:(?!a)(?!b)address|host)`. The
    second pattern has these alone in the group's place. The parts of a host may be of any length.

    Raises:
      ValueError: the pattern is of another kind.
    """
    pattern = _HOST_LENGTH.sub(r"{\1,}", translate(pattern).removeprefix("(?u)"))
    refused, start = [], pattern.find("(?!")
    if start < 0:
        raise ValueError("The pattern of URLs refuses no addresses.")
    end = start
    while pattern.startswith("(?!", end):
        after = _group_end(pattern, end)
        refused.append(pattern[end + 3:after - 1])
        end = after
    expected = pattern[:start] + pattern[end:]
    opening = pattern.rfind("(?:", 0, start)
    closing = _group_end(pattern, opening) - 1
    if opening + 3 != start or any(look in expected for look in ("(?=", "(?!", "(?<")):
        raise ValueError("The pattern of URLs looks around in another place.")
    return expected, f"{pattern[:start]}{'|'.join(refused)}{pattern[closing:]}"


def character_class(characters: Sequence[str]) -> str:
    """A class of single characters: `["a", "b"]` -> `[\\x{61}\\x{62}]`."""
    return "[" + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]"
