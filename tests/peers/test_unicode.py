"""All of Unicode through the byte-level tokenizer in the graph, beside `tokenizers`."""

import pytest
import tensorflow as tf

from tests import test_graph_byte_level
from tests.test_graph_byte_level import SPLITTER, check

library_fixture = test_graph_byte_level.library_fixture
byte_level_fixture = test_graph_byte_level.byte_level_fixture
graph_fixture = test_graph_byte_level.graph_fixture
CHARACTERS = [chr(code) for code in [*range(0xd800), *range(0xe000, 0x110000)]]


def test_every_character_alone(graph, library):
    for start in range(0, len(CHARACTERS), 100_000):
        check(graph, library, CHARACTERS[start:start + 100_000])


@pytest.mark.parametrize("before, after", [
    ("a", "b"), (" ", " "), ("1", "."), ("\n", "\n\n"), ("'", "s"), ("\u4f60", "'re"), ("'l", "l")])
def test_every_character_between(graph, before, after):
    for start in range(0, len(CHARACTERS), 100_000):
        text = "".join(f"{before}{character}{after}" for character in
                       CHARACTERS[start:start + 100_000])
        expected = [text[start:end].encode() for _, (start, end) in SPLITTER.pre_tokenize_str(text)]
        assert graph.split(tf.constant([text])).flat_values.numpy().tolist() == expected
