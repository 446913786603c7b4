"""Small corpora and the data folders made of them, for the tests of build_corpus."""

import pathlib
import random
import string
from typing import Any

import pytest
import tensorflow as tf

from gpt_tf.tokenizer import ByteLevelTokenizer, Tokenizer, WordTokenizer
from gpt_tf.tokenizer.cleaning import Piece
from pipelines import build_corpus
from pipelines.building import frame
from pipelines.corpus.corpus import InputConfig
from pipelines.corpus.merges import learn_byte_level
from pipelines.corpus.word_counts import count_parts
from tests import awkward_text, languages

LENGTH = 16


def open_corpus(given, **flags):
    """The corpus that `--input=given` and other flags name."""
    return InputConfig(input=str(given), **flags).open_corpus()


def make_tokenizer() -> Tokenizer:
    """Letters and a few merges."""
    symbols = [*string.ascii_lowercase, *string.digits, *".,;'\"-<&"]
    merges = [("t", "h"), ("th", "e</w>"), ("a", "n"), ("an", "d</w>"), ("i", "n</w>")]
    tokens = ["<unk>", *symbols, *(symbol + "</w>" for symbol in symbols),
              *("".join(pair) for pair in merges), "\n</w>"]
    return WordTokenizer({token: index for index, token in enumerate(tokens)}, merges)


def make_byte_level_tokenizer() -> ByteLevelTokenizer:
    """Bytes and 200 merges of texts of many languages."""
    texts = [awkward_text.PROSE, *languages.TEXTS.values(), "\n\n  " * 9]
    return learn_byte_level(count_parts(map(Piece, texts)), 200)


def keras_arguments(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `GPTTokenizer` takes to be of the same vocabulary."""
    return {"vocabulary": {token: index for index, token in enumerate(tokenizer.tokens)},
            "merges": list(map(" ".join, tokenizer.merges))}


@pytest.fixture(name="tokenizer_dir", scope="session")
def tokenizer_dir_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save(folder)
    return folder


@pytest.fixture(name="tokenizer", scope="session")
def tokenizer_fixture(tokenizer_dir):
    return Tokenizer.load(tokenizer_dir)


class InProcess:
    """Stands for `Encoders` where processes are not what is tested."""

    def __init__(self, tokenizer_dir, num_workers):
        del tokenizer_dir
        assert num_workers > 0

    def map(self, function, items):
        return map(function, items)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture(name="build")
def build_fixture(tmp_path, tokenizer_dir, monkeypatch):
    """Calls `build_corpus.build` on the files given, as fast as it goes."""
    monkeypatch.setattr(frame, "Encoders", InProcess)

    def build(files, **flags):
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        for name, text in files.items():
            (source / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        flags = dict(input=f"{source}/*", tokenizer=str(tokenizer_dir), num_workers=1,
                     output_dir=str(tmp_path / "data"), sequence_length=LENGTH) | flags
        return build_corpus.build(build_corpus.CorpusConfig(**flags))
    return build


AWKWARD_WORDS = ["it's", "Zo\u00eb", "<b>", "&amp;", "\u201cwell\u201d", "42", "end."]


def make_text(seed, paragraphs, more_words=AWKWARD_WORDS):
    generator = random.Random(seed)
    words = ["the", "and", "in", "then", *more_words]
    return "\n\n".join(" ".join(generator.choices(words, k=generator.randint(1, 90)))
                       for _ in range(paragraphs)) + f" {seed}\n"


def read_windows(folder, split):
    """All windows without their padding, in order, by TensorFlow's own reader."""
    windows = []
    for path in sorted(pathlib.Path(folder).glob(f"{split}-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            ids = list(feature["token_ids"].int64_list.value)
            length, = feature["length"].int64_list.value
            assert len(ids) == LENGTH and length >= 2 and not any(ids[length:])
            windows.append(ids[:length])
    return windows


def expected_windows(tokenizer, texts):
    cut = [ids[start:start + LENGTH] for ids in map(tokenizer.encode, texts)
           for start in range(0, len(ids), LENGTH)]
    return [window for window in cut if len(window) > 1]


def contents(folder):
    """All files of a folder and of those in it, by name."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}
