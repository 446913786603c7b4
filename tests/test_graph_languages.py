"""The paper's kind in the graph for other languages: their words, and the spaces between them."""

import random

import pytest
import tensorflow as tf

from gpt_tf.serving import graph_tokenizer
from gpt_tf.serving.graph_words import GraphCharacterSplitter
from gpt_tf.tokenizer import WordTokenizer
from gpt_tf.tokenizer.characters import LANGUAGES, CharacterSplitter
from tests.hard_sentences import SENTENCES

# Special cases with a space in them are none of a chunk's.
NOT_EXACT = {"ru": ["Проф. Иванов и др. считали иначе, т. к. данных было мало.",
                    "Это было в 44 г. до н.э., во время мартовских ид."]}


def make_tokenizer(language):
    """One that has every character of the sentences, and no merges."""
    letters = dict.fromkeys("".join(sum(SENTENCES.values(), [])).lower())
    tokens = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "\n</w>"]
    return WordTokenizer({token: index for index, token in enumerate(tokens)}, [], language)


def check(language):
    """Ids of each sentence, and texts of these and of others."""
    tokenizer = make_tokenizer(language)
    graph = graph_tokenizer.build(tokenizer)
    rows = tokenizer.encode_batch(SENTENCES[language])
    found = graph.encode(tf.constant(SENTENCES[language])).to_list()
    assert [text for text, ours, theirs in zip(SENTENCES[language], found, rows, strict=True)
            if ours != theirs] == NOT_EXACT.get(language, [])
    dice = random.Random(0)
    ids = sorted(set(sum(rows, []))) + [tokenizer.extract_id, 0]
    rows += [dice.choices(ids, k=dice.randint(0, 30)) for _ in range(500)]
    decoded = graph.decode(tf.ragged.constant(rows, tf.int32, ragged_rank=1))
    assert [text.decode() for text in decoded.numpy()] == list(map(tokenizer.decode, rows))


@pytest.mark.parametrize("language", ["ru", "zh"])
def test_sentences(language):
    """`tests/peers/test_unicode.py` has the other languages."""
    check(language)


def test_words_by_characters():
    splitter, dice = CharacterSplitter(), random.Random(0)
    parts = [*"aZ1.'-%,", "don't", "3.14", "\u4f60", "\u304b\u3099", "\ud55c", "\u0e19\u0e49",
             "\u0e33", "\u0661", "\u0301", "\u200d", "\U0001f469", "\u3002", "\x02"]
    chunks = ["".join(dice.choices(parts, k=dice.randint(1, 8))) for _ in range(3000)]
    chunks += ["\u4f60" * 20_000, "a1.5" * 5000, "don't" * 4000]
    found = GraphCharacterSplitter(splitter.rules).split(tf.constant(chunks)).to_list()
    assert [[word.decode() for word in words] for words in found] == list(
        map(splitter.split_chunk, chunks))
    assert {"zh", "ja", "th", "ko"} <= LANGUAGES
