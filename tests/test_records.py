"""The data folder: TensorFlow reads what we write, and what was altered is named."""

import dataclasses
import hashlib
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import write_recorded
from gpt_tf.data import records
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK, Manifest, TaskSplit
from gpt_tf.data.reader import SplitReader
from gpt_tf.data.wire import frame
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.task import Task
from pipelines.building import shard_writer
from pipelines.corpus.windows import ShardTotals, WindowWriter, make_split


def make_folder(folder, windows_per_shard=(3, 2), sequence_length=8, seed=0):
    """A data folder whose record i of the split "train" starts with token 1000 + i."""
    generator = np.random.default_rng(seed)
    shards, number = [], 0
    for shard, windows in enumerate(windows_per_shard):
        with WindowWriter(folder, "train", shard, sequence_length) as out:
            for _ in range(windows):
                length = int(generator.integers(2, sequence_length + 1))
                tokens = generator.integers(1, 40_000, length).astype(np.int32)
                tokens[0] = 1000 + number
                number += 1
                out.add(tokens, ends=[length], text_bytes=4 * length)
            shards.append(out.finish())
    Manifest(
        kind=LANGUAGE_MODEL, sequence_length=sequence_length, vocabulary_size=40_478,
        tokenizer_fingerprint="abc", splits={"train": make_split(shards)},
        flags={"sequence_length": sequence_length}).save(folder)
    return folder


PAIRS = Task("pairs", "similarity", 2, ("no", "yes"), (), ("f1", "accuracy"))
SCORES = Task("scores", "classification", 1, (), (0, 5), ("pearson",))


def make_task_folder(folder, lengths_per_shard=((9, 3, 20), (5,)), task=PAIRS, split="train",
                     sequence_length=64):
    """A task's data folder: row i has the index 10 * i, the label i modulo 2 (or i / 4), and
    sequences of the length given and, after the first, one shorter, of tokens 1000 * i, ..."""
    shards, number = [], 0
    for shard, lengths in enumerate(lengths_per_shard):
        with shard_writer.ShardWriter(folder, split, shard) as out:
            for length in lengths:
                sequences = [list(range(1000 * number + 1, 1000 * number + 1 + length - (k > 0)))
                             for k in range(task.num_sequences)]
                label = number / 4 if task.is_score else number % 2
                out.write([records.encode_example(sequences, label, 10 * number, task.is_score)],
                          [length])
                number += 1
            shards.append(out.finish())
    tokens = sum(map(sum, lengths_per_shard)) * task.num_sequences
    Manifest(
        kind=TASK, sequence_length=sequence_length, vocabulary_size=40_478,
        tokenizer_fingerprint="abc", flags={}, task=task, splits={split: TaskSplit(
            tuple(shards), documents=number + 1, records=number, tokens=tokens,
            predicted_tokens=tokens - number * task.num_sequences, text_bytes=4 * tokens,
            labelled=True, shortened=1, left_out={"empty": 1})}).save(folder)
    return folder


def alter_manifest(folder, change):
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    write_recorded(path, json.dumps(value).encode())  # as whoever accepts it


@pytest.mark.parametrize("cuts", [[], [2], [6, 7, 8], list(range(1, 15))])
def test_windows_by_hand(tmp_path, cuts):
    """T = 4; a document of 4 + 3, one of 4 + 1 (the one is not written), one of 1, one of 2;
    how the tokens arrive must not show."""
    documents = [[1, 2, 3, 4, 5, 6, 7], [8, 0, 10, 11, 12], [13], [14, 15]]
    with WindowWriter(tmp_path, "train", 0, 4) as out:
        tokens = np.array(sum(documents, []), np.int32)
        ends = np.cumsum([len(document) for document in documents])
        for piece in np.split(np.arange(len(tokens)), cuts):
            begin = piece[0] if len(piece) else 0
            inside = ends[(ends > begin) & (ends <= begin + len(piece))]
            out.add(tokens[piece], inside - begin, text_bytes=10)
        totals = out.finish()
    assert dataclasses.replace(totals, shard=None) == ShardTotals(
        None, documents=4, records=4, tokens=15, predicted_tokens=3 + 2 + 3 + 1, unknown=1,
        text_bytes=10 * len(cuts) + 10)
    dataset = tf.data.TFRecordDataset(str(tmp_path / totals.shard.name))
    found = [tf.train.Example.FromString(record.numpy()).features.feature for record in dataset]
    assert [(list(each["token_ids"].int64_list.value), list(each["length"].int64_list.value))
            for each in found] == [
        ([1, 2, 3, 4], [4]), ([5, 6, 7, 0], [3]), ([8, 0, 10, 11], [4]), ([14, 15, 0, 0], [2])]
    assert totals.shard.bytes == os.path.getsize(tmp_path / "train-00000.tfrecord")


