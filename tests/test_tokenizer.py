"""The tokenizer with a small vocabulary of its own: exact, in pieces, saved, loaded, decoded."""

import json
import random
import re
import string
import sys

import ftfy
from ftfy.badness import MOJIBAKE_CATEGORIES
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import spacy

from benchmarks.encoders import ReleasedEncoder
from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from gpt_tf.tokenizer import Tokenizer, WordTokenizer, tokenizer, words
from gpt_tf.tokenizer.cleaning import Piece, chunks, clean, split_text, standardise
from gpt_tf.tokenizer.spacing import join_words
from gpt_tf.tokenizer.words import WordSplitter
from pipelines.corpus.merges import learn_merges, make_vocabulary
from pipelines.corpus.word_counts import count_words
from tests import awkward_text


@pytest.fixture(name="parts", scope="module")
def fixture_parts() -> tuple[dict[str, int], list[tuple[str, str]]]:
    counts = count_words([Piece(awkward_text.PROSE)], "en")
    merges = list(learn_merges(counts))[:150]
    return make_vocabulary(counts, merges), merges


@pytest.fixture(name="small", scope="module")
def fixture_small(parts) -> Tokenizer:
    return WordTokenizer(*parts)


@pytest.fixture(name="released", scope="module")
def fixture_released(parts) -> ReleasedEncoder:
    return ReleasedEncoder(*parts)


@settings(max_examples=400, deadline=None)
@given(text=awkward_text.texts())
def test_equals_the_released_path(small, released, text):
    assert small.encode(text) == released.encode(text)


@pytest.mark.parametrize("language", ["es", "ru", "de", "tr", "xx"])
def test_other_languages(parts, language):
    """The words too, for most of another script is unknown to the vocabulary."""
    small, released = WordTokenizer(*parts, language), ReleasedEncoder(*parts, language)
    splitter = WordSplitter(language)
    rules = sorted(released.rules)
    for number in range(120):
        text = " ".join(rules[(number * step) % len(rules)] + end
                        for step, end in ((7, ""), (11, "."), (13, "'x"), (17, "\nab")))
        assert small.encode(text) == released.encode(text)
        line = standardise(clean(text.replace("\n", " ")))
        expected = released.words(text.replace("\n", " "))
        assert [word.lower() for word in splitter.split_line(line)] == expected
        alone = [splitter.split_chunk(chunk) for chunk in line.split()]
        assert None in alone or [word.lower() for some in alone for word in some] == expected


@pytest.mark.parametrize("language", ["en", "es", "ms", "fa"])
def test_lines_are_spacys(language):
    """Rules beside each other, cut and joined: what a match hides, and what hidden ones hide."""
    splitter, dice = WordSplitter(language), random.Random(3)
    rules = splitter.rules.special
    parts = [*filter(str.strip, rules), *"aZ0.,:;)(=$'-\u20ac", "''", "'s", "'Cause", "EE.", "UU."]
    pipeline = spacy.blank(language)
    for _ in range(500):
        line = " ".join("".join(dice.choices(parts, k=dice.choice((1, 1, 2, 4)))).replace(" ", "")
                        if dice.random() < 0.8 else dice.choice(parts).strip()
                        for _ in range(dice.randint(1, 5)))
        line = " ".join(line.split())
        expected = [token.text for token in pipeline.tokenizer(line)]
        assert splitter.split_line(line) == expected, line
        alone = [splitter.split_chunk(chunk) for chunk in line.split()]
        assert None in alone or sum(alone, []) == expected, line


def test_neighbours_change_a_chunk(small, released):
    """spaCy's ":P" inside a chunk is hidden by a match that begins in the chunk before it."""
    for text in ("( :P:P", "x :P:P", ":P:P", "(:P:P\n:P:P"):
        assert small.encode(text) == released.encode(text)
        assert Tokenizer.encode(small, "x " + text) == released.encode("x " + text)
    assert small._splitter.split_chunk(":P:P") is None  # or the case would not be met


def test_letters_are_split_by_special_cases_only():
    splitter, pipeline = WordSplitter("en"), spacy.blank("en")
    chunks_of_letters = [
        first + second for first in ("", *string.ascii_letters, "km", "Mr", "http", "www")
        for second in (*string.ascii_letters, "cannot", "dont", "gonna", "ill", "Whats", "kg")]
    for chunk in chunks_of_letters:
        assert splitter.split_chunk(chunk) == [token.text for token in pipeline.tokenizer(chunk)]


