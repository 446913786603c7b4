"""What of a corpus is validation: shares worked out by hand, and where texts are cut."""

import itertools

import pytest

from gpt_tf.tokenizer.cleaning import split_text
from pipelines.building.plan import HASHES, content_hash
from pipelines.corpus import census, splitting
from pipelines.corpus.census import Census
from pipelines.corpus.documents import Document
from pipelines.corpus.splitting import SplitRule, cut_in_two

TENTH = HASHES // 10


def choose(fraction, documents):
    """The rule for documents of (tenths of the hashes, characters)."""
    taken = Census(fraction)
    for place, size in documents:
        taken.add(int(place * TENTH), size)
    return taken.choose()


@pytest.mark.parametrize("fraction, documents, threshold", [
    # Of ten documents of one size one is below 0.15, which is 10% of the text.
    (0.15, [(place, 100) for place in range(1, 11)], int(0.15 * HASHES)),
    # The share counts, not the number: 3 of 4 documents are 30 of 100 characters.
    (0.3, [(0, 10), (1, 10), (2, 10), (9, 70)], int(0.3 * HASHES)),
    # Half to twice of what is asked for is near enough.
    (0.1, [(0, 50), (5, 950)], int(0.1 * HASHES)), (0.1, [(0, 200), (5, 800)], int(0.1 * HASHES)),
    # None is below 0.07: the nearest one crosses over. None is above 0.93: likewise.
    (0.07, [(place, 100) for place in range(1, 11)], TENTH + 1),
    (0.93, [(place, 100) for place in range(10)], 9 * TENTH),
    (0.8, [(1, 100), (3, 800), (9, 100)], int(0.8 * HASHES)),
    (0, [(0, 100), (5, 100)], 0)])
def test_whole_documents_where_their_share_is_near(fraction, documents, threshold):
    assert choose(fraction, documents) == (threshold, ())
    assert choose(fraction, reversed(documents)) == (threshold, ())


@pytest.mark.parametrize("fraction, documents, cuts", [
    # One document, and copies of it.
    (0.1, [(5, 1000)], [(5, 900)]), (0.1, [(0, 1000)] * 3, [(0, 900)]),
    # The larger one below: 99% once.
    (0.05, [(0, 336_000), (5, 2_640)], [(0, 319_200), (5, 2_508)]),
    # The larger part never, though 60% is not twice 40%.
    (0.4, [(1, 60), (8, 40)], [(1, 36), (8, 24)]),
    (0.1, [(0, 49), (5, 951)], [(0, 44), (5, 856)]), (0.1, [(0, 201), (5, 799)],
                                                     [(0, 181), (5, 719)]),
    # A document of 8 characters is small beside 100 of 1,000: it goes by its hash.
    (0.1, [(0, 8), (1, 992)], [(1, 893)]),
    # Something is left on each side.
    (0.001, [(5, 20)], [(5, 19)]), (0.999, [(5, 20)], [(5, 1)])])
def test_else_large_documents_are_cut(fraction, documents, cuts):
    for given in (documents, reversed(documents)):
        assert choose(fraction, given) == (
            int(fraction * HASHES), tuple((place * TENTH, size) for place, size in cuts))


def test_no_more_documents_are_cut_than_are_held(monkeypatch):
    monkeypatch.setattr(census, "_MOST_CUT", 2)
    assert choose(0.1, [(5, 300), (6, 100), (7, 200)])[1] == (
        (5 * TENTH, 270), (7 * TENTH, 180))


@pytest.mark.parametrize("text, cut, head", [
    ("One. Two.\n\nThree. Four. Five. Six.\n", 3, "One. Two.\n\n"),
    ("One. Two.\n \r\n Three. Four. Five.\n", 3, "One. Two.\n \r\n"),
    ("One. Two.\nThree. Four. Five. Six.\n", 3, "One. Two.\n"),
    ("One. Two.\rThree. Four. Five. Six.\n", 3, "One. Two.\r"),
    ("One. Two. Three. Four.\n\n", 3, "One. "),
    # Not beyond half of the rest: the end of the paragraph would leave nothing.
    ("One two three four.\n\nFive.", 1, "One "), ("\u4e2d" * 9, 4, "\u4e2d" * 4),
    ("ab", 1, "a"), ("a", 1, "a"), ("One", 7, "One")])
def test_texts_are_cut_before_a_paragraph_a_line_or_a_word(text, cut, head):
    for size in (1, 2, 5, 100):
        blocks = (text[start:start + size] for start in range(0, len(text), size))
        parts = ["".join(part) for part in cut_in_two(blocks, cut)]
        assert parts == [head, text[len(head):]]


def test_both_parts_of_a_long_text_come_in_pieces(monkeypatch):
    monkeypatch.setattr(splitting, "_CHUNK_SIZE", 40)
    lines = [f"This is line number {number}.\n" for number in range(90)]
    text = "".join(lines)
    rule = SplitRule(0, ((content_hash(text), len(text) - 500),))
    blocks = [(line, len(line)) for line in lines]
    blocks[0] = (text[:1000], 1000)
    blocks[1:] = [(text[start:start + 50], 50) for start in range(1000, len(text), 50)]
    rule = SplitRule(0, ((content_hash(text[:1000]), len(text) - 500),))
    parts = list(rule.parts(Document("a.txt", blocks), split_text))
    splits = ["".join(piece.text for _, piece, _ in group)
              for _, group in itertools.groupby(parts, lambda part: part[0])]
    assert len(splits) == 2 and "".join(splits) == text and splits[1].startswith("This is")
    assert len(splits[1]) in range(450, 501)
    assert [split for split, _, ends in parts if ends] == ["train", "validation"]
    assert max(len(piece.text) for _, piece, _ in parts) < 1100


def test_a_document_that_is_not_cut_is_whole():
    for threshold, split in ((0, "train"), (HASHES, "validation")):
        part, = SplitRule(threshold).parts(Document("a.txt", [("Some text.", 10)]), split_text)
        assert (part[0], part[1].text, part[2]) == (split, "Some text.", True)
