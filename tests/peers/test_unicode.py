"""All of Unicode, and all languages, through tokenizers in the graph, beside those in Python."""

import pkgutil

import pytest
import spacy.lang
import tensorflow as tf

from gpt_tf.serving.graph_words import GraphCharacterSplitter, GraphWordSplitter
from gpt_tf.tokenizer.characters import LANGUAGES, CharacterSplitter
from gpt_tf.tokenizer.cleaning import standardise
from gpt_tf.tokenizer.words import splitter_of
from tests import test_graph_byte_level, test_graph_languages
from tests.hard_sentences import SENTENCES
from tests.test_graph_byte_level import SPLITTER, check
from tests.test_graph_tokenizer import random_chunks

library_fixture = test_graph_byte_level.library_fixture
byte_level_fixture = test_graph_byte_level.byte_level_fixture
graph_fixture = test_graph_byte_level.graph_fixture
# Their rules look at whole chunks first, around words, or at more than one character.
REFUSED = {"ca", "fr", "ht", "hu", "id", "ms", "pt", "sl", "tr"}
CHARACTERS = [chr(code) for code in [*range(0xd800), *range(0xe000, 0x110000)]]


def test_every_character_alone(graph, library):
    for start in range(0, len(CHARACTERS), 100_000):
        check(graph, library, CHARACTERS[start:start + 100_000])


@pytest.mark.parametrize("before, after", [
    ("a", "b"), (" ", " "), ("1", "."), ("\n", "\n\n"), ("\u4f60", "'re")])
def test_every_character_between(graph, before, after):
    for start in range(0, len(CHARACTERS), 100_000):
        text = "".join(f"{before}{character}{after}" for character in
                       CHARACTERS[start:start + 100_000])
        expected = [text[start:end].encode() for _, (start, end) in SPLITTER.pre_tokenize_str(text)]
        assert graph.split(tf.constant([text])).flat_values.numpy().tolist() == expected


def test_every_character_in_words_by_characters():
    splitter = CharacterSplitter()
    graph = GraphCharacterSplitter(splitter.rules)
    chunks = [f"a{character}1" for character in CHARACTERS[1:] if not character.isspace()]
    for start in range(0, len(chunks), 100_000):
        some = chunks[start:start + 100_000]
        found = graph.split(tf.constant(some)).to_list()
        assert [[word.decode() for word in words] for words in found] == list(
            map(splitter.split_chunk, some))


@pytest.mark.parametrize("language", sorted(SENTENCES.keys() - REFUSED))
def test_sentences(language):
    test_graph_languages.check(language)


def test_rules_of_every_language():
    """Those that are not refused split chance's chunks as spaCy does, its last pass among it."""
    refused, counts = set(), []
    for language in sorted(module.name for module in pkgutil.iter_modules(spacy.lang.__path__)
                           if module.ispkg and module.name not in LANGUAGES):
        splitter = splitter_of(language)
        try:
            graph = GraphWordSplitter(splitter.rules)
        except ValueError:
            refused.add(language)
            continue
        chunks = [chunk for each in random_chunks(splitter, 1000)
                  for chunk in standardise(each).split()]
        expected = [splitter.split_line(chunk) for chunk in chunks]
        found = graph.split(tf.constant(chunks)).to_list()
        wrong = [(chunk, words) for chunk, words, ours in zip(chunks, expected, found, strict=True)
                 if words != [word.decode() for word in ours]]
        assert not wrong, (language, wrong[:3])
        counts.append(len(chunks))
    assert refused == REFUSED and len(counts) > 50