def test_a_long_document_is_cut_on_its_windows(tmp_path):
    tokens = np.arange(1, 700_000, dtype=np.int32) % 40_000
    with WindowWriter(tmp_path, "train", 0, 510) as out:
        for start in range(0, len(tokens), 100_000):
            piece = tokens[start:start + 100_000]
            out.add(piece, [len(piece)] if start == 600_000 else [], text_bytes=1)
        totals = out.finish()
    found = []
    for record in tf.data.TFRecordDataset(str(tmp_path / totals.shard.name)).batch(64):
        batch = records.parse(record, 510)
        for ids, length in zip(batch["token_ids"].numpy(), batch["lengths"].numpy()):
            assert not ids[length:].any()
            found.append(ids[:length])
    np.testing.assert_array_equal(np.concatenate(found), tokens)


@pytest.mark.parametrize("largest", [2, 128, 129, 40_478, 1 << 14, 1 << 21, 1 << 28])
def test_bytes_are_those_of_tensorflow(largest):
    generator = np.random.default_rng(largest)
    token_ids = generator.integers(0, largest, [7, 300])
    token_ids[0, 0], token_ids[0, 1] = 0, largest - 1
    lengths = np.array([300, 127, 128, 2, 0, 1, 299])
    token_ids[np.arange(300) >= lengths[:, None]] = 0
    for record, ids, length in zip(records.encode(token_ids, lengths), token_ids, lengths,
                                  strict=True):
        example = tf.train.Example()
        example.features.feature["token_ids"].int64_list.value.extend(ids.tolist())
        example.features.feature["length"].int64_list.value.append(length)
        assert tf.train.Example.FromString(record) == example
        assert record == example.SerializeToString(deterministic=True)


def test_frames_are_those_of_tensorflow(tmp_path):
    contents = [b"", b"a", bytes(range(256)) * 9]
    path = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(path)) as theirs:
        for record in contents:
            theirs.write(record)
    assert path.read_bytes() == b"".join(map(frame, contents))


EXAMPLES = [
    ([[40478, 7, 128, 40480]], 1, 0, False), ([[5], [], [16384, 2]], 0, 549_366, False),
    ([[1, 2]], None, 3, False), ([[1, 2], [3]], 3.2, 127, True), ([[9]], None, 128, True),
]


@pytest.mark.parametrize("token_ids, label, index, is_score", EXAMPLES)
def test_example_bytes_are_those_of_tensorflow(token_ids, label, index, is_score):
    wanted = tf.train.Example()
    feature = wanted.features.feature
    feature["token_ids"].int64_list.value.extend(sum(token_ids, []))
    feature["lengths"].int64_list.value.extend(map(len, token_ids))
    feature["index"].int64_list.value.append(index)
    if is_score:
        feature["label"].float_list.value.append(float("nan") if label is None else label)
    else:
        feature["label"].int64_list.value.append(-1 if label is None else label)
    record = records.encode_example(token_ids, label, index, is_score)
    assert record == wanted.SerializeToString(deterministic=True)


@pytest.mark.parametrize("token_ids, label, index, is_score", EXAMPLES)
def test_any_tool_reads_an_example(token_ids, label, index, is_score):
    found = tf.io.parse_single_example(records.encode_example(token_ids, label, index, is_score), {
        "token_ids": tf.io.VarLenFeature(tf.int64),
        "lengths": tf.io.FixedLenFeature([len(token_ids)], tf.int64),
        "label": tf.io.FixedLenFeature([1], tf.float32 if is_score else tf.int64),
        "index": tf.io.FixedLenFeature([1], tf.int64)})
    assert found["token_ids"].values.numpy().tolist() == sum(token_ids, [])
    assert found["lengths"].numpy().tolist() == list(map(len, token_ids))
    assert found["index"].numpy().tolist() == [index]
    absent = float("nan") if is_score else -1
    np.testing.assert_array_equal(found["label"].numpy(),
                                  np.array([absent if label is None else label], np.float32))


