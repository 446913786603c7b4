"""THE schema: what a data folder holds, and the only door between data and model.

A data folder holds, per split, shards `train-00000.tfrecord`, `train-00001.tfrecord`, ... (TFRecord
files of `tf.train.Example`, so any tool that knows these reads them), beside each shard an index
`train-00000.index.npy`, the tokenizer's files, and `manifest.json`, written last: a folder without
it is not finished and is refused (see `manifest`). No TensorFlow is imported until records are
parsed.

One record of a language model's data is one window of T = `sequence_length` contiguous tokens:
  token_ids  int64 [T]  the window, padded with 0 at its end
  length     int64 [1]  how many of them are real; at least 2, as one token predicts nothing

Example: with T = 4 the document 7 8 9 10 11 12 makes two records,
  token_ids [7, 8, 9, 10] length [4]   and   token_ids [11, 12, 0, 0] length [2].

One record of a task's data is one row of its source, as K = `num_sequences` sequences of
`forms`, none longer than `sequence_length` and none padded:
  token_ids  int64 [sum of lengths]  the K sequences, one after the other
  lengths    int64 [K]               tokens of each
  label      int64 [1] the class, -1 without one; or float [1] the score, NaN without one
  index      int64 [1]               number of the row in its source split, counted from 0

Example: with 100 start, 101 delimiter, 102 extract, the sentences 7 8 and 9 of similarity make
  token_ids [100, 7, 8, 101, 9, 102, 100, 9, 101, 7, 8, 102] lengths [6, 6] label [1] index [0].

One record of a task's zero-shot data is the same, with plain text in its sequences, which are
those of `heuristics`, and of each the tokens that are scored:
  starts     int64 [K]               the first of them; all to the sequence's end are

Example: the endings 9 and 4 5 of the story 7 8 make
  token_ids [7, 8, 9, 7, 8, 4, 5] lengths [3, 4] starts [2, 2] label [1] index [0].
"""

from collections.abc import Sequence
import math

import numpy as np

# Some only pass through this door.
from gpt_tf.data.wire import example, float_feature, int64_feature, varint_rows, varints
from gpt_tf.tasks.task import (
    Task,
    ZeroShotTask,
)

TOKEN_IDS = "token_ids"
LENGTH = "length"
LENGTHS = "lengths"
STARTS = "starts"
LABEL = "label"
INDEX = "index"

# One row of a shard's index: where its record starts, in bytes, and how many tokens it holds; of
# a task's record, those of the longest of its sequences.
INDEX_DTYPE = np.dtype([("offset", "<u8"), ("length", "<u4")])


def index_name(shard_name: str) -> str:
    """train-00000.tfrecord -> train-00000.index.npy"""
    return shard_name.removesuffix(".tfrecord") + ".index.npy"


# Writing.
def encode(token_ids: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Serialises windows as `tf.train.Example`s, the same bytes for the same windows always.

    Args:
      token_ids: int [N, T], 0 <= id < 2**28; what lies beyond a window's length is written as 0.
      lengths: int [N], real tokens of each window.

    Returns:
      N byte strings.
    """
    width = token_ids.shape[1]
    inside = np.arange(width) < lengths[:, None]
    rows = zip(varint_rows(lengths, np.arange(1, len(lengths) + 1)),
               varint_rows(token_ids[inside], np.cumsum(lengths)),
               (bytes(width - length) for length in lengths.tolist()))  # a 0 is one zero byte
    return [example(int64_feature(LENGTH, length), int64_feature(TOKEN_IDS, ids + padding))
            for length, ids, padding in rows]


def encode_example(token_ids: Sequence[Sequence[int]], label: float | None, index: int,
                   is_score: bool, starts: Sequence[int] = ()) -> bytes:
    """Serialises a row of a task, the same bytes for the same row always.

    Args:
      token_ids: K sequences of ids.
      label: a class's id or a score; None where the row has none.
      index: number of the row in its source split.
      is_score: whether labels are scores.
      starts: of zero-shot data the first scored token of each sequence.
    """
    if is_score:
        label_feature = float_feature(LABEL, math.nan if label is None else label)
    else:
        label_feature = int64_feature(LABEL, varints([-1 if label is None else int(label)]))
    scored = [int64_feature(STARTS, varints(starts))] if starts else []
    return example(int64_feature(INDEX, varints([index])), label_feature,
                   int64_feature(LENGTHS, varints(map(len, token_ids))), *scored,
                   int64_feature(TOKEN_IDS, b"".join(map(varints, token_ids))))


# Reading.
def parse(serialized, sequence_length: int) -> dict:
    """tf.string [B] -> {"token_ids": tf.int32 [B, T], "lengths": tf.int32 [B]}."""
    import tensorflow as tf
    features = tf.io.parse_example(serialized, {
        TOKEN_IDS: tf.io.FixedLenFeature([sequence_length], tf.int64),
        LENGTH: tf.io.FixedLenFeature([], tf.int64)})
    return {"token_ids": tf.cast(features[TOKEN_IDS], tf.int32),
            "lengths": tf.cast(features[LENGTH], tf.int32)}


def parse_examples(serialized, task: Task, width) -> dict:
    """A batch of a task's records, cut to the width of its longest sequence.

    Args:
      serialized: tf.string [B].
      task: of the manifest.
      width: T, an integer or tf.int64 []; no sequence may be longer.

    Returns:
      {"token_ids": tf.int32 [B, K, T], padded with 0, "lengths": tf.int32 [B, K],
      "labels": tf.int32 [B], or tf.float32 [B] of scores, "source_rows": tf.int64 [B]}; of a
      `ZeroShotTask` also "starts": tf.int32 [B, K]
    """
    import tensorflow as tf
    of_each = tf.io.FixedLenFeature([task.num_sequences], tf.int64)
    scored = {STARTS: of_each} if isinstance(task, ZeroShotTask) else {}
    features = tf.io.parse_example(serialized, {
        TOKEN_IDS: tf.io.RaggedFeature(tf.int64),
        LENGTHS: of_each,
        LABEL: tf.io.FixedLenFeature([], tf.float32 if task.is_score else tf.int64),
        INDEX: tf.io.FixedLenFeature([], tf.int64)} | scored)
    sequences = tf.RaggedTensor.from_row_lengths(features[TOKEN_IDS].values,
                                                 tf.reshape(features[LENGTHS], [-1]))
    token_ids = tf.reshape(sequences.to_tensor(shape=tf.stack([-1, width])),
                           [-1, task.num_sequences, width])
    label = features[LABEL]
    return {"token_ids": tf.cast(token_ids, tf.int32),
            "lengths": tf.cast(features[LENGTHS], tf.int32),
            "labels": label if task.is_score else tf.cast(label, tf.int32),
            "source_rows": features[INDEX],
            **{name: tf.cast(features[name], tf.int32) for name in scored}}
