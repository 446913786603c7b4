"""The data folder as a whole: what is in it, and the same bytes always."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from gpt_tf.data import records
from gpt_tf.data.manifest import Manifest, Split
from gpt_tf.data.reader import SplitReader
from gpt_tf.tokenizer import Tokenizer
from pipelines import build_corpus
from pipelines.building.encoders import Encoders
from pipelines.building.plan import content_hash
from pipelines.corpus import splitting
from tests import corpora
from tests.conftest import REPOSITORY
from tests.corpora import LENGTH, contents, expected_windows, make_text, read_windows

# Fixtures are found by name.
build_fixture = corpora.build_fixture
tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture


def test_windows_are_the_documents(build, tokenizer, tmp_path):
    texts = {f"{number:02}.txt": make_text(number, 1 + number % 7) for number in range(40)}
    manifest = build(texts, validation_fraction=0.3, shard_megabytes=0.004)
    rule = int(0.3 * 2**64)
    for split, is_validation in (("train", False), ("validation", True)):
        mine = [text for text in texts.values()
                if (content_hash(text) < rule) == is_validation]
        wanted = expected_windows(tokenizer, mine)
        assert read_windows(tmp_path / "data", split) == wanted
        found = manifest.splits[split]
        assert found.documents == len(mine) > 5
        assert found.records == len(wanted)
        assert found.tokens == sum(len(tokenizer.encode(text)) for text in mine)
        assert found.predicted_tokens == sum(len(window) - 1 for window in wanted)
        assert found.text_bytes == sum(len(text.encode()) for text in mine)
        assert len(found.shards) > 2
        reader = SplitReader(tmp_path / "data", split)
        assert reader.lengths.tolist() == list(map(len, wanted))


def test_folder_describes_itself(build, tokenizer, tmp_path):
    manifest = build({"a.txt": make_text(1, 9), "b.txt": make_text(2, 9)})
    assert Manifest.load(tmp_path / "data") == manifest
    assert manifest.kind == "language_model" and manifest.sequence_length == LENGTH
    assert manifest.vocabulary_size == tokenizer.vocabulary_size
    assert manifest.tokenizer_fingerprint == tokenizer.fingerprint
    assert Tokenizer.load(tmp_path / "data").fingerprint == tokenizer.fingerprint
    assert manifest.flags["validation_fraction"] == 0.05
    assert not {"num_workers", "output_dir", "overwrite"} & set(manifest.flags)
    assert not [name for name in contents(tmp_path / "data") if "part" in name or "UNF" in name]


def test_slices_are_whole_documents(build):
    """Shard k ends with the document that brings the slice to its size."""
    texts = {f"{number}.txt": "the " * words for number, words in
             enumerate([100, 150, 10, 500, 100, 50])}  # 400, 600, 40, 2000, 400, 200 bytes
    manifest = build(texts, shard_megabytes=0.001, validation_fraction=0)
    tokens = [[100, 150], [10, 500], [100, 50]]
    assert [(shard.name, shard.records) for shard in manifest.splits["train"].shards] == [
        (f"train-{number:05}.tfrecord", sum(-(-each // LENGTH) for each in counts))
        for number, counts in enumerate(tokens)]


def test_same_bytes_whatever_the_number_of_workers(tokenizer_dir, tmp_path):
    """One huge document, one huge file of rows and small files, over several slices."""
    (tmp_path / "a.txt").write_text(make_text(0, 6000, ["once", "&"]), encoding="utf-8")
    with open(tmp_path / "b.jsonl", "w", encoding="utf-8") as stream:
        for number in range(1500):
            stream.write(json.dumps({"text": make_text(number, 3, [])}) + "\n")
    (tmp_path / "c.txt").write_text(make_text(-1, 30), encoding="utf-8")
    folders = []
    for workers in (1, 3):
        folders.append(tmp_path / str(workers))
        build_corpus.build(build_corpus.CorpusConfig(
            input=f"{tmp_path}/*.txt,{tmp_path}/*.jsonl", tokenizer=str(tokenizer_dir),
            output_dir=str(folders[-1]), num_workers=workers, shard_megabytes=0.5))
    first, other = map(contents, folders)
    assert len([name for name in first if name.endswith(".tfrecord")]) >= 4
    assert other == first
    # Cut up for several workers and put together again, the document is what it was.
    ids = Tokenizer.load(tokenizer_dir).encode((tmp_path / "a.txt").read_text(encoding="utf-8"))
    assert os.path.getsize(tmp_path / "a.txt") > 3 * splitting._CHUNK_SIZE
    reader = SplitReader(folders[0], "train")
    whole = len(ids) * 9 // 10 // 512  # its last part is validation
    windows = records.parse(reader.read(range(whole)), 512)
    np.testing.assert_array_equal(windows["token_ids"].numpy().reshape(-1), ids[:whole * 512])


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("kind", ["paragraphs", "one line"])
def test_one_document_gives_its_last_part(build, tokenizer, tmp_path, capsys, copies, kind):
    text = make_text(5, 200) if kind == "paragraphs" else make_text(5, 200).replace("\n", " ")
    manifest = build({f"{copy}.txt": text for copy in range(copies)}, validation_fraction=0.1)
    splits = [manifest.splits[name] for name in ("train", "validation")]
    assert sum(split.text_bytes for split in splits) == copies * len(text.encode())
    assert 0.09 < splits[1].text_bytes / (copies * len(text.encode())) < 0.11
    place = splits[0].text_bytes // copies  # no character before it has more than a byte ...
    place = len(text.encode()[:place].decode())  # ... or some have
    assert text[place - 1].isspace() and not text[place].isspace()
    assert read_windows(tmp_path / "data", "train") == expected_windows(
        tokenizer, copies * [text[:place]])
    assert read_windows(tmp_path / "data", "validation") == expected_windows(
        tokenizer, copies * [text[place:]])
    out = capsys.readouterr().out
    assert re.search(r"Validation is (9|10)\.\d% of the tokens \(--validation_fraction=0.1\): the "
                     "last part of 1 of the documents", out)


@pytest.mark.parametrize("sizes", [(130, 1), (77, 50), (9, 9), (30, 1, 1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_few_documents_are_split_near_the_fraction(build, capsys, sizes, seed):
    """Whatever their hashes say. 336 and 2.6 KB once gave 99% to validation."""
    texts = {f"{number}.txt": make_text(10 * seed + number, 9 * size)
             for number, size in enumerate(sizes)}
    splits = build(texts, validation_fraction=0.1, sequence_length=64).splits
    share = splits["validation"].tokens / sum(split.tokens for split in splits.values())
    assert 0.07 < share < 0.2
    out, err = capsys.readouterr()
    assert f"Validation is {share:.1%} of the tokens (--validation_fraction=0.1): " in out
    assert "far from" not in err


def test_letters_of_another_language_are_told(build, capsys):
    text = "Это было тёмной и бурной ночью; шёл дождь. " * 3
    build({"a.txt": text, "b.txt": f"{text} 2"})
    assert "100% are not Latin, as those of --language=en are; most of these are Cyrillic" in (
        capsys.readouterr().err)


def test_a_text_too_short_to_be_cut(build, capsys):
    manifest = build({"a.txt": "the"})
    assert manifest.splits["validation"].records == 0
    out, err = capsys.readouterr()
    assert "There is no validation: the text is too short to cut one off." in err
    assert out.splitlines()[-1].endswith("--model_dir=runs/data --early_stopping=0")


def test_a_share_that_is_far_from_the_flag(build, capsys):
    """By tokens, where a digit is one and "the" is one, too."""
    build({"a.txt": "the " * 200 + "\n" + "1" * 40}, validation_fraction=0.05)
    out, err = capsys.readouterr()
    assert "Validation is 16.7% of the tokens (--validation_fraction=0.05): the last part" in out
    assert "Validation is far from 5.0% of the tokens: give more text, or another" in err


def test_no_validation_when_none_is_asked_for(build, tmp_path, capsys):
    manifest = build({"a.txt": make_text(1, 5)}, validation_fraction=0)
    assert manifest.splits["validation"] == Split((), 0, 0, 0, 0, 0)
    assert not list((tmp_path / "data").glob("validation*"))
    out = capsys.readouterr().out
    assert "There is no validation, as --validation_fraction=0 asks." in out
    assert out.splitlines()[-1].endswith("--model_dir=runs/data --early_stopping=0")


def test_summary(build, capsys):
    build({"a.txt": "\u00fcber the and in\n", "b.txt": "", "c.txt": b"Zo\xeb"},
          validation_fraction=0, on_bad_utf8="skip")
    out = capsys.readouterr().out
    # u-umlaut b e r the and in: 7 tokens of 17 bytes with the line break, one of them unknown.
    line = next(line.split() for line in out.splitlines() if line.startswith("  train"))
    assert line == ["train", "1", "1", "7", "2.429", "14.2857%"]
    assert "Skipped as empty: 1 documents." in out
    assert "Skipped as not UTF-8: 1 documents." in out
    assert "python -m gpt_tf.pretrain" in out


def test_workers_import_no_tensorflow(tokenizer_dir):
    with Encoders(tokenizer_dir, 1) as encoders:
        modules, = encoders.map(eval, ["set(__import__('sys').modules)"])
    assert "gpt_tf.tokenizer" in modules and "tensorflow" not in modules


def test_huge_file_is_never_whole_in_memory(tmp_path):
    """Reading 80 MB in pieces adds far less than that to the process."""
    with open(tmp_path / "a.txt", "w", encoding="utf-8") as stream:
        line = "the quick brown fox " * 5 + "\n"
        stream.write(line * (80_000_000 // len(line)))
    code = f"""
import resource
from gpt_tf.tokenizer.cleaning import split_text
from pipelines.corpus import splitting
from tests.corpora import open_corpus
corpus = open_corpus({str(tmp_path / 'a.txt')!r})
first = next(next(iter(corpus.documents())).blocks())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rule = splitting.SplitRule(0)
chunks = splitting.cut_chunks(corpus.documents(), rule, split_text, "slice-00000")
size = sum(chunk.origin.text_bytes for chunk in chunks)
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True,
                          capture_output=True, text=True)
    size, kilobytes = map(int, done.stdout.split())
    assert size == os.path.getsize(tmp_path / "a.txt")
    assert kilobytes < 30_000