def test_examples_parsed_by_hand():
    serialized = [records.encode_example([[7, 8, 9], [5]], 1, 4, False),
                  records.encode_example([[6, 3], [2, 1]], None, 2**40, False),
                  records.encode_example([[], []], 0, -1, False)]
    batch = {name: value.numpy() for name, value in
             records.parse_examples(serialized, PAIRS, 4).items()}
    assert batch["token_ids"].tolist() == [[[7, 8, 9, 0], [5, 0, 0, 0]],
                                           [[6, 3, 0, 0], [2, 1, 0, 0]], [[0] * 4] * 2]
    assert batch["lengths"].tolist() == [[3, 1], [2, 2], [0, 0]]
    assert batch["labels"].tolist() == [1, -1, 0]
    assert batch["source_rows"].tolist() == [4, 2**40, -1]
    assert {name: value.dtype.name for name, value in batch.items()} == {
        "token_ids": "int32", "lengths": "int32", "labels": "int32", "source_rows": "int64"}


def test_scores_are_parsed_as_numbers():
    serialized = [records.encode_example([[7]], label, 0, True) for label in (4.75, None)]
    labels = records.parse_examples(serialized, SCORES, 1)["labels"]
    assert labels.dtype == tf.float32
    np.testing.assert_array_equal(labels, [4.75, np.nan])


@pytest.mark.parametrize("bad", [-1, 1 << 28])
def test_ids_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="outside"):
        records.encode(np.array([[1, bad]]), np.array([2]))


def test_reader_finds_any_record(tmp_path):
    reader = SplitReader(make_folder(tmp_path, (3, 1, 4)), "train")
    assert len(reader) == 8
    batch = records.parse(reader.read([7, 0, 3, 3, 2]), 8)
    assert batch["token_ids"][:, 0].numpy().tolist() == [1007, 1000, 1003, 1003, 1002]
    np.testing.assert_array_equal(batch["lengths"], reader.lengths[[7, 0, 3, 3, 2]])
    assert batch["token_ids"].dtype == batch["lengths"].dtype == tf.int32


def test_manifest_comes_back_equal(tmp_path):
    manifest = Manifest.load(make_folder(tmp_path))
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert manifest.splits["train"].records == 5


@pytest.mark.parametrize("task, classes", [(PAIRS, 2), (SCORES, 6)])
def test_manifest_of_a_task_comes_back_equal(tmp_path, task, classes):
    manifest = Manifest.load(make_task_folder(tmp_path, task=task))
    assert manifest.task == task and manifest.task.num_classes == classes
    assert manifest.splits["train"].left_out == {"empty": 1}
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    reader = SplitReader(tmp_path, "train")
    assert reader.lengths.tolist() == [9, 3, 20, 5]
    batch = records.parse_examples(reader.read([3, 1]), task, 5)
    assert batch["source_rows"].numpy().tolist() == [30, 10]


def test_fingerprint_is_of_what_training_sees(tmp_path):
    manifest = Manifest.load(make_task_folder(tmp_path))
    assert dataclasses.replace(manifest, flags={"a": 1}).fingerprint == manifest.fingerprint
    other = dataclasses.replace(manifest, task=dataclasses.replace(PAIRS, labels=("yes", "no")))
    assert other.fingerprint != manifest.fingerprint
    # A run that began before labels had names goes on with the same data, built again.
    named = dataclasses.replace(PAIRS, label_names=("other", "alike"))
    assert dataclasses.replace(manifest, task=named).fingerprint == manifest.fingerprint


