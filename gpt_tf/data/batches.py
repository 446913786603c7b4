"""tf.data: shards -> global batches, a pure function of (data, seed, step), seekable.

The training data is one endless stream: a permutation of all records for each epoch, keyed by
(seed, epoch), one after the other. Update k, counted from 1, takes records (k - 1) * B .. k * B - 1
of the stream. So going to any step is arithmetic, nothing before it is read, and nothing has to be
saved to go on: the step is the state.

The rows of a task differ in length. Its updates are taken in pools of up to 32 batches: a pool's
records are those of its updates in the stream, sorted by length and cut into batches, which come in
an order of their own. So a batch is as wide as its rows, short sentences do not pay for long ones,
and every record still comes once an epoch. A pool ends with the epoch that it began in.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.data import records
from gpt_tf.data.manifest import Manifest, rebuild
from gpt_tf.data.order import permutation, stream
from gpt_tf.data.padding import batch_width
from gpt_tf.data.reader import SplitReader
from gpt_tf.tasks.task import ZeroShotTask

_POOL = 32  # batches
_BATCHES_AHEAD = 2

# The orders of the pools' batches are numbered from here on, those of the epochs from 0.
_POOL_ORDERS = 1 << 63


class BatchShare(NamedTuple):
    """The part of every global batch that one of `count` workers reads."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> range:
        """Its rows of a batch of `batch_size`, which is a multiple of `count`."""
        size = batch_size // self.count
        return range(self.index * size, (self.index + 1) * size)


WHOLE_BATCH = BatchShare()


