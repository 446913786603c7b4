"""GPT-2's kind of tokenizer: nothing is lost, ids are those of `tokenizers` used directly."""

import itertools
import json
import tracemalloc
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest
import tokenizers

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from gpt_tf.tokenizer import ByteLevelTokenizer, Tokenizer, WordTokenizer, tokenizer
from gpt_tf.tokenizer.byte_level import SYMBOLS, chunks, cut
from tests import awkward_text, corpora
from tests.languages import TEXTS

# White space of Unicode, what Python takes for it, and what meets it in the rule.
SPACES = [chr(code) for code in range(0x3001)
          if chr(code).isspace() or unicodedata.category(chr(code)) in ("Zs", "Zl", "Zp", "Cc")]
AWKWARD = [*"aZé你1١Ⅷ².'-_", "'s", "'LL", " ", " ", "  ", "\n", "\r\n", "\u0301", "\u200d",
           "\ufeff", "🙂", "👩\u200d👧", "</w>", "<|endoftext|>", "<start>", *SPACES]
# Anything but halves of surrogate pairs.
# What may end or go on with a character: each lead byte takes one of these.
NEXT = [b"a", *(bytes(some) for length in (1, 2, 3)
                for some in itertools.product((0x80, 0x8f, 0x90, 0xa0, 0xbf), repeat=length))]
any_text = st.lists(st.one_of(st.sampled_from(AWKWARD), st.sampled_from(sorted(TEXTS.values())),
                              st.text(max_size=3)), max_size=12).map("".join)


@pytest.fixture(name="small", scope="module")
def fixture_small() -> ByteLevelTokenizer:
    return corpora.make_byte_level_tokenizer()


@pytest.fixture(name="direct", scope="module")
def fixture_direct(small) -> tokenizers.Tokenizer:
    """The library by itself, of the same vocabulary."""
    direct = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary_of(small), list(small.merges)))
    direct.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return direct


def vocabulary_of(of):
    return {token: index for index, token in enumerate(of.tokens)}


@pytest.mark.parametrize("language", TEXTS)
def test_twenty_languages(small, direct, language):
    text = TEXTS[language]
    ids = small.encode(text)
    assert ids == direct.encode(text).ids and small.decode(ids) == text
    assert len(ids) < len(text.encode())


@given(any_text)
@example("a\r\n\r\n b\0\xa0c\x1c \x1cd\n")
def test_nothing_is_lost_and_ids_are_the_librarys(small, direct, text):
    ids = small.encode(text)
    assert ids == direct.encode(text).ids
    assert small.decode(ids) == text


@given(any_text, st.integers(1, 9), st.integers(1, 7))
@example("a \n", 1, 1)
@example("ab \n\n  \nc", 1, 2)
def test_pieces_are_the_document(small, text, size, block):
    blocks = [text[start:start + block] for start in range(0, len(text), block)]
    pieces = list(small.split_text(iter(blocks), size))
    assert "".join(piece.text for piece in pieces) == text
    encoded = [small.encode_piece(piece) for piece in pieces]
    assert np.concatenate(encoded).tolist() == small.encode(text)
    assert all(len(piece.text) >= size for piece in pieces[:-1])


@given(any_text, st.lists(st.integers(0, 255) | st.integers(0, 458), max_size=8))
def test_what_is_settled_stays(small, text, more):
    """Of ids of text, then of ids in any order, whose bytes are no text."""
    ids = small.encode(text)[-8:] + more

    def is_certain(count):
        """Whether the text of the first `count` stays, whatever bytes come next."""
        text = small.decode(ids[:count])
        return all((data + more).decode(errors="replace").startswith(text) for more in NEXT)
    data = b"".join(small._bytes[index] for index in ids)
    assert small.settled(ids) == max(filter(is_certain, range(len(ids) + 1)))


def test_half_a_character(small):
    """Bytes that are none come out as U+FFFD, one for each part of a character (Unicode, 3.9)."""
    euro = [small.tokens.index(SYMBOLS[byte]) for byte in "€".encode()]
    assert small.decode(euro) == "€" and small.decode(euro[:2]) == "\ufffd"
    assert small.decode([*euro[:2], *small.encode("a")]) == "\ufffda"
    assert small.decode(euro[1:]) == "\ufffd\ufffd"
    assert [small.settled(euro[:count]) for count in range(4)] == [0, 0, 0, 3]
    assert small.settled([*euro[:2], euro[0]]) == 2  # nothing can end the first one now
    assert small.settled(euro[1:]) == 2  # nothing begins these


def test_halves_of_surrogate_pairs_are_refused(small):
    for text in ("one \ud83d two", "\ude00"):
        with pytest.raises(UserError, match=r"holds \\ud.*half of a pair .*: repair the text"):
            small.encode(text)


def test_special_tokens(small):
    size = small.vocabulary_size
    assert (small.start_id, small.delimiter_id, small.extract_id) == (size, size + 1, size + 2)
    ids = [small.start_id, *small.encode("the sea"), small.delimiter_id, small.extract_id]
    assert small.decode(ids) == "<start>the sea<delimiter><extract>"
    assert small.settled(ids) == len(ids)
    assert small.decode([small.newline_id]) == "\n" and small.unknown_id is None
    assert max(small.encode("<start><delimiter><extract>")) < size
    with pytest.raises(ValueError, match="outside"):
        small.decode([small.extract_id + 1])


