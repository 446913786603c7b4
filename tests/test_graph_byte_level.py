"""GPT-2's kind of tokenizer in the graph: the ids and texts of the `tokenizers` library, always."""

import json
import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import tensorflow as tf
import tokenizers

from gpt_tf.serving import graph_byte_level, graph_tokenizer
from gpt_tf.tokenizer import ByteLevelTokenizer
from tests import awkward_text
from tests.hard_sentences import SENTENCES

ALPHABET = tokenizers.pre_tokenizers.ByteLevel.alphabet()
SPLITTER = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
PARTS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "\u2019s", "re", "l", "S", " ", "  ",
         "\t", "\n", "\r\n", "\xa0", "\u3000", "\x1c", "\x85", "1", "\u0663", "\u00bd", ".", "..",
         "\u0301", "\u200d", "\ufeff", "\0", "\x01", "\u00e9", "\u4f60\u597d", "\U0001f600"]


@pytest.fixture(name="library", scope="module")
def library_fixture():
    """A tokenizer that the library has learned from sentences of all languages."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer, library.decoder = SPLITTER, tokenizers.decoders.ByteLevel()
    library.train_from_iterator(
        [*sum(SENTENCES.values(), []), awkward_text.PROSE], tokenizers.trainers.BpeTrainer(
            vocab_size=3000, initial_alphabet=ALPHABET, show_progress=False))
    return library


@pytest.fixture(name="byte_level", scope="module")
def byte_level_fixture(library):
    model = json.loads(library.to_str())["model"]
    return ByteLevelTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]])


@pytest.fixture(name="graph", scope="module")
def graph_fixture(byte_level):
    return graph_tokenizer.build(byte_level)


def check(graph, library, texts):
    """Ids are the library's, and become the same texts again."""
    ids = graph.encode(tf.constant(texts, tf.string))
    assert ids.to_list() == [library.encode(text).ids for text in texts]
    assert [text.decode() for text in graph.decode(ids).numpy()] == texts


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.text(), awkward_text.texts().map(
    lambda text: re.sub("[\ud800-\udfff]", "\ufffd", text)), st.lists(
        st.sampled_from(PARTS)).map("".join)), max_size=20))
def test_any_text(graph, library, texts):
    check(graph, library, texts)


@pytest.mark.parametrize("language", SENTENCES)
def test_languages(graph, library, language):
    check(graph, library, [*SENTENCES[language], "\n".join(SENTENCES[language])])


def test_classes_of_characters(graph):
    """Every character at which another class begins, and those around it, in every company.

    `tests/peers/test_unicode.py` takes all of Unicode.
    """
    starts, _ = graph_byte_level.character_classes()
    codes = sorted({near for start in starts for near in range(start - 2, start + 3)
                    if 0 <= near < 0x110000 and not 0xd800 <= near < 0xe000})
    assert len(codes) > 5000
    text = "".join(before + chr(code) + after for code in codes
                   for before in ("", "x", "1", "  ", "?", "\n", "'") for after in ("", "x"))
    expected = [text[start:end] for _, (start, end) in SPLITTER.pre_tokenize_str(text)]
    assert [word.decode() for word in graph.split(tf.constant([text])).flat_values.numpy()
            ] == expected


def test_bytes_that_are_no_text(graph, byte_level):
    """Tokens of bytes in any order, and special ones; strings of such bytes."""
    dice = random.Random(0)
    rows = [dice.choices((range(byte_level.extract_id + 1), range(256))[number % 2],
                         k=dice.randint(0, 12)) for number in range(3000)]
    texts = graph.decode(tf.ragged.constant(rows, tf.int32, ragged_rank=1)).numpy()
    assert [text.decode() for text in texts] == list(map(byte_level.decode, rows))
    assert sum("\ufffd" in text.decode() for text in texts) > 1000
    strings = [bytes(dice.choices(b"a \x80\xbf\xc3\xe4\xbd\xa0\xed\xf0\x9f\x98\xff", k=6))
               for _ in range(1000)]
    assert graph.encode(tf.constant(strings)).to_list() == byte_level.encode_batch(
        string.decode(errors="replace") for string in strings)


def test_tokens_that_no_text_becomes():
    """As GPT-2's mark of a text's end; a token that is not of bytes is its own text."""
    tokens = {token: number for number, token in enumerate(
        [*sorted(ALPHABET), "<|endoftext|>", "two words"])}
    tokenizer = ByteLevelTokenizer(tokens, [])
    graph = graph_tokenizer.build(tokenizer)
    row = [tokens["<|endoftext|>"], tokens["two words"], tokenizer.start_id]
    decoded, = graph.decode(tf.ragged.constant([row], tf.int32, ragged_rank=1)).numpy()
    assert decoded.decode() == tokenizer.decode(row) == "<|endoftext|>two words<start>"
    assert graph.encode(tf.constant(["<|endoftext|>"])).to_list() == [[
        tokens[character] for character in "<|endoftext|>"]]


def test_long_words_among_many(graph, library):
    """Neither time nor memory is of the number of words times the longest one."""
    dice = random.Random(1)
    texts = ["".join(dice.choices("theand", k=50_000)), "\u4f60" * 50_000, "=" * 50_000,
             " " * 50_000, "'s" * 25_000, " ".join(map(str, range(20_000))), "", " "]
    check(graph, library, texts)
    assert graph.encode(tf.constant([], tf.string)).to_list() == []