def test_clean_is_ftfy_around_every_suspicious_character():
    """Each character that ftfy's mojibake rules name, alone between all kinds of ASCII."""
    suspicious = re.compile("[" + "".join(MOJIBAKE_CATEGORIES.values()) + "]")
    found = suspicious.findall("".join(map(chr, range(0x80, 0x10000))))
    assert len(found) > 400
    around = [first + "{}" + second for first in "aZ 1.?'\t" for second in "aZ 1.?'\t"]
    for character in found:
        text = "\n".join(around).replace("{}", character)
        assert (standardise(clean(text)).split()
                == standardise(ftfy.fix_text(text)).split()), hex(ord(character))


@settings(max_examples=300, deadline=None)
@given(text=st.text("\t\f\r %&'-<aZ.\xa0\u2010\u2013\u2014\u2015\u2018\u2019\u201a\u201c\u201d"
                    "\u201e\u2026"))
def test_clean_is_ftfy_on_simple_lines(text):
    fixed = chunks(standardise(ftfy.fix_text(text)))
    assert chunks(standardise(clean(text))) == fixed


@settings(max_examples=300, deadline=None)
@given(text=awkward_text.texts(25), size=st.integers(0, 60), block=st.integers(1, 30))
def test_pieces_one_after_the_other_are_the_whole(small, text, size, block):
    blocks = [text[start:start + block] for start in range(0, len(text), block)]
    pieces = list(split_text(iter(blocks), size))
    assert "".join(piece.text for piece in pieces) == text
    encoded = [small.encode_piece(piece) for piece in pieces]
    assert np.concatenate(encoded).tolist() == small.encode(text)


def test_long_lines_are_cleaned_in_ftfys_parts():
    text = "1" * 1_000_000 + "\u00c3 la carte"
    assert clean(text) == ftfy.fix_text(text) == "1" * 1_000_000 + "\u00e0 la carte"


def test_blank_lines_take_no_time(small):
    assert small.encode("the" + "\n \n" * 200_000 + "sea") == small.encode("the\nsea")


def test_long_runs_of_affixes_are_spacys():
    """Around the widths at which a chunk's ends are looked at."""
    splitter, pipeline = WordSplitter("en"), spacy.blank("en")
    for size in (1, 47, 48, 49, 63, 64, 65, 127, 128, 129, 300):
        for character in (".", "'", "$", "#", "km", "\u2026", "\U0001f600"):
            run = character * size
            for chunk in (run, f"a{run}", f"{run}1km", f"({run}a)."):
                expected = [token.text for token in pipeline.tokenizer(chunk)]
                assert splitter.split_line(chunk) == expected, chunk
                assert splitter.split_chunk(chunk) in (None, expected), chunk


def test_work_grows_with_length(monkeypatch):
    """Lines of code run and characters looked at double with a chunk, whatever it is made of."""
    splitter, work = WordSplitter("en"), [0]

    def counted(search):
        def look(text):
            work[0] += len(text)
            return search(text)
        return look

    def trace(frame, event, argument):
        del argument
        work[0] += event == "line"
        return trace if frame.f_code.co_filename == words.__file__ else None

    for name in ("_prefix", "_suffix", "_infixes", "_url_match"):
        monkeypatch.setattr(splitter, name, counted(getattr(splitter, name)))
    for part in ("'", "''", '"', "$", "\u20ac", "'s", "a'", ":)", ".", "..a", "a-", "1km", "=>",
                 "n't", "\U0001f600", "(a", "a)", "\u4e2d", "e\u0301", "a.b", "a:b@"):
        taken = []
        for count in (400, 800):
            work[0] = 0
            sys.settrace(trace)
            try:
                splitter.split_chunk(part * count)
                splitter.split_line(part * count)
            finally:
                sys.settrace(None)
            taken.append(work[0])
        assert taken[0] > 400 and taken[1] < 2.2 * taken[0], (part, taken)


def test_urls_are_spacys():
    """Real ones, what is made of their letters, and one where spaCy's pattern takes minutes."""
    splitter, pipeline, rng = WordSplitter("en"), spacy.blank("en"), random.Random(0)
    assert splitter.rules.url != pipeline.tokenizer.url_match.__self__.pattern
    for chunk in ("http://a:b@c.com/?d", "a:@b.org", "a@b:c@d.net:80", "@a.com", ":@a.com",
                  "ftp://1.2.3.4", "http://10.1.2.3", "a:b:c@d", "http://a@b@c.co.uk/e@f",
                  *("".join(rng.choices(("a", ".", ":", "@", "/", "://", "com", "1"), k=8))
                    for _ in range(3000))):
        expected = [token.text for token in pipeline.tokenizer(chunk)]
        assert splitter.split_chunk(chunk) in (None, expected), chunk
    assert "".join(splitter.split_chunk("http://" + "a:" * 100_000)) == "http://" + "a:" * 100_000


