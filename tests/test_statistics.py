"""Records read without TensorFlow, against TensorFlow; labels and tokens a word by hand."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.data import records, statistics
from gpt_tf.data.manifest import TASK, Manifest, TaskSplit
from gpt_tf.data.reader import SplitReader
from gpt_tf.data.wire import example, int64_feature, read_example
from pipelines.building.shard_writer import ShardWriter
from tests import corpora, task_data
from tests.test_records import SCORES, make_task_folder

tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture

numbers = st.lists(st.integers(-2**63, 2**63 - 1), min_size=1, max_size=20)


@given(numbers, arrays.arrays(np.float32, st.integers(1, 20)))
def test_tensorflows_examples_are_read(integers, floats):
    record = tf.train.Example(features=tf.train.Features(feature={
        "some": tf.train.Feature(int64_list=tf.train.Int64List(value=integers)),
        "x" * 200: tf.train.Feature(float_list=tf.train.FloatList(value=floats))}))
    found = read_example(record.SerializeToString())
    assert found.keys() == {"some", "x" * 200}
    assert found["some"].tolist() == integers
    np.testing.assert_array_equal(found["x" * 200], floats)


@given(st.data())
def test_what_is_no_example_is_an_error_of_values(data):
    record = bytearray(records.encode_example([[5, 300, 7]], 1, 9, is_score=False))
    for _ in range(data.draw(st.integers(1, 4))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_example(bytes(record[:data.draw(st.integers(0, len(record)))]))
    except (ValueError, LookupError):
        pass


def test_evenly_spread():
    assert statistics.spread(3, 10).tolist() == [0, 1, 2]
    assert statistics.spread(9, 3).tolist() == [0, 4, 8]
    assert statistics.spread(1, 1).tolist() == [0]


def test_labels(tmp_path):
    # As test_records says: i modulo 2 of classes, a quarter of i of scores.
    (tmp_path / "classes").mkdir()
    (tmp_path / "scores").mkdir()
    classes = SplitReader(make_task_folder(tmp_path / "classes"), "train")
    assert statistics.read_labels(classes, [0, 1, 2, 3]).tolist() == [0, 1, 0, 1]
    scores = SplitReader(make_task_folder(tmp_path / "scores", task=SCORES), "train")
    assert statistics.read_labels(scores, [3, 1]).tolist() == [0.75, 0.25]


def test_tokens_a_word(tmp_path, tokenizer):
    """Of these words the vocabulary has "the" and "in", and "th"."""
    task = task_data.TASKS["classification"]
    start, delimiter, extract = range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + 3)
    texts = [[start, *tokenizer.encode("the then"), delimiter, *tokenizer.encode("an."), extract],
             [start, *tokenizer.encode("in\nin"), extract]]
    assert [len(ids) for ids in texts] == [10, 5]
    with ShardWriter(str(tmp_path), "train", 0) as writer:
        writer.write([records.encode_example([ids], 0, 0, False) for ids in texts],
                     np.array([10, 5]))
        shard = writer.finish()
    Manifest(TASK, 24, tokenizer.vocabulary_size, tokenizer.fingerprint,
             {"train": TaskSplit((shard,), 2, 2, 15, 13, 0, True, 0, {})}, {}, task).save(tmp_path)
    bounds = tokenizer.word_bounds()
    reader = SplitReader(tmp_path, "train")
    # the, in, in, "." of one token; an of two (a, n); then of three (th, e, n).
    assert statistics.word_sizes(reader, [0, 1], *bounds).tolist() == [0, 4, 1, 1]


def test_a_record_of_another_kind_is_named(tmp_path):
    reader = SplitReader(make_task_folder(tmp_path), "train")
    reader.read = lambda positions: [example(int64_feature("other", b"\1"))] * len(positions)
    for count in (lambda: statistics.read_labels(reader, [0]),
                  lambda: statistics.word_sizes(reader, [0], *[np.ones(9, bool)] * 3)):
        with pytest.raises(UserError, match="not of the kind that its manifest says"):
            count()