def test_white_space_is_the_librarys(direct):
    """Which characters are: Python's own list has some more."""
    for character in SPACES:
        text = f"a{character}{character}b"
        split = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
        starts = [0, *np.cumsum([len(chunk) for chunk in chunks(text)])]
        assert {start for _, (start, _) in split} >= set(map(int, starts[:-1])), hex(ord(character))
        assert (len(chunks(text)) > 1) == (not {"\x1c", "\x1d", "\x1e", "\x1f"} & {character} and
                                           character.isspace()), hex(ord(character))


def test_chunks_example():
    assert chunks("It's\n\n  so") == ["It's", "\n\n ", " so"]
    assert [piece.text for piece in cut("One two\n\nthree four", 5)] == [
        "One two\n", "\nthree", " four"]


def test_a_full_memory_changes_nothing(small, direct, monkeypatch):
    monkeypatch.setattr(tokenizer, "_MEMORY", 200)
    monkeypatch.setattr(tokenizer, "_BLOCK", 100)
    for text in (awkward_text.PROSE, " ".join(f"word{number}" for number in range(2000))):
        assert small.encode(text) == direct.encode(text).ids
    assert len(small._chunks) < 100


def test_a_line_without_end_is_not_held(small):
    tracemalloc.start()
    sizes = [len(piece.text) for piece in small.split_text(
        ("the sea " * 1000 for _ in range(1000)), 10_000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 8_000_000 and max(sizes) < 20_000 and peak < 200_000


def test_files_of_gpt2(small, tmp_path):
    """As published, under both names: an entry at the end, which no text becomes."""
    end = "<|endoftext|>"
    vocabulary = vocabulary_of(small) | {end: small.vocabulary_size}
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in small.merges)
    for names in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
        folder = tmp_path / names[0]
        folder.mkdir()
        (folder / names[0]).write_text(json.dumps(vocabulary))
        (folder / names[1]).write_text(merges, encoding="utf-8")
        loaded = Tokenizer.load(folder)
        assert isinstance(loaded, ByteLevelTokenizer) and loaded.kind == "byte_level"
        assert loaded.encode(awkward_text.PROSE) == small.encode(awkward_text.PROSE)
        assert loaded.start_id == small.vocabulary_size + 1
        ids = loaded.encode(end)
        assert vocabulary[end] not in ids and loaded.decode(ids) == end
        assert loaded.decode([vocabulary[end]]) == end


@pytest.mark.parametrize("layout, names", [
    (None, {"vocab.json", "merges.txt"}), ("openai", {"encoder.json", "vocab.bpe"})])
def test_save_and_load(small, tmp_path, layout, names):
    small.save(tmp_path, layout)
    assert {path.name for path in tmp_path.iterdir()} == names | {"tokenizer_info.json", SUMS}
    loaded = Tokenizer.load(tmp_path)
    assert type(loaded) is ByteLevelTokenizer and loaded.fingerprint == small.fingerprint
    other = ByteLevelTokenizer(vocabulary_of(small), small.merges[:-1])
    assert other.fingerprint != small.fingerprint
    with pytest.raises(UserError, match="another tokenizer"):
        other.save(tmp_path, layout)


@pytest.mark.parametrize("edit, message", [
    ({"kind": "word_piece"}, "a kind that this program knows"),
    ({"kind": ["gpt1"]}, "a kind that this program knows"),
    ({"kind": "gpt1"}, "a kind that this program knows"),  # which has a language
    ({"kind": "gpt1", "language": "en"}, "does not give <unk> the id 0")])
def test_descriptions_of_another_kind(small, tmp_path, edit, message):
    small.save(tmp_path)
    (tmp_path / SUMS).unlink()
    info = tmp_path / "tokenizer_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | edit))
    with pytest.raises(UserError, match=message):
        Tokenizer.load(tmp_path)


def test_the_vocabulary_says_the_kind(small):
    words = {"<unk>": 0, "a": 1, "a</w>": 2}
    assert type(Tokenizer.of(words, [])) is WordTokenizer
    assert Tokenizer.of(words, [], language="de").language == "de"
    symbols = vocabulary_of(small)
    assert type(Tokenizer.of(symbols, small.merges)) is ByteLevelTokenizer
    unknown = {"<unk>": 0} | {token: index + 1 for token, index in symbols.items()}
    assert type(Tokenizer.of(unknown, small.merges)) is ByteLevelTokenizer  # no text becomes it
    with pytest.raises(UserError, match="of neither kind"):
        Tokenizer.of({"a": 0}, [])
    with pytest.raises(UserError, match="of kind byte_level has no language"):
        Tokenizer.of(symbols, small.merges, language="en")
    with pytest.raises(UserError, match="lacks some of the 256 symbols"):
        ByteLevelTokenizer({token: index for token, index in symbols.items() if index < 255}, [])


def test_texts_that_follow_each_other(small):
    parts = ["A story.\n", "", " Who?", "Ann."]
    assert small.joined(parts) == ["A story.", "", " Who?", " Ann."]
    assert small.joined(["", "Who?"]) == ["", "Who?"]
    ids = [index for part in small.joined(parts) for index in small.encode(part)]
    assert ids == small.encode("A story. Who? Ann.")


def test_words_and_labels_of_tokens(small):
    """Of "the sea\\n\\nis 你" words begin where there is white space, and it ends with itself."""
    ids = small.encode("the sea\n\nis 你\t")
    begins, ends, is_text = (each[ids].tolist() for each in small.word_bounds())
    texts = [small.decode([index]) for index in ids]
    assert begins == [text[0].isspace() for text in texts]
    assert ends == [text.isspace() for text in texts] and is_text == [not end for end in ends]
    assert "".join(map(small.label, ids)).replace("\\xe4\\xbd\\xa0", "你") == (
        "the\u2423sea\\n\\nis\u2423你\\t")
