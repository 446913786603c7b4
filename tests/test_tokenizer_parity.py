"""The tokenizer against the released program: its golden file, and our rewriting of it.

Another file of the same layout, lines of {"text", "ids"}:
  pytest tests/test_tokenizer_parity.py --golden_tokens=PATH
"""

import json
import random

from hypothesis import given, settings
import numpy as np
import pytest

from benchmarks.encoders import ReleasedEncoder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.cleaning import split_text
from gpt_tf.tokenizer.files import read_merges, read_vocabulary
from tests import awkward_text


@pytest.fixture(name="published", scope="module")
def fixture_published(shared_data) -> Tokenizer:
    return Tokenizer.load(shared_data / "gpt1_bpe")


@pytest.fixture(name="released", scope="module")
def fixture_released(shared_data) -> ReleasedEncoder:
    folder = shared_data / "gpt1_bpe"
    return ReleasedEncoder(read_vocabulary(folder / "encoder_bpe_40000.json"),
                             read_merges(folder / "vocab_40000.bpe"))


@pytest.fixture(name="golden", scope="module")
def fixture_golden(request, shared_data) -> list[dict]:
    path = request.config.getoption("--golden_tokens")
    path = path or shared_data / "golden" / "tokens_shared.jsonl"
    with open(path, encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    assert lines, f"{path} is empty"
    return lines


def test_golden(golden, published):
    wrong = [line["text"] for line in golden if published.encode(line["text"]) != line["ids"]]
    assert not wrong, f"{len(wrong)} of {len(golden)} lines differ, the first: {wrong[0]!r}"


def test_golden_from_cold(golden, shared_data):
    """The order of texts, and so what is remembered, changes nothing."""
    tokenizer = Tokenizer.load(shared_data / "gpt1_bpe")
    for line in reversed(golden):
        assert tokenizer.encode(line["text"]) == line["ids"], line["text"]


def test_golden_equals_the_reference(golden, released):
    """The rewriting that the other tests trust is itself right."""
    for line in golden:
        assert released.encode(line["text"]) == line["ids"], line["text"]


def test_published_numbers(published):
    assert published.vocabulary_size == 40478
    assert (published.start_id, published.delimiter_id, published.extract_id) == (
        40478, 40479, 40480)


@settings(max_examples=400, deadline=None)
@given(text=awkward_text.texts())
def test_awkward_text(published, released, text):
    assert published.encode(text) == released.encode(text)


def test_damaged_books(shared_data, published, released):
    """Paragraphs of every book, some with awkward strings put in, some with words broken up."""
    dice = random.Random(0)
    awkward = (awkward_text.LINE_ENDS + awkward_text.CONTROL + awkward_text.HTML
               + awkward_text.MOJIBAKE + awkward_text.LETTERS + awkward_text.QUOTES
               + awkward_text.SPACY)
    for path in sorted((shared_data / "books").iterdir()):
        paragraphs = path.read_text(encoding="utf-8").split("\n\n")
        for paragraph in dice.sample(paragraphs, 4):
            assert published.encode(paragraph) == released.encode(paragraph)
            for _ in range(dice.randrange(1, 8)):
                place = dice.randrange(len(paragraph) + 1)
                paragraph = (paragraph[:place] + dice.choice(awkward)
                             + paragraph[place + dice.choice([0, 0, 1, 3]):])
            assert published.encode(paragraph) == released.encode(paragraph), paragraph


def test_pieces_of_a_book(shared_data, published, released):
    path = min((shared_data / "books").iterdir(), key=lambda path: path.stat().st_size)
    book = path.read_text(encoding="utf-8")
    whole = released.encode(book)
    pieces = list(split_text([book], 10_000))
    assert len(pieces) > 5
    assert np.concatenate([published.encode_piece(piece) for piece in pieces]).tolist() == whole
    assert published.encode(book) == whole
