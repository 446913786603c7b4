"""Ways to spoil a file: bytes that are flipped, cut and repeated, and JSON of another structure."""

from collections.abc import Callable
import json
import random
from typing import Any

# What stands where something else was: numbers that are too large, too small or none, other kinds
# of values, and text that is no text.
_VALUES = (0, 1, -1, 2, 3, 255, 2**31, -2**31, 2**63, -2**63 - 1, 10**18, 10**400, 1e308, 1e999,
           float("nan"), -0.0, 0.5, True, False, None, "", " ", "\0", "../../x", "/etc/passwd",
           "~", "a" * 5000, "\ud800", "\ufeff", "\u202e", "\U0001f600", "e\u0301", "NaN", "1",
           [], {}, [[]], [0], {"": 0}, [None], ["../x"], list(range(300)))
_PIECES = (b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b"\t",
           b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"-", b"\x80NUMPY",
           b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"\\ud800", b"NaN", b"1e999", b"../", b"/",
           b"'" * 3)


def mutate(rng: random.Random, name: str, data: bytes) -> bytes:
    """A spoiled version of the file `name`; of JSON, as often as not, of its structure."""
    if rng.random() < 0.55:
        if name.endswith((".json", ".txt")):
            spoiled = _mutate_json(rng, data)
            if spoiled is not None:
                return spoiled
        if name.endswith(".jsonl"):
            return _mutate_line(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_OF_BYTES)(rng, data)
    return data


def _place(rng: random.Random, data: bytes) -> int:
    # Headers stand at the beginning, and matter most.
    return rng.randrange(min(len(data), 200) + 1) if rng.random() < 0.3 else (
        rng.randrange(len(data) + 1))


def _flip(rng, data):
    place = _place(rng, data)
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1:] if (
        place < len(data)) else data + b"\1"


def _replace(rng, data):
    place, piece = _place(rng, data), rng.randbytes(rng.choice((1, 4, 8)))
    return data[:place] + piece + data[place + len(piece):]


def _insert(rng, data):
    place = _place(rng, data)
    return data[:place] + rng.choice(_PIECES) * rng.choice((1, 1, 1, 3, 4000)) + data[place:]


def _truncate(rng, data):
    return data[:_place(rng, data)]


def _delete(rng, data):
    place = _place(rng, data)
    return data[:place] + data[place + rng.choice((1, 2, 8, 100)):]


def _double(rng, data):
    start = _place(rng, data)
    end = start + rng.choice((1, 5, 40, 400))
    return data[:end] + data[start:end] * rng.choice((1, 2, 300)) + data[end:]


def _swap_lines(rng, data):
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def _carriage_returns(rng, data):
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n")))


def _mark(rng, data):
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + data


def _long_line(rng, data):
    characters = (b"x", b"(", b"[", b"1", b"\0", b" ", b"'", b"$", b"\xc3\xa9")
    return data + rng.choice(characters) * 30_000


def _number(rng, data):
    """Another number in the place of one that is written out."""
    places = [place for place in range(len(data)) if data[place:place + 1].isdigit()]
    if not places:
        return data
    place = rng.choice(places)
    number = rng.choice((b"-1", b"0", b"1e999", b"NaN", b"9" * 18, b"9" * 5000, b"0x10", b"1_0"))
    return data[:place] + number + data[place + 1:]


def _empty(rng, data):
    del rng, data
    return b""


_OF_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip, _flip, _replace, _insert, _insert, _truncate, _delete, _double, _swap_lines,
    _carriage_returns, _mark, _long_line, _number, _number, _empty)


def _mutate_line(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    lines[number] = _mutate_json(rng, lines[number]) or lines[number]
    return b"\n".join(lines)


def _mutate_json(rng: random.Random, data: bytes) -> bytes | None:
    """None of what is no JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(rng, value)
    text = json.dumps(value)
    if rng.random() < 0.1:
        text = rng.choice((_nested, _name_doubled))(rng, text)
    return text.encode("utf-8")


def _nested(rng, text):
    depth = rng.choice((90, 900, 960, 990, 1010, 100_000))
    return rng.choice(("[" * depth + text + "]" * depth, text.replace(":", ":" + "[" * depth, 1),
                       text.replace(":", ": " + "[" * depth + "]" * depth + ', "x":', 1)))


def _name_doubled(rng, text):
    places = [place for place in range(len(text)) if text[place] == "{"]
    if not places:
        return text
    place = rng.choice(places) + 1
    return text[:place] + '"name": 1, "name": 2,' + text[place:]


def _changed(rng: random.Random, value: Any) -> Any:
    """The value with one change in it, or another value."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        value = value.copy()
        what = rng.random()
        if what < 0.65:
            value[key] = _changed(rng, value[key])
        elif what < 0.8:
            del value[key]
        elif isinstance(value, list):
            value.insert(key, rng.choice((value[key], *_VALUES)))
        else:
            value[rng.choice((key + "x", "", "\0", "kind", key.upper()))] = value[key]
        return value
    if type(value) in (int, float) and abs(value) < 1e15 and rng.random() < 0.4:
        return rng.choice((value + 1, value - 1, -value, value * 2, str(value), float(value),
                           value * 1000))
    return rng.choice(_VALUES)