def test_fingerprint_is_of_the_shards_bytes(tmp_path):
    manifest = Manifest.load(make_task_folder(tmp_path))
    for split in manifest.splits.values():
        for shard in split.shards:
            content = (tmp_path / shard.name).read_bytes()
            assert shard.sha256 == hashlib.sha256(content).hexdigest()
    path = tmp_path / "manifest.json"
    value = json.loads(path.read_text())
    value["splits"]["train"]["shards"][0]["sha256"] = "0" * 64  # as with another label
    (tmp_path / "SHA256SUMS").unlink()
    path.write_text(json.dumps(value))
    assert Manifest.load(tmp_path).fingerprint != manifest.fingerprint
    # Of an older release, which a run may go on with: what it was.
    for split in value["splits"].values():
        for shard in split["shards"]:
            del shard["sha256"]
    path.write_text(json.dumps(value))
    seen = json.dumps(value | {"flags": {}}, sort_keys=True)
    assert Manifest.load(tmp_path).fingerprint == hashlib.sha256(seen.encode()).hexdigest()


def test_names_of_labels_may_be_missing(tmp_path):
    manifest = Manifest.load(make_task_folder(tmp_path))
    path = tmp_path / "manifest.json"
    assert "label_names" not in path.read_text()
    assert class_names(manifest.task) == ("no", "yes")
    named = dataclasses.replace(
        manifest, task=dataclasses.replace(PAIRS, label_names=("other", "alike")))
    named.save(tmp_path)
    assert json.loads(path.read_text())["task"]["label_names"] == ["other", "alike"]
    assert Manifest.load(tmp_path) == named and class_names(named.task) == ("other", "alike")


def test_folder_without_manifest_is_refused(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="No manifest.json in .*pipelines.build_corpus"):
        SplitReader(tmp_path, "train")


@pytest.mark.parametrize("change, message", [
    (lambda m: m.update(format_version=1), "format_version is 1"),
    (lambda m: m.update(sequence_length="8"), "sequence_length cannot be '8'"),
    (lambda m: m.update(sequence_length=True), "sequence_length cannot be True"),
    (lambda m: m.pop("kind"), "kind missing"),
    (lambda m: m.update(splits=[]), "splits cannot be"),
    (lambda m: m["splits"].update(train=3), "split train"),
    (lambda m: m["splits"]["train"].update(records=-5), "records cannot be -5"),
    (lambda m: m["splits"]["train"].update(records=6), "do not add up to 6"),
    (lambda m: m["splits"]["train"]["shards"][0].update(name="../x-00000.tfrecord"),
     "not a shard's name"),
    (lambda m: m["splits"]["train"]["shards"][0].update(name="/etc/passwd"), "not a shard's name"),
])
def test_altered_manifest_is_refused(tmp_path, change, message):
    alter_manifest(make_folder(tmp_path), change)
    with pytest.raises(UserError, match=message):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("change, message", [
    (lambda m: m.update(task=None), "'task' is not known, or not with that task"),
    (lambda m: m.update(kind="language_model"), "not with that task"),
    (lambda m: m.update(kind="tasks"), "'tasks' is not known"),
    (lambda m: m.update(task=[1]), "task: expected a JSON object"),
    (lambda m: m["task"].pop("labels"), "task: labels missing"),
    (lambda m: m["task"].update(labels="ab"), "labels cannot be 'ab'"),
    (lambda m: m["task"].update(labels=["a", 1]), "labels cannot be"),
    (lambda m: m["task"].update(labels=["a"]), "describes no task"),
    (lambda m: m["task"].update(score_range=[0, 5]), "describes no task"),
    (lambda m: m["task"].update(labels=[], score_range=[5]), "describes no task"),
    (lambda m: m["task"].update(labels=[], score_range=[5, 5]), "describes no task"),
    (lambda m: m["task"].update(metrics=[]), "describes no task"),
    (lambda m: m["task"].update(num_sequences=0), "describes no task"),
    (lambda m: m["task"].update(label_names="ab"), "label_names cannot be 'ab'"),
    (lambda m: m["task"].update(label_names=["other"]),
     "no task: its 2 labels need as many label_names, all different, or none; make it again.$"),
    (lambda m: m["task"].update(label_names=["other", "other"]), "its 2 labels need as many"),
    (lambda m: m["task"].update(label_names=["other", "a\nb"]), "its 2 labels need as many"),
    (lambda m: m["splits"]["train"].update(labelled=1), "labelled cannot be 1"),
    (lambda m: m["splits"]["train"].pop("shortened"), "shortened missing"),
])
def test_altered_manifest_of_a_task_is_refused(tmp_path, change, message):
    alter_manifest(make_task_folder(tmp_path), change)
    with pytest.raises(UserError, match=message):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("make, command", [(make_folder, "build_corpus"),
                                           (make_task_folder, "build_task")])
