"""Learning a vocabulary: the algorithm, the same bytes every time, clear refusals."""

import collections
import functools
import gzip
import itertools
import json
import os
import random
import subprocess
import sys

import pytest
import tokenizers

from benchmarks.encoders import ReleasedEncoder
from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import Tokenizer, WordTokenizer
from gpt_tf.tokenizer.cleaning import Piece
from pipelines import train_bpe
from pipelines.corpus import word_counts
from pipelines.corpus.merges import (
    learn_byte_level,
    learn_merges,
    learn_words,
    make_vocabulary,
    of_frequent_characters,
)
from pipelines.corpus.word_counts import count_corpus, count_parts, count_words
from tests import awkward_text
from tests.conftest import REPOSITORY
from tests.corpora import open_corpus


def _learn_slowly(counts):
    """Byte-pair learning from its definition: count all pairs anew before each merge."""
    words = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    while True:
        pairs = collections.Counter()
        for word, symbols in words.items():
            for pair in itertools.pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            return
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        yield best
        for symbols in words.values():
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == best:
                    symbols[place:place + 2] = ["".join(best)]
                place += 1


def test_merges_follow_the_definition():
    dice = random.Random(1)
    for alphabet in ("ab", "abcde", "aaab"):
        counts = {"".join(dice.choices(alphabet, k=dice.randrange(1, 9))): dice.randrange(1, 30)
                  for _ in range(60)}
        assert list(learn_merges(counts)) == list(_learn_slowly(counts))


@pytest.mark.parametrize("coverage, kept", [
    (1.0, ["aab", "cab", "dé", "é"]),  # 14 characters: a 6, b 4, é 2, c 1, d 1
    (0.9, ["aab", "cab", "é"]), (12 / 14, ["aab", "é"]), (0.72, ["aab", "é"]), (10 / 14, ["aab"])])
def test_the_most_frequent_characters(coverage, kept):
    counts = {"aab": 2, "cab": 1, "dé": 1, "é": 1, "b": 0, "ab": 1}
    found = of_frequent_characters(counts, coverage)
    assert [word for word in found if word not in ("b", "ab")] == kept
    assert found.items() <= counts.items()
    with pytest.raises(UserError, match="=0.4 leaves 1 characters, which make no word"):
        of_frequent_characters(counts, 0.4)


def test_merges_example():
    assert list(learn_merges({"abab": 3, "b": 5})) == [
        ("a", "b"), ("a", "b</w>"), ("ab", "ab</w>")]


def test_as_another_trainer():
    """Hugging Face's trainer, which breaks ties otherwise, as far as no two pairs are tied."""
    dice = random.Random(2)
    counts = {"".join(dice.choices("abcdef", k=dice.randrange(2, 8))): dice.randrange(1, 1000)
              for _ in range(400)}
    alphabet = [letter + end for letter in "abcdef" for end in ("", "</w>")]
    model = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    model.train_from_iterator(
        [" ".join([word] * count) for word, count in counts.items()],
        tokenizers.trainers.BpeTrainer(vocab_size=len(alphabet) + 60, show_progress=False,
                                       end_of_word_suffix="</w>", special_tokens=alphabet))
    theirs = [tuple(pair) for pair in json.loads(model.to_str())["model"]["merges"]]
    assert list(itertools.islice(learn_merges(counts), 60)) == theirs