def test_no_cut_where_a_line_break_is_lost(small, released):
    """ftfy repairs this mojibake and takes the line break after it for a part of it."""
    text = "Before.\n" * 3 + "Sea\u00e2\u20ac\u0153\u00c0\n" + "After.\n" * 3
    assert len(ftfy.fix_text(text).split("\n")) == len(text.split("\n")) - 1
    pieces = list(split_text([text], 1))
    assert len(pieces) == 6
    whole = np.concatenate([small.encode_piece(piece) for piece in pieces]).tolist()
    assert whole == small.encode(text) == released.encode(text)


def test_pieces_are_small():
    pieces = list(split_text(["A line of text.\n" * 1000], 100))
    assert max(len(piece.text) for piece in pieces) <= 2 * 16 + 100


def test_html_is_left_alone_after_a_tag(small, released):
    """ftfy stops unescaping at the first "<" of a document; pieces must know of it."""
    text = "Tom &amp; Ann.\n" * 20 + "a < b\n" + "Tom &amp; Ann.\n" * 20
    pieces = list(split_text([text], 50))
    assert {piece.unescape_html for piece in pieces} == {True, False}
    whole = np.concatenate([small.encode_piece(piece) for piece in pieces]).tolist()
    assert whole == small.encode(text) == released.encode(text)


def test_a_full_memory_changes_nothing(parts, released, monkeypatch):
    monkeypatch.setattr(tokenizer, "_MEMORY", 200)
    monkeypatch.setattr(tokenizer, "_BLOCK", 100)
    small = WordTokenizer(*parts)
    words = [f"word{number}" for number in range(2000)]
    for text in (awkward_text.PROSE, " ".join(words), awkward_text.PROSE):
        assert small.encode(text) == released.encode(text)
    assert len(small._chunks) < 100


def test_encode_array_and_batch(small):
    array = small.encode_array(awkward_text.PROSE)
    assert array.dtype == np.uint16
    assert array.tolist() == small.encode(awkward_text.PROSE)
    assert small.encode_batch(["The sea.", ""]) == [small.encode("The sea."), []]


def test_large_vocabulary_has_wider_ids(parts):
    vocabulary = dict(parts[0])
    vocabulary |= {f"filler{number}": len(parts[0]) + number for number in range(70_000)}
    wide = WordTokenizer(vocabulary, parts[1])
    assert wide.encode_array("The sea.").dtype == np.int32
    assert wide.encode("The sea.\nIt") == WordTokenizer(*parts).encode("The sea.\nIt")


def test_special_ids_follow_the_vocabulary(small):
    size = small.vocabulary_size
    assert (small.start_id, small.delimiter_id, small.extract_id) == (size, size + 1, size + 2)


def test_decode_is_readable(small):
    text = ('"you will go," she said. \'why not?\' asked the boy.\n'
            "they walked (a mile), didn't they: the boats' lamps, and mrs. o'neil's dog!")
    assert small.decode(small.encode(text)) == text
    ids = [small.start_id, *small.encode("the sea"), small.delimiter_id, 0, small.extract_id]
    assert small.decode(ids) == "<start> the sea <delimiter> <unk> <extract>"
    assert small.decode(np.array(small.encode("the sea"), np.int64)) == "the sea"
    assert small.decode([]) == ""
    with pytest.raises(ValueError, match="outside"):
        small.decode([small.extract_id + 1])


def test_join_words_example():
    words = ["i", "do", "n't", "know", ",", '"', "he", "said", '"', "."]
    assert join_words(words, "en") == 'i don\'t know, "he said".'


@pytest.mark.parametrize("layout, names", [
    ("openai", {"encoder_bpe_150.json", "vocab_150.bpe", "tokenizer_info.json"}),
    ("huggingface", {"vocab.json", "merges.txt", "tokenizer_info.json"})])
