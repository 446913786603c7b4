"""A task's data folder as a whole: which sequences, which splits, and the same bytes always."""

import collections
import json
import math
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import lock_folder
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.data.reader import SplitReader
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer
from pipelines import build_task
from pipelines.build_task import TaskConfig
from pipelines.building import frame
from pipelines.tasks import shards, splits
from tests import corpora
from tests.commands import run_command
from tests.conftest import REPOSITORY
from tests.corpora import contents

# Fixtures are found by name.
tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture

WORDS = ["the", "and", "in", "then", "it's", "warm", "42", "end."]


def sentence(number):
    """A sentence of its own for each number."""
    return " ".join(WORDS[digit] for digit in map(int, f"{number:o}"))


def sst2(rows):
    """SST-2's file of (sentence, label)."""
    return "".join(f"{text}\t{label}\n" for text, label in [("sentence", "label"), *rows])


@pytest.fixture(name="build")
def build_fixture(tmp_path, tokenizer_dir, monkeypatch):
    """Calls `build_task.build` on the files given, in this process and in shards of 6 rows."""
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    monkeypatch.setattr(splits, "_CHUNK_ROWS", 3)
    monkeypatch.setattr(splits, "_SHARD_ROWS", 6)

    def build(task, files, **flags):
        source = tmp_path / "source"
        for name, text in files.items():
            (source / name).parent.mkdir(exist_ok=True, parents=True)
            (source / name).write_text(text, encoding="utf-8")
        flags = dict(task=task, input=str(source), tokenizer=str(tokenizer_dir), num_workers=1,
                     output_dir=str(tmp_path / "data")) | flags
        return build_task.build(TaskConfig(**flags))
    return build


def read_split(folder, split):
    """(index, label, sequences) of all records, in order, by TensorFlow's own reader."""
    rows = []
    for path in sorted(pathlib.Path(folder).glob(f"{split}-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            ids = tf.RaggedTensor.from_row_lengths(
                feature["token_ids"].int64_list.value, feature["lengths"].int64_list.value)
            label, = feature["label"].int64_list.value or feature["label"].float_list.value
            index, = feature["index"].int64_list.value
            rows.append((index, label, ids.to_list()))
    return rows


def test_folder_describes_itself(build, tokenizer, tmp_path):
    train = [(sentence(number), number % 2) for number in range(20)]
    manifest = build("sst2", {"train.tsv": sst2(train), "dev.tsv": sst2(train[:5])})
    assert Manifest.load(tmp_path / "data") == manifest
    assert manifest.kind == "task" and manifest.sequence_length == 512
    assert manifest.task == Task("sst2", "classification", 1, ("0", "1"), (), ("accuracy",),
                                 label_names=("negative", "positive"), columns=(("sentence",),))
    assert manifest.vocabulary_size == tokenizer.vocabulary_size
    assert manifest.tokenizer_fingerprint == tokenizer.fingerprint
    assert Tokenizer.load(tmp_path / "data").fingerprint == tokenizer.fingerprint
    assert {"task", "input", "max_length", "validation_fraction", "on_bad_row"} <= set(
        manifest.flags)
    assert not {"num_workers", "output_dir", "overwrite"} & set(manifest.flags)
    assert not [name for name in contents(tmp_path / "data") if "part" in name or "UNF" in name]
    for name, rows, records in (("train", train, [6, 6, 6, 2]), ("validation", train[:5], [5])):
        start, _, extract = range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 3)
        wanted = [(number, label, [[start, *tokenizer.encode(text), extract]])
                  for number, (text, label) in enumerate(rows)]
        assert read_split(tmp_path / "data", name) == wanted
        sizes = [len(sequences[0]) for _, _, sequences in wanted]
        split = manifest.splits[name]
        assert [shard.records for shard in split.shards] == records
        assert (split.documents, split.records, split.left_out) == (len(rows), len(rows), {})
        assert (split.tokens, split.predicted_tokens) == (sum(sizes), sum(sizes) - len(sizes))
        assert split.text_bytes == sum(len(text.encode()) for text, _ in rows)
        assert (split.labelled, split.shortened) == (True, 0)
        assert SplitReader(tmp_path / "data", name).lengths.tolist() == sizes


