"""Text files in blocks and lines: any cut gives the same text, and an error names its byte."""

import codecs

from hypothesis import given
from hypothesis import strategies as st
import pytest

from gpt_tf.common.text_files import NotUtf8, decode_blocks, number_lines


def cut(data, places):
    """The bytes in blocks that end at these places; none is empty."""
    ends = sorted({place % len(data) for place in places} - {0}) if data else []
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)]) if start < end]


@given(st.text(), st.booleans(), st.lists(st.integers(0, 99)))
def test_any_blocks_give_the_text(text, has_mark, places):
    data = codecs.BOM_UTF8 * has_mark + text.encode("utf-8")
    blocks = cut(data, places)
    found = list(decode_blocks(blocks))
    wanted = text if has_mark else text.removeprefix("\ufeff")
    assert "".join(part for part, _ in found) == wanted
    assert [size for _, size in found] == list(map(len, blocks))


@given(st.text(), st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80"]), st.booleans(),
       st.lists(st.integers(0, 99)))
def test_the_first_bad_byte_is_named(text, bad, is_last, places):
    before = text.encode("utf-8")
    with pytest.raises(NotUtf8) as caught:
        list(decode_blocks(cut(before + bad + b"more" * (not is_last), places)))
    assert caught.value.byte == len(before)


def test_blank_lines_count_in_between_and_not_at_the_end():
    lines = [codecs.BOM_UTF8 + b"a\n", b" \n", b"\r\n", b"b\n", b"\n", b"\t"]
    assert list(number_lines(lines)) == [(1, b"a\n"), (2, b""), (3, b""), (4, b"b\n")]
    assert not list(number_lines([codecs.BOM_UTF8 + b"\n", b"\n"]))
