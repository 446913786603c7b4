"""tf.data: shards -> global batches, a pure function of (data, seed, step), seekable.

The training data is one endless stream: a permutation of all records for each epoch, keyed by
(seed, epoch), one after the other. Update k, counted from 1, takes records (k - 1) * B .. k * B - 1
of the stream. So going to any step is arithmetic, nothing before it is read, and nothing has to be
saved to go on: the step is the state.
"""

from collections.abc import Iterator
import contextlib
import functools
import os

import numpy as np
import tensorflow as tf

from gpt_tf import records
from gpt_tf.files import UserError

_GOLDEN = np.uint64(0x9e3779b97f4a7c15)


def _mix(values: np.ndarray) -> np.ndarray:
    """uint64 -> uint64, a bijection that scatters (SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
    return values ^ (values >> np.uint64(31))


def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `size` records in `epoch`, a pure function of the arguments.

    Sorting by distinct 64-bit hashes needs no generator whose stream a new numpy might change.

    Returns:
      int64 [size]; entry i is the record at place i.
    """
    key = _mix(_mix(np.array([seed % (1 << 64)], np.uint64) + _GOLDEN)
               ^ np.array([epoch], np.uint64) * _GOLDEN)
    return np.argsort(_mix(_mix(np.arange(size, dtype=np.uint64) * _GOLDEN + key) ^ key))


class Batches:
    """A `tf.data.Dataset` of global batches, and the user's error behind one that fails.

    Inside tf.data an exception becomes a `tf.errors` one with a traceback for its text; iterating
    over this object, or over `dataset` inside `explain_errors()`, gives the `UserError` back.

    Each element: {
      "token_ids": tf.int32 [B, T], padded with 0,
      "lengths": tf.int32 [B], real tokens of each row,
      "rows": tf.int32 [B], the row's number in the global batch,
      "step": tf.int64 [], the number of the update (or of the batch), counted from 1}

    Attributes:
      dataset: the dataset.
      manifest: the data folder's Manifest.
      reader: records.SplitReader of the split.
    """

    def __init__(self, reader: records.SplitReader, batch_size: int, positions, steps: range):
        """positions: step (counted from 0) -> int [at most B], the records of that batch."""
        self.reader = reader
        self.manifest = reader.manifest
        self._batch_size = batch_size
        self._positions = positions
        self._error: UserError | None = None
        length = self.manifest.sequence_length
        # A row of length 0 weighs nothing: it fills the last batch, so that all have one shape.
        self._filler = records.encode(np.zeros((1, length), np.int64), np.zeros(1, np.int64))
        options = tf.data.Options()
        # There is nothing to tune: a batch is read in about a millisecond. Dropping a half-used
        # iterator waits for the tuning thread, which may sleep for half a minute.
        options.autotune.enabled = False
        self.dataset = (tf.data.Dataset.range(steps.start, steps.stop)
                        .map(self._load).with_options(options))

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
            if self._error is None:
                raise
            raise self._error from error

    def _load(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        serialized = tf.numpy_function(self._read, [step], tf.string)
        serialized.set_shape([self._batch_size])
        batch = records.parse(serialized, self.manifest.sequence_length)
        return batch | {"rows": tf.range(self._batch_size), "step": step + 1}

    def _read(self, step: np.int64) -> np.ndarray:
        try:
            found = self.reader.read(self._positions(int(step)))
        except UserError as error:
            self._error = error
            raise
        return np.array(found + self._filler * (self._batch_size - len(found)), object)


def train_batches(data_dir: str | os.PathLike, batch_size: int, seed: int,
                  start_step: int = 0) -> Batches:
    """The endless training data from update `start_step` + 1 on.

    Args:
      data_dir: a finished data folder.
      batch_size: B, rows of a global batch; may exceed the number of records.
      seed: decides the order.
      start_step: updates already done.

    Raises:
      UserError: see `records.SplitReader`.
    """
    reader = records.SplitReader(data_dir, "train")
    size = len(reader)
    # A batch may run over the end of an epoch, so two orders are kept.
    order = functools.lru_cache(maxsize=2)(functools.partial(permutation, size, seed))

    def positions(step: int) -> np.ndarray:
        epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), size)
        return np.concatenate([order(epoch)[places[epochs == epoch]]
                               for epoch in range(epochs[0], epochs[-1] + 1)])

    return Batches(reader, batch_size, positions, range(start_step, np.iinfo(np.int64).max))


def evaluation_batches(data_dir: str | os.PathLike, split: str, batch_size: int) -> Batches:
    """Every record of `split` once, in order; rows of length 0 fill up the last batch.

    Raises:
      UserError: see `records.SplitReader`.
    """
    reader = records.SplitReader(data_dir, split)

    def positions(step: int) -> np.ndarray:
        return np.arange(step * batch_size, min((step + 1) * batch_size, len(reader)))

    return Batches(reader, batch_size, positions, range(-(-len(reader) // batch_size)))


def steps_per_epoch(manifest: records.Manifest, batch_size: int) -> float:
    """Updates per pass over the training records; not whole, as batches run over its end."""
    return manifest.splits["train"].windows / batch_size