def test_other_labels_are_other_data(build, tmp_path):
    """Of the same lengths in bytes: a run does not go on with them."""
    rows = [(sentence(number), number % 2) for number in range(20)]
    corrected = [(text, 1 - label) for text, label in rows]
    found = [build("sst2", {"train.tsv": sst2(each), "dev.tsv": sst2(rows[:5])},
                   output_dir=str(tmp_path / str(number))).fingerprint
             for number, each in enumerate((rows, corrected, rows))]
    assert found[0] == found[2] != found[1]


def test_a_split_that_is_named_twice(build, tmp_path):
    rows = [(sentence(number), number % 2) for number in range(20)]
    source = tmp_path / "source"
    with pytest.raises(UserError, match="names train twice"):
        build("sst2", {"a.tsv": sst2(rows), "b.tsv": sst2(rows)},
              input=f"train={source}/a.tsv,train={source}/b.tsv")


def test_rows_known_by_heart_and_rows_that_contradict_are_told(build, capsys):
    rows = [(sentence(number), number % 2) for number in range(40)]
    train = [*rows[:30], (sentence(0), 1), (sentence(1), 1)]  # 0 with both labels, 1 twice
    build("sst2", {"train.tsv": sst2(train), "dev.tsv": sst2(rows[10:])})
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert told == [
        "Warning: 2 rows of train have texts that stand there with another label, too: no model "
        "can answer both; correct or remove them.",
        "Warning: 20 rows of validation have the texts of training rows: what is measured on them "
        "is memory; take them out of one of the two."]


def test_entailment(build, tokenizer, tmp_path):
    header = "index\tsentence1\tsentence2\tlabel\n"
    build("rte", {"train.tsv": header + "0\tthe end.\tand then\tnot_entailment\n",
                  "dev.tsv": header + "0\tin\tthe\tentailment\n",
                  "test.tsv": "index\tsentence1\tsentence2\n0\tin\tthen\n1\tand\tin\n"})
    start, delimiter, extract = range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 3)
    encode = tokenizer.encode
    assert read_split(tmp_path / "data", "train") == [
        (0, 1, [[start, *encode("the end."), delimiter, *encode("and then"), extract]])]
    assert read_split(tmp_path / "data", "test") == [
        (0, -1, [[start, *encode("in"), delimiter, *encode("then"), extract]]),
        (1, -1, [[start, *encode("and"), delimiter, *encode("in"), extract]])]
    splits = Manifest.load(tmp_path / "data").splits
    assert {name: split.labelled for name, split in splits.items()} == {
        "train": True, "validation": True, "test": False}


def test_similarity_of_scores(build, tokenizer, tmp_path):
    rows = "".join(f"genre\tfile\t2012\t{number}\t{number / 4}\tthe end.\tand {WORDS[number]}\n"
                   for number in range(4))
    manifest = build("stsb", {"sts-train.csv": rows, "sts-dev.csv": rows})
    start, delimiter, extract = range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 3)
    first, second = tokenizer.encode("the end."), tokenizer.encode("and in")
    assert read_split(tmp_path / "data", "train")[2] == (2, 0.5, [
        [start, *first, delimiter, *second, extract], [start, *second, delimiter, *first, extract]])
    assert manifest.task.is_score and manifest.task.num_classes == 6
    batch, = evaluation_batches(tmp_path / "data", "validation", 5)
    assert dict(zip(batch["split_positions"].numpy(), batch["labels"].numpy())) == {
        0: 0, 1: 0.25, 2: 0.5, 3: 0.75, -1: 0}