class Batches:
    """A `tf.data.Dataset` of a worker's share of the global batches, and the user's error behind
    one that fails.

    Inside tf.data an exception becomes a `tf.errors` one with a traceback for its text; iterating
    over this object, or over `dataset` inside `explain_errors()`, gives the `UserError` back.

    Each element of a language model's data, of B rows in the share: {
      "token_ids": tf.int32 [B, T], padded with 0,
      "lengths": tf.int32 [B], real tokens of each row,
      "batch_rows": tf.int32 [B], the row's number in the global batch,
      "step": tf.int64 [], the number of the update (or of the batch), counted from 1}

    Each element of a task's data, T the `padding.batch_width` of its longest sequence: {
      "token_ids": tf.int32 [B, K, T], padded with 0,
      "lengths": tf.int32 [B, K], real tokens of each sequence,
      "labels": tf.int32 [B], -1 without one; or tf.float32 [B] of scores, NaN without one,
      "split_positions": tf.int32 [B], the record's position in its split,
      "source_rows": tf.int64 [B], the row's number in its source split,
      "batch_rows", "step": as above}; of zero-shot data also
      "starts": tf.int32 [B, K], the first scored token of each sequence.

    Rows of length 0 fill up a last batch: their positions and source rows are -1, their labels 0
    or the lowest score.

    Attributes:
      dataset: the dataset.
      manifest: the data folder's Manifest.
      reader: the `reader.SplitReader` of the split.
    """

    def __init__(self, reader: SplitReader, rows: range,
                 positions: Callable[[int], np.ndarray], steps: range):
        """Args:
          reader: of the split.
          rows: the share's, of a global batch.
          positions: step (counted from 0) -> int [at most the batch's size], the records of that
            batch.
          steps: of the elements.
        """
        self.reader = reader
        self.manifest = reader.manifest
        self._rows = rows
        self._positions = positions
        self._error: UserError | None = None
        self._filler = _filler(self.manifest)
        options = tf.data.Options()
        # There is nothing to tune: a batch is read in about a millisecond. Dropping a half-used
        # iterator waits for the tuning thread, which may sleep for half a minute.
        options.autotune.enabled = False
        self.dataset = (tf.data.Dataset.range(steps.start, steps.stop)
                        .map(self._load).prefetch(_BATCHES_AHEAD).with_options(options))

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        iterator = iter(self.dataset)
        while True:
            with self.explain_errors():
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch

    @contextlib.contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Raises the `UserError` that a failure of the dataset inside the block came from."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._error is not None:
                raise self._error from error
            if not isinstance(error, tf.errors.InvalidArgumentError):
                raise
            # Its checksum is right, so it was written so.
            raise UserError(f"{self.reader.folder} has a record that is not of the kind that its "
                            f"manifest says: {rebuild(self.manifest.kind)}.") from error

    def _load(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        task, size = self.manifest.task, len(self._rows)
        serialized, positions, width = tf.numpy_function(
            self._read, [step], (tf.string, tf.int32, tf.int64))
        serialized.set_shape([size])
        if task is None:
            batch = records.parse(serialized, self.manifest.sequence_length)
        else:
            batch = records.parse_examples(serialized, task, width)
            batch["token_ids"].set_shape([size, task.num_sequences, None])
            batch["split_positions"] = tf.ensure_shape(positions, [size])
        return batch | {"batch_rows": tf.range(self._rows.start, self._rows.stop), "step": step + 1}

    def _read(self, step: np.int64) -> tuple[np.ndarray, np.ndarray, np.int64]:
        """Records [B], their positions int32 [B], and the width of the global batch."""
        everyones = self._positions(int(step))
        found = everyones[self._rows.start:self._rows.stop]
        missing = len(self._rows) - len(found)
        try:
            serialized = self.reader.read(found) + [self._filler] * missing
        except UserError as error:
            self._error = error
            raise
        width = batch_width(int(self.reader.lengths[everyones].max()),
                            self.manifest.sequence_length)
        return (np.array(serialized, object),
                np.append(found, np.full(missing, -1)).astype(np.int32), np.int64(width))


def _filler(manifest: Manifest) -> bytes:
    """A record of length 0, which weighs nothing: it fills the last batch, so that all are equal
    in shape."""
    task = manifest.task
    if task is None:
        return records.encode(np.zeros((1, manifest.sequence_length), np.int64),
                              np.zeros(1, np.int64))[0]
    is_zero_shot = isinstance(task, ZeroShotTask)
    return records.encode_example([[]] * task.num_sequences, min(task.score_range, default=0),
                                  -1, task.is_score, [0] * task.num_sequences * is_zero_shot)


def train_batches(data_dir: str | os.PathLike, batch_size: int, seed: int,
                  start_step: int = 0, share: BatchShare = WHOLE_BATCH,
                  manifest: Manifest | None = None) -> Batches:
    """The endless training data from update `start_step` + 1 on.

    Args:
      data_dir: a finished data folder.
      batch_size: rows of a global batch; may exceed the number of records.
      seed: decides the order.
      start_step: updates already done.
      share: the rows that are read of each batch.
      manifest: the folder's, where it is read already.

    Raises:
      UserError: see `reader.SplitReader`.
    """
    reader = SplitReader(data_dir, "train", manifest)
    records_at = stream(len(reader), seed)

    def positions(step: int) -> np.ndarray:
        return records_at(step * batch_size, (step + 1) * batch_size)

    return Batches(reader, share.rows(batch_size), positions,
                   range(start_step, np.iinfo(np.int64).max))


def task_batches(data_dir: str | os.PathLike, batch_size: int, seed: int,
                 start_step: int = 0, share: BatchShare = WHOLE_BATCH,
                 manifest: Manifest | None = None) -> Batches:
    """The endless training data of a task from update `start_step` + 1 on.

    Args:
      data_dir: a finished data folder of a task.
      batch_size: rows of a global batch; may exceed the number of records.
      seed: decides the order.
      start_step: updates already done.
      share: the rows that are read of each batch.
      manifest: the folder's, where it is read already.

    Raises:
      UserError: the training rows have no labels; see `reader.SplitReader`, too.
    """
    reader = SplitReader(data_dir, "train", manifest)
    if not reader.manifest.splits["train"].labelled:
        raise UserError(f"The training split of {os.fspath(data_dir)} has rows without a label, "
                        "and nothing can be learnt from those: build it from labelled rows.")
    size = len(reader)
    records_at = stream(size, seed)

    @functools.lru_cache(maxsize=1)
    def pool(first: int, last: int) -> np.ndarray:
        """int64 [last - first, B], the records of updates first + 1 .. last."""
        found = records_at(first * batch_size, last * batch_size)
        by_length = found[np.argsort(reader.lengths[found], kind="stable")]
        order = permutation(last - first, seed, _POOL_ORDERS + first)
        return by_length.reshape(-1, batch_size)[order]

    def positions(step: int) -> np.ndarray:
        epoch = step * batch_size // size
        # The first step that begins in the epoch, and the first that begins behind it.
        begin, end = -(-epoch * size // batch_size), -(-(epoch + 1) * size // batch_size)
        first = step - (step - begin) % _POOL
        return pool(first, min(first + _POOL, end))[step - first]

    return Batches(reader, share.rows(batch_size), positions,
                   range(start_step, np.iinfo(np.int64).max))


def evaluation_batches(data_dir: str | os.PathLike, split: str, batch_size: int,
                       share: BatchShare = WHOLE_BATCH,
                       manifest: Manifest | None = None, limit: int = 0) -> Batches:
    """Every record of `split` once: a task's by length, a language model's in order.

    Of each batch of `batch_size` rows those of `share` are read; `manifest` is the folder's, where
    it is read already. Of more than `limit` batches, where that is not 0, as many are taken at
    equal distances: the beginning of a split is of its first files alone.

    Raises:
      UserError: see `reader.SplitReader`.
    """
    reader = SplitReader(data_dir, split, manifest)
    order = (np.arange(len(reader)) if reader.manifest.task is None
             else np.argsort(reader.lengths, kind="stable"))

    count = -(-len(reader) // batch_size)
    taken = min(limit or count, count)

    def positions(step: int) -> np.ndarray:
        first = step * count // taken * batch_size
        return order[first:first + batch_size]

    return Batches(reader, share.rows(batch_size), positions, range(taken))