def test_byte_level_as_another_trainer():
    """Hugging Face's, from the same text; it, too, gives bytes the ids that GPT-2 gives them."""
    dice = random.Random(3)
    words = {"".join(dice.choices("abcé你'1.", k=dice.randrange(2, 8))) for _ in range(300)}
    text = "\n\n".join(" ".join([word] * dice.randrange(1, 1000)) for word in sorted(words))
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.train_from_iterator([text], tokenizers.trainers.BpeTrainer(
        vocab_size=256 + 60, show_progress=False, special_tokens=[],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    ours = learn_byte_level(count_parts([Piece(text)]), 60)
    theirs = [tuple(pair) for pair in json.loads(model.to_str())["model"]["merges"]]
    assert list(ours.merges) == theirs
    assert {token: index for index, token in enumerate(ours.tokens)} == model.get_vocab()
    assert count_parts([Piece("a b")]) == {"a": 1, "Ġb": 1}


def test_words_are_the_released_ones():
    released = ReleasedEncoder({}, [])
    text = awkward_text.PROSE * 3 + "<b>\nTom &amp; Ann wed. x:P:P\n"
    expected = collections.Counter(word for word in released.words(text) if word != "\n ")
    counted = count_words([Piece(text)], "en")
    assert counted == expected


def test_vocabulary_is_in_the_published_order():
    counts = {"ab": 3, "b": 1, "c": 1}
    merges = [("a", "b</w>")]
    assert list(make_vocabulary(counts, merges)) == [
        "<unk>", "b", "a", "c", "b</w>", "a</w>", "c</w>", "ab</w>", "\n</w>"]


def test_published_vocabulary_has_that_order(shared_data):
    """The order that `make_vocabulary` keeps, read off the published files."""
    published = Tokenizer.load(shared_data / "gpt1_bpe")
    tokens, merges = published._tokens, published._merges
    size = (len(tokens) - len(merges) - 2) // 2
    alphabet = tokens[1:1 + size]
    assert tokens == ["<unk>", *alphabet, *(character + "</w>" for character in alphabet),
                      *map("".join, merges), "\n</w>"]


def _config(folder, **values):
    values = {"input": str(folder / "*.txt.gz"), "output_dir": str(folder / "bpe"),
              "num_merges": "60", "num_workers": 1} | values
    return train_bpe.TrainBpeConfig(**values)


def test_bytes_cover_every_character():
    with pytest.raises(ValueError, match="character_coverage=0.9 is not for --kind=byte_level"):
        train_bpe.TrainBpeConfig(input="x", output_dir="y", kind="byte_level",
                                 character_coverage=0.9)


@pytest.fixture(name="books")
def fixture_books(tmp_path):
    """Compressed, for those are read without waiting for TensorFlow."""
    for number in range(3):
        text = "\n".join(f"{line} {number}" for line in awkward_text.PROSE.split("\n") * 5)
        (tmp_path / f"{number}.txt.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def _read_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_bytes_in_any_process(books, monkeypatch, capsys):
    """The command, with another hash seed and number of workers, against this process."""
    subprocess.run(
        [sys.executable, "-m", "pipelines.train_bpe", f"--input={books}/*.txt.gz",
         "--num_merges=60", "--num_workers=3", f"--output_dir={books}/command"],
        check=True, cwd=REPOSITORY, env=os.environ | {"PYTHONHASHSEED": "1"})
    monkeypatch.setattr(word_counts, "_PORTION_SIZE", 300)  # many, out of step
    made = train_bpe.train(_config(books, num_workers=2))
    assert "60 merges" in capsys.readouterr().out
    assert _read_folder(books / "command") == _read_folder(books / "bpe")
    loaded = Tokenizer.load(books / "bpe")
    assert loaded.fingerprint == made.fingerprint
    assert loaded.encode("The lighthouse-keeper") == made.encode("The lighthouse-keeper")
    assert len(loaded.encode("lighthouse")) < len("lighthouse")


def test_byte_level_makes_the_same_bytes_by_any_number_of_processes(books, monkeypatch, capsys):
    monkeypatch.setattr(word_counts, "_PORTION_SIZE", 300)
    made = train_bpe.train(_config(books, kind="byte_level", num_workers=3))
    train_bpe.train(_config(books, kind="byte_level", output_dir=str(books / "other")))
    assert _read_folder(books / "bpe") == _read_folder(books / "other")
    assert set(_read_folder(books / "bpe")) == {"vocab.json", "merges.txt", "tokenizer_info.json",
                                                "SHA256SUMS"}
    assert "is a tokenizer of 316 tokens" in capsys.readouterr().out
    loaded = Tokenizer.load(books / "bpe")
    assert loaded.fingerprint == made.fingerprint and loaded.kind == "byte_level"
    parts = count_parts([Piece(gzip.decompress((books / f"{number}.txt.gz").read_bytes()).decode())
                         for number in range(3)])
    assert loaded.fingerprint == learn_byte_level(parts, 60).fingerprint


def test_text_too_small():
    counts = count_words([Piece("aba ab")], "en")
    assert len(list(learn_merges(counts))) == 3
    asked_for_more = learn_words(counts, 40_000, "en")
    assert asked_for_more.fingerprint == learn_words(counts, 3, "en").fingerprint
    for most in (1, None):
        with pytest.raises(UserError, match="too small to learn from: no two characters stand"):
            learn_words(collections.Counter("a"), most, "en")


def test_a_text_that_gives_fewer_merges_than_asked(books, capsys):
    """What there is is learned and said: each word is one token then."""
    made = train_bpe.train(_config(books, num_merges="40000"))
    out = capsys.readouterr().out
    assert f"Learned {len(made.merges)} merges" in out
    assert "gives no more merges than these, and --num_merges asks for 40,000" in out
    assert (books / "bpe" / f"vocab_{len(made.merges)}.bpe").exists()
    assert len(made.encode("lighthouse")) == 1


def test_as_many_merges_as_pairs_occur_twice(books, capsys):
    """Worked by hand: a b and a b</w> occur 4 and 2 times, then ab c</w> once."""
    counts = collections.Counter({"abc": 1, "abd": 3, "ab": 2})
    merges = [("a", "b"), ("ab", "d</w>"), ("a", "b</w>")]
    assert list(learn_merges(counts, least=2)) == merges
    assert list(learn_words(counts, None, "en").merges) == merges
    made = train_bpe.train(_config(books, num_merges="max"))
    assert f"Learned {len(made.merges)} merges" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", ""])
def test_numbers_of_merges_that_are_none(books, value):
    with pytest.raises(ValueError, match="must be a whole number from 1 on, or max"):
        _config(books, num_merges=value)


def test_byte_level_has_no_language(books):
    with pytest.raises(ValueError, match="--language=en is not for --kind=byte_level, which spli"):
        _config(books, kind="byte_level", language="en")


def test_what_does_not_suit_the_language_is_told(books, capsys):
    """Letters of another script, and a word that is too long to be one."""
    long = "аб" * 128
    (books / "4.txt").write_text(f"Это было бурной ночью. {long} {long}в\n")
    made = train_bpe.train(_config(books, input=str(books / "4.txt"), num_merges="max"))
    out, err = capsys.readouterr()
    assert "Left out as longer than 256 characters: 1 word." in out
    assert long[:64] in "".join(made.tokens) and "в" not in made.tokens
    assert "100% are not Latin, as those of --language=en" in err


def test_folders_are_kept(books):
    folder = books / "bpe"
    words = collections.Counter({"abc": 2})
    learn_words(words, 2, "en").save(folder)
    before = _read_folder(folder)
    with pytest.raises(UserError, match="--overwrite"):
        train_bpe.train(_config(books))
    assert _read_folder(folder) == before
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="more than a tokenizer"):
        train_bpe.train(_config(books, overwrite=True))
    (folder / "manifest.json").unlink()
    (books / "link").symlink_to(folder)
    with pytest.raises(UserError, match="link is no folder of its own: name another"):
        train_bpe.train(_config(books, output_dir=str(books / "link"), overwrite=True))
    (books / "link").unlink()
    train_bpe.train(_config(books, overwrite=True))
    assert set(_read_folder(folder)) == {"encoder_bpe_60.json", "vocab_60.bpe",
                                         "tokenizer_info.json", "SHA256SUMS"}
    assert [path.name for path in books.iterdir() if path.is_dir()] == ["bpe"]


@pytest.mark.parametrize("values, message", [
    ({"language": "qq"}, "cannot split words"), ({"input": "absent/*.txt"}, "no file matches")])
def test_wrong_flags(books, values, message):
    with pytest.raises(UserError, match=message):
        train_bpe.train(_config(books, **values))
    assert not (books / "bpe").exists()


def test_only_the_most_frequent_words_are_kept(books, monkeypatch):
    monkeypatch.setattr(word_counts, "_MOST_WORDS", 5)
    corpus = open_corpus(str(books / "*.txt.gz"))
    counts = count_corpus(corpus, WordTokenizer, functools.partial(count_words, language="en"),
                          1).words
    assert len(counts) == 5 and {",", "."} < set(counts)