def test_multiple_choice(build, tokenizer, tmp_path):
    passage = {"article": "it's warm", "questions": ["then", "and"], "id": "x",
               "options": [["the", "in", "42", "end."], ["in the end.", "the", "and", "in"]],
               "answers": ["D", "A"]}
    files = {f"{split}/middle/7.txt": json.dumps(passage) for split in ("train", "dev")}
    manifest = build("race_middle", files)
    start, delimiter, extract = range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 3)
    context = tokenizer.encode("it's warm") + tokenizer.encode("and")
    assert read_split(tmp_path / "data", "train")[1] == (1, 0, [
        [start, *context, delimiter, *tokenizer.encode(answer), extract]
        for answer in ("in the end.", "the", "and", "in")])
    assert manifest.task.num_sequences == 4
    assert manifest.splits["train"].records == 2


def test_letters_of_another_language_are_told(build, capsys):
    build("sst2", {"train.tsv": sst2([(f"это было ночью в {number} часов", 1)
                                      for number in range(9)])})
    assert "100% are not Latin" in capsys.readouterr().err


def test_long_text_is_shortened(build, tmp_path, capsys):
    rows = [(sentence(0o77), 0), (" ".join(["and"] * 30), 1)]
    manifest = build("sst2", {"train.tsv": sst2(rows), "dev.tsv": sst2(rows[:1])}, max_length=20)
    assert manifest.sequence_length == 20
    assert [split.shortened for split in manifest.splits.values()] == [1, 0]
    assert len(read_split(tmp_path / "data", "train")[1][2][0]) == 20
    line = next(line.split() for line in capsys.readouterr().out.splitlines()
                if line.startswith("  train"))
    assert line[5:7] == ["20", "1"]  # longest, shortened


def test_same_bytes_whatever_the_number_of_workers(tokenizer_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "_CHUNK_ROWS", 16)
    monkeypatch.setattr(splits, "_SHARD_ROWS", 64)
    (tmp_path / "train.tsv").write_text(
        sst2((sentence(number), number % 2) for number in range(300)), encoding="utf-8")
    folders = []
    for workers in (1, 3):
        folders.append(tmp_path / str(workers))
        build_task.build(TaskConfig(task="sst2", input=str(tmp_path), tokenizer=str(tokenizer_dir),
                                    output_dir=str(folders[-1]), num_workers=workers))
    one, three = map(contents, folders)
    assert one == three
    assert len([name for name in one if name.endswith(".tfrecord")]) >= 5