def test_save_and_load(parts, tmp_path, layout, names):
    german = WordTokenizer(*parts, "de")
    german.save(tmp_path / "a" / "b", layout)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == names | {SUMS}
    loaded = Tokenizer.load(tmp_path / "a" / "b")
    assert loaded.language == "de" and loaded.fingerprint == german.fingerprint
    assert loaded.encode("Das Boot, z.B. das?") == german.encode("Das Boot, z.B. das?")
    assert loaded.fingerprint != WordTokenizer(*parts, "en").fingerprint
    german.save(tmp_path / "a" / "b", layout)  # the same once more is fine
    other = WordTokenizer(parts[0], parts[1][:-1], "de")
    with pytest.raises(UserError, match="another tokenizer"):
        other.save(tmp_path / "a" / "b", layout)


def test_layouts_without_description(parts, tmp_path):
    """As downloaded: the published files, and Hugging Face's."""
    small = WordTokenizer(*parts)
    for layout in ("openai", "huggingface"):
        folder = tmp_path / layout
        small.save(folder, layout)
        (folder / "tokenizer_info.json").unlink()
        assert Tokenizer.load(folder).fingerprint == small.fingerprint


def test_save_goes_on_after_a_stop(small, tmp_path):
    small.save(tmp_path)
    (tmp_path / "tokenizer_info.json").unlink()
    (tmp_path / "vocab_150.bpe").unlink()
    with pytest.raises(UserError, match="Half a tokenizer"):
        Tokenizer.load(tmp_path)
    small.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == small.fingerprint


def _edit_json(path, edit):
    value = json.loads(path.read_text(encoding="utf-8"))
    edit(value)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "vocab_150.bpe").unlink(), "Half a tokenizer"),
    (lambda folder: (folder / "vocab_150.bpe").rename(folder / "vocab.bpe"),
     "encoder_bpe_150.json, vocab.bpe.: it needs .* or encoder.json and vocab.bpe"),
    (lambda folder: (folder / "encoder_bpe_150.json").rename(folder / "vocab_151.bpe"),
     "Half a tokenizer in .* .vocab_150.bpe, vocab_151.bpe."),
    (lambda folder: (folder / "vocab_151.bpe").write_text(""),
     "More than one tokenizer in .* .encoder_bpe_150.json, vocab_150.bpe, vocab_151.bpe."),
    (lambda folder: (folder / "vocab.json").write_text("{}"), "More than one tokenizer"),
    (lambda folder: (folder / "encoder_bpe_150.json").write_text("{"), "not valid JSON"),
    (lambda folder: (folder / "encoder_bpe_150.json").write_text("[]"), "not a vocabulary"),
    (lambda folder: (folder / "encoder_bpe_150.json").write_text('{"<unk>": "0"}'),
     "not a vocabulary"),
    (lambda folder: (folder / "encoder_bpe_150.json").write_text('{"a": 0}'), "id 0"),
    (lambda folder: (folder / "encoder_bpe_150.json").write_text('{"<unk>": 0, "a": 7}'), "0..1"),
    (lambda folder: (folder / "vocab_150.bpe").write_text("a\n"), "line 1"),
    (lambda folder: (folder / "vocab_150.bpe").write_bytes(b"\xff"), "UTF-8"),
    (lambda folder: (folder / "vocab_150.bpe").write_text("q7 7q\n"), "do not fit"),
    (lambda folder: (folder / "vocab_150.bpe").write_text("t h\n"), "altered"),
    (lambda folder: (folder / "tokenizer_info.json").write_text("{}"), "does not describe"),
    (lambda folder: _edit_json(folder / "tokenizer_info.json",
                               lambda info: info.update(format_version=9)), "format 9"),
])
def test_damaged_folders_are_refused(small, tmp_path, damage, message):
    small.save(tmp_path)
    (tmp_path / SUMS).unlink()  # as in the folders of others
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        Tokenizer.load(tmp_path)


def test_no_tokenizer_is_refused(tmp_path):
    for folder, message in ((tmp_path, "No tokenizer"), (tmp_path / "absent", "no such folder")):
        with pytest.raises(UserError, match=message):
            Tokenizer.load(folder)


def test_other_library_versions_warn(small, tmp_path):
    small.save(tmp_path)
    (tmp_path / SUMS).unlink()
    _edit_json(tmp_path / "tokenizer_info.json", lambda info: info.update(spacy="2.0.0"))
    with pytest.warns(UserWarning, match="made with spacy 2.0.0"):
        Tokenizer.load(tmp_path)


def test_other_languages_are_refused(parts):
    with pytest.raises(UserError, match="cannot split words .*--kind=byte_level"):
        WordTokenizer(*parts, "qq").encode("text")
