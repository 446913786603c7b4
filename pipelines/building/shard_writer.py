"""Records -> shards. The manifest, which makes the folder count, is the caller's."""

import contextlib
import hashlib
import io
import os

import google_crc32c
import numpy as np

from gpt_tf.common.files import atomic_write
from gpt_tf.data import records
from gpt_tf.data.manifest import Shard
from gpt_tf.data.wire import frame


class ShardWriter:
    """Writes the records of one shard and its index; both take their names only at the end.

    Example:
      with ShardWriter("data/sst2", "train", 0) as writer:
          writer.write(serialized, lengths)
          shard = writer.finish()
    """

    def __init__(self, folder: str | os.PathLike, split: str, number: int):
        self._folder = folder
        self._name = f"{split}-{number:05d}.tfrecord"
        self._stack = contextlib.ExitStack()
        self._stream = None
        self._offset = 0
        self._sum = hashlib.sha256()
        self._index: list[np.ndarray] = []

    def write(self, serialized: list[bytes], lengths: np.ndarray) -> None:
        """Appends records.

        Args:
          serialized: N of them.
          lengths: int [N], what the index says of each.
        """
        if not serialized:
            return
        if self._stream is None:
            self._stream = self._stack.enter_context(
                atomic_write(os.path.join(self._folder, self._name)))
        frames = [frame(record) for record in serialized]
        content = b"".join(frames)
        self._stream.write(content)
        self._sum.update(content)
        index = np.empty(len(frames), records.INDEX_DTYPE)
        ends = self._offset + np.cumsum([len(each) for each in frames])
        index["offset"][0], index["offset"][1:] = self._offset, ends[:-1]
        index["length"] = lengths
        self._index.append(index)
        self._offset = int(ends[-1])

    def finish(self) -> Shard | None:
        """Gives the shard and its index their names; without records there are no files."""
        if self._stream is None:
            return None
        content = io.BytesIO()
        index = np.concatenate(self._index)
        np.save(content, index)
        with atomic_write(os.path.join(self._folder, records.index_name(self._name))) as stream:
            stream.write(content.getvalue())
        self._stack.close()
        return Shard(self._name, len(index), self._offset,
                     google_crc32c.value(content.getvalue()), self._sum.hexdigest())

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *exception) -> None:
        # An error on the way reaches `atomic_write`, which removes what is not whole.
        self._stack.__exit__(*exception)
