"""Any record of a split by its position, each checked as it is read."""

from collections.abc import Sequence
import functools
import io
import os

import google_crc32c
import numpy as np

from gpt_tf.common import npy
from gpt_tf.common.errors import UserError

# Some only pass through this door.
from gpt_tf.data.manifest import (
    Manifest,
    Shard,
    rebuild,
)
from gpt_tf.data.records import INDEX_DTYPE, index_name
from gpt_tf.data.wire import frame


class _Descriptor:
    """An open file that closes itself when nobody holds it any more."""

    def __init__(self, path: str):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "number"):
            os.close(self.number)


class SplitReader:
    """Any record of a split by its position, each checked as it is read.

    Example:
      reader = SplitReader("data/books", "train")
      reader.read([5, 0])   # two serialised tf.train.Examples

    Attributes:
      folder: the data folder.
      manifest: its Manifest.
      lengths: int32 [N], tokens of each record (of its longest sequence), known without reading
        the records.
    """

    def __init__(self, data_dir: str | os.PathLike, split: str, manifest: Manifest | None = None):
        """Opens the split.

        Args:
          data_dir: the data folder.
          split: name of the split.
          manifest: the folder's, where it is read already.

        Raises:
          UserError: no finished folder, no such split, or a shard missing or truncated.
        """
        self.manifest = manifest or Manifest.load(data_dir)
        self.manifest.check_split(data_dir, split)
        self.folder = os.fspath(data_dir)
        self._remedy = rebuild(self.manifest.kind)
        self._shards = self.manifest.splits[split].shards
        self._paths = [os.path.join(data_dir, shard.name) for shard in self._shards]
        # Far below the system's limit on open files, far above what one batch touches.
        self._open = functools.lru_cache(maxsize=128)(_Descriptor)
        indices = [self._load_index(*pair) for pair in zip(self._paths, self._shards)]
        self._offsets = [index["offset"] for index in indices]
        self.lengths = np.concatenate([index["length"] for index in indices]).astype(np.int32)
        self._first = np.cumsum([0] + [shard.records for shard in self._shards])

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, positions: Sequence[int] | np.ndarray) -> list[bytes]:
        """The serialised records at `positions`, in that order.

        Raises:
          UserError: a record is not what was written; file and record are named.
        """
        shards = np.searchsorted(self._first, positions, side="right") - 1
        return [self._read_one(int(shard), int(position - self._first[shard]))
                for shard, position in zip(shards, positions)]

    def _load_index(self, path: str, shard: Shard) -> np.ndarray:
        """INDEX_DTYPE [records]; compares the shard's size with what was written, too."""
        index_path = os.path.join(os.path.dirname(path), index_name(shard.name))
        try:
            with open(index_path, "rb") as stream:
                data = stream.read()
            size = os.path.getsize(path)
        except OSError as error:
            raise UserError(
                f"Cannot read {error.filename or index_path}: {error.strerror}: {self._remedy}."
            ) from error
        if google_crc32c.value(data) != shard.index_crc32c:
            raise UserError(f"{index_path} was altered or truncated: {self._remedy}.")
        index = self._parse_index(data, shard)
        if index is None:
            raise UserError(f"{index_path} is no index of {shard.records} records in "
                            f"{shard.bytes} bytes of {shard.name}: {self._remedy}.")
        if size < shard.bytes:
            record = max(0, int(np.searchsorted(index["offset"], size, side="right")) - 1)
            raise UserError(f"{path} is truncated in record {record}: it has {size} of "
                            f"{shard.bytes} bytes: {self._remedy}.")
        if size > shard.bytes:
            raise UserError(f"{path} was altered: it has {size} bytes and {shard.bytes} were "
                            f"written: {self._remedy}.")
        return index

    def _parse_index(self, data: bytes, shard: Shard) -> np.ndarray | None:
        """INDEX_DTYPE [records]; None where the bytes cannot be the index of such a shard."""
        stream = io.BytesIO(data)
        try:
            if npy.vector_length(stream, len(data), INDEX_DTYPE) != shard.records:
                return None
        except ValueError:
            return None
        index = np.frombuffer(data, INDEX_DTYPE, offset=stream.tell())
        edges = np.append(index["offset"], np.uint64(shard.bytes))
        lengths = index["length"]
        if (edges[0] != 0 or (edges[1:] <= edges[:-1]).any() or lengths.min() < 1
                or lengths.max() > self.manifest.sequence_length):
            return None
        return index

    def _read_one(self, shard: int, record: int) -> bytes:
        path, offsets = self._paths[shard], self._offsets[shard]
        start = int(offsets[record])
        end = (int(offsets[record + 1]) if record + 1 < len(offsets)
               else self._shards[shard].bytes)
        try:
            data = os.pread(self._open(path).number, end - start, start)
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}: {self._remedy}.") from error
        payload = data[12:-4]
        if len(data) != end - start or data != frame(payload):
            raise UserError(f"{path}, record {record}: the bytes are not those that were "
                            f"written: {self._remedy}.")
        return payload