def test_the_command_that_mends_is_named(tmp_path, make, command):
    make(tmp_path)
    os.truncate(tmp_path / "train-00001.tfrecord", 20)
    with pytest.raises(UserError, match=f"again with python -m pipelines.{command} .*overwrite"):
        SplitReader(tmp_path, "train")
    alter_manifest(tmp_path, lambda m: m.update(format_version=1))
    with pytest.raises(UserError, match=f"again with python -m pipelines.{command} .*overwrite"):
        Manifest.load(tmp_path)


def test_manifest_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[1, 2")
    with pytest.raises(UserError, match="not valid JSON"):
        Manifest.load(tmp_path)


def test_split_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no records for split 'validation'; it has train"):
        SplitReader(make_folder(tmp_path), "validation")


def test_every_altered_byte_is_found_and_named(tmp_path):
    path = make_folder(tmp_path) / "train-00001.tfrecord"
    good = path.read_bytes()
    reader = SplitReader(tmp_path, "train")
    second = len(frame(reader.read([3])[0]))
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1:])
        record = int(position >= second)
        with pytest.raises(UserError, match=f"train-00001.tfrecord, record {record}:.*again"):
            SplitReader(tmp_path, "train").read([3 + record])
    path.write_bytes(good)
    reader.read(range(5))


def test_truncated_shard_is_named_with_its_record(tmp_path):
    path = make_folder(tmp_path) / "train-00000.tfrecord"
    whole = path.read_bytes()
    first = len(frame(SplitReader(tmp_path, "train").read([0])[0]))
    for size, record in [(0, 0), (first - 1, 0), (first, 1), (len(whole) - 1, 2)]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=f"00000.tfrecord is truncated in record {record}"):
            SplitReader(tmp_path, "train")


def test_shard_truncated_while_reading_is_named(tmp_path):
    path = make_folder(tmp_path) / "train-00000.tfrecord"
    reader = SplitReader(tmp_path, "train")
    os.truncate(path, 10)
    with pytest.raises(UserError, match="train-00000.tfrecord, record 0"):
        reader.read([0])


@pytest.mark.parametrize("name", ["train-00001.tfrecord", "train-00001.index.npy"])
def test_missing_file_is_named(tmp_path, name):
    make_folder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"Cannot read .*{name}"):
        SplitReader(tmp_path, "train")


def test_altered_index_is_named(tmp_path):
    path = make_folder(tmp_path) / "train-00001.index.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="train-00001.index.npy was altered"):
        SplitReader(tmp_path, "train")


def test_index_is_a_plain_numpy_file(tmp_path):
    index = np.load(make_folder(tmp_path) / "train-00000.index.npy")
    assert index["offset"][0] == 0
    reader = SplitReader(tmp_path, "train")
    assert index["offset"][1] == len(frame(reader.read([0])[0]))
    np.testing.assert_array_equal(index["length"], reader.lengths[:3])


def test_more_shards_than_open_files(tmp_path):
    reader = SplitReader(make_folder(tmp_path, [1] * 300), "train")
    before = len(os.listdir("/proc/self/fd"))
    batch = records.parse(reader.read(range(300)), 8)
    assert batch["token_ids"][:, 0].numpy().tolist() == list(range(1000, 1300))
    assert len(os.listdir("/proc/self/fd")) - before <= 128


def test_no_name_is_taken_when_writing_fails(tmp_path):
    with pytest.raises(RuntimeError):
        with WindowWriter(tmp_path, "train", 0, 4) as out:
            out.add(np.arange(4), ends=[4], text_bytes=1)
            raise RuntimeError("stopped")
    assert not os.listdir(tmp_path)