def test_rows_for_validation_are_taken_by_their_text(build, tmp_path, capsys):
    """A tenth of 120 rows of 60 texts; a text is on one side only, whatever its label."""
    rows = [(sentence(number % 60), number // 60) for number in range(120)]
    manifest = build("sst2", {"train.tsv": sst2(rows)}, validation_fraction=0.1)
    train, validation = (read_split(tmp_path / "data", name) for name in ("train", "validation"))
    assert 2 < len(validation) < 30  # 12 expected
    assert sorted(index for index, _, _ in train + validation) == list(range(120))
    texts = [{tuple(sequences[0]) for _, _, sequences in split} for split in (train, validation)]
    assert not texts[0] & texts[1]
    assert [index for index, _, _ in train] == sorted(index for index, _, _ in train)
    assert manifest.splits["validation"].documents == len(validation)
    out = capsys.readouterr().out
    assert "no validation split: about 10% of its training rows" in out
    # The same rows again, in another order: the same side each.
    build("sst2", {"train.tsv": sst2(rows[::-1])}, overwrite=True)
    assert {tuple(sequences[0]) for _, _, sequences in
            read_split(tmp_path / "data", "validation")} == texts[1]


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_neither_side_is_empty(build, fraction):
    rows = [(sentence(number), number % 2) for number in range(9)]
    splits = build("sst2", {"train.tsv": sst2(rows)}, validation_fraction=fraction).splits
    assert sorted(split.records for split in splits.values()) == [1, 8]


def test_validation_of_the_source_is_left_alone(build, capsys):
    rows = [(sentence(number), number % 2) for number in range(9)]
    splits = build("sst2", {"train.tsv": sst2(rows), "dev.tsv": sst2(rows[:2])},
                   validation_fraction=0.5).splits
    assert [split.records for split in splits.values()] == [9, 2]
    assert "no validation" not in capsys.readouterr().out


@pytest.mark.parametrize("rows, fraction", [(9, 0), (1, 0.5)])
def test_no_validation(build, capsys, rows, fraction):
    """None is asked for, or there is but one text."""
    rows = [(sentence(number), number % 2) for number in range(rows)]
    splits = build("sst2", {"train.tsv": sst2(rows)}, validation_fraction=fraction).splits
    assert list(splits) == ["train"]
    assert "There is no validation" in capsys.readouterr().out


BAD = [("only one column\n", "line 4: 1 columns"), ("the end.\t7\n", "line 4: the label '7'"),
       ("\t1\n", "line 4: a text is empty"),
       ("\x01\t1\n", "line 4: a text is empty")]  # what ftfy takes away


@pytest.mark.parametrize("row, message", BAD)
def test_a_bad_row_stops(build, row, message):
    with pytest.raises(UserError, match=f"train.tsv, {message}.*--on_bad_row=skip"):
        build("sst2", {"train.tsv": sst2([("the", 0), ("and", 1)]) + row})


def test_bad_rows_are_skipped_and_counted(build, tmp_path, capsys):
    text = sst2([("the", 0)]) + "".join(row for row, _ in BAD) + "and\t1\n"
    manifest = build("sst2", {"train.tsv": text, "dev.tsv": sst2([("in", 0)])}, on_bad_row="skip")
    assert manifest.splits["train"].left_out == {
        "empty": 2, "unknown label": 1, "wrong number of columns": 1}
    assert manifest.splits["train"].documents == 6 and manifest.splits["train"].records == 2
    # A row keeps the number it has in its file.
    assert [row[:2] for row in read_split(tmp_path / "data", "train")] == [(0, 0), (5, 1)]
    out = capsys.readouterr().out
    assert "Left out of train: 2 rows (empty)." in out
    line = next(line.split() for line in out.splitlines() if line.startswith("  train"))
    assert line[1:4] == ["6", "2", "4"]


def test_skipped_rows_of_a_shared_split_count_once(build):
    rows = [(sentence(number), number % 2) for number in range(40)]
    text = sst2(rows) + "\x01\t1\n" + "the\n" * 3
    splits = build("sst2", {"train.tsv": text}, on_bad_row="skip",
                   validation_fraction=0.3).splits
    assert sum((collections.Counter(split.left_out) for split in splits.values()),
               collections.Counter()) == {"wrong number of columns": 3, "empty": 1}
    assert sum(split.documents for split in splits.values()) == 44
    assert sum(split.records for split in splits.values()) == 40


@pytest.mark.parametrize("text, message", [
    (sst2([]), "holds no rows"), (sst2([("\x01", 0)]), "no row with text in it")])
def test_nothing_to_build(build, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        build("sst2", {"train.tsv": text}, on_bad_row="skip")
    with pytest.raises(UserError, match="No manifest.json"):
        Manifest.load(tmp_path / "data")


def test_bad_input_does_not_cost_the_folder(build, tmp_path):
    files = {"train.tsv": sst2([("the", 0), ("and", 1)]), "dev.tsv": sst2([("in", 0)])}
    build("sst2", files)
    before = contents(tmp_path / "data")
    with pytest.raises(UserError, match="--overwrite"):
        build("sst2", files)
    with pytest.raises(UserError, match="dev.tsv, line 3"):
        build("sst2", {"dev.tsv": files["dev.tsv"] + "the\n"}, overwrite=True)
    assert contents(tmp_path / "data") == before
    with lock_folder(tmp_path / "data"), pytest.raises(UserError, match="Another process"):
        build("sst2", files, overwrite=True)


def test_stopped_build_is_refused_and_made_again(build, tmp_path, monkeypatch):
    files = {"train.tsv": sst2((sentence(number), 0) for number in range(20)),
             "dev.tsv": sst2([("in", 0)])}
    build("sst2", files, output_dir=str(tmp_path / "whole"))
    encode, calls = shards.encode_rows, []

    def stop_at_fifth(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "encode_rows", stop_at_fifth)
        with pytest.raises(KeyboardInterrupt):
            build("sst2", {})
    found = contents(tmp_path / "data")
    assert b"pipelines.build_task" in found["UNFINISHED"] and "train-00000.tfrecord" in found
    assert not [name for name in found if "part" in name]
    with pytest.raises(UserError, match="not a finished data folder"):
        SplitReader(tmp_path / "data", "train")
    build("sst2", {})
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


@pytest.mark.parametrize("flags, message", [
    ({"task": ""}, "--task must be given"), ({"input": ""}, "--input must be given"),
    ({"tokenizer": ""}, "--tokenizer"), ({"output_dir": ""}, "--output_dir"),
    ({"max_length": 3}, "--max_length=3"), ({"num_workers": -1}, "--num_workers=-1"),
    ({"validation_fraction": 1.0}, "--validation_fraction=1.0")])
def test_bad_flags(flags, message):
    with pytest.raises(ValueError, match=message):
        TaskConfig(**(dict(task="sst2", input="a", tokenizer="b", output_dir="c") | flags))


def test_summary(build, capsys):
    rows = [("the and in", 0), ("the and in", 1), ("then", 1), ("in", 1)]
    build("sst2", {"train.tsv": sst2(rows), "dev.tsv": sst2(rows[:1])})
    out = capsys.readouterr().out
    assert "(sst2: classification) from 5 rows" in out
    # the and in: 3 tokens; then: the-n, 2; in: 1; start and extract for each.
    line = next(line.split() for line in out.splitlines() if line.startswith("  train"))
    assert line == ["train", "4", "4", "0", str(3 + 3 + 3 + 1 + 8), "5", "0", "negative:",
                    "25.0%,", "positive:", "75.0%"]
    assert "\nNext" in out


def test_published_rows_are_all_built(build, shared_data, tmp_path, monkeypatch):
    """STS-B, whose rows have 7 or 9 columns, quotes and all."""
    monkeypatch.setattr(splits, "_CHUNK_ROWS", 256)
    monkeypatch.setattr(splits, "_SHARD_ROWS", 512)
    manifest = build("stsb", {}, input=str(shared_data / "tasks" / "STS-B"))
    assert [split.records for split in manifest.splits.values()] == [5749, 1500]
    labels = [label for _, label, _ in read_split(tmp_path / "data", "validation")]
    lines = (shared_data / "tasks" / "STS-B" / "sts-dev.csv").read_text().splitlines()
    assert all(math.isclose(label, float(line.split("\t")[4]), rel_tol=1e-6)
               for label, line in zip(labels, lines, strict=True))


def test_command(tokenizer_dir, tmp_path):
    """The command as typed: its words, its exit codes, no traceback; a worker's error, too."""
    (tmp_path / "train.tsv").write_text(sst2([("the", 0), ("and", 1), ("in", 0)]))
    flags = ["pipelines.build_task", "--task=SST-2", f"--input={tmp_path}",
             f"--tokenizer={tokenizer_dir}", f"--output_dir={tmp_path}/data", "--num_workers=1",
             "--validation_fraction=0.3"]
    done = subprocess.run([sys.executable, "-m", *flags], cwd=REPOSITORY, capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Built" in done.stdout and "Traceback" not in done.stderr
    (tmp_path / "train.tsv").write_text(sst2([("the", 0), ("\x01", 1)]))
    done = run_command(*flags, "--overwrite")
    assert done.code == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/train.tsv, line 3: a text")


def test_help_names_the_choices():
    done = run_command("pipelines.build_task", "--help")
    assert done.code == 0 and "--on_bad_row: <stop|skip>" in done.stdout
