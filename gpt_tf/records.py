"""THE schema: what a data folder holds, and the only door between data and model.

A data folder holds, per split, shards `train-00000.tfrecord`, `train-00001.tfrecord`, ... (TFRecord
files of `tf.train.Example`, so any tool that knows these reads them), beside each shard an index
`train-00000.index.npy`, the tokenizer's files, and `manifest.json`, written last: a folder without
it is not finished and is refused. No TensorFlow is imported until `parse` is called.

One record of a language model's data is one window of T = `sequence_length` contiguous tokens:
  token_ids  int64 [T]  the window, padded with 0 at its end
  length     int64 [1]  how many of them are real; at least 2, as one token predicts nothing

Example: with T = 4 the document 7 8 9 10 11 12 makes two records,
  token_ids [7, 8, 9, 10] length [4]   and   token_ids [11, 12, 0, 0] length [2].
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import os
import re
from typing import Any

import google_crc32c
import numpy as np

from gpt_tf.files import UserError, read_json, write_json
from gpt_tf.wire import example, frame, int64_feature, varint_rows

FORMAT_VERSION = 1
LANGUAGE_MODEL = "language_model"
MANIFEST_NAME = "manifest.json"
TOKEN_IDS = "token_ids"
LENGTH = "length"

# One row of a shard's index: where its record starts, in bytes, and how many tokens it holds.
INDEX_DTYPE = np.dtype([("offset", "<u8"), ("length", "<u4")])

_REBUILD = "build the data folder again with python -m pipelines.build_corpus ... --overwrite"
_SHARD_NAME = re.compile(r"[a-z_]+-[0-9]{5,}\.tfrecord")


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the folder, and what it must be to be whole."""

    name: str
    records: int
    bytes: int
    index_crc32c: int


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of a split, in order, and its totals over all documents.

    windows: records. tokens: of all documents, those of windows not written included.
    predicted_tokens: the sum of length - 1. text_bytes: raw UTF-8 bytes of the documents.
    """

    shards: tuple[Shard, ...]
    documents: int
    windows: int
    tokens: int
    predicted_tokens: int
    text_bytes: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a data folder says of itself; see the module's text for the folder."""

    kind: str
    sequence_length: int
    vocabulary_size: int
    tokenizer_fingerprint: str
    splits: dict[str, Split]
    flags: dict[str, Any]
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, data_dir: str | os.PathLike) -> "Manifest":
        """Reads the manifest of a finished data folder.

        Raises:
          UserError: the folder is not finished, of another format, or its manifest was altered.
        """
        path = os.path.join(data_dir, MANIFEST_NAME)
        if not os.path.exists(path):
            raise UserError(f"No {MANIFEST_NAME} in {os.fspath(data_dir)}: it is not a finished "
                            "data folder; build it with python -m pipelines.build_corpus "
                            f"--output_dir={os.fspath(data_dir)} ...")
        value = read_json(path, "the data folder's manifest")
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION:
            raise UserError(f"{path}: format_version is {version!r} and this program reads "
                            f"{FORMAT_VERSION}: {_REBUILD}.")
        manifest = _checked(cls, value, path)
        splits = {name: _checked(Split, split, f"{path}, split {name}")
                  for name, split in manifest.splits.items()}
        for name, split in splits.items():
            shards = tuple(_checked(Shard, shard, f"{path}, split {name}")
                           for shard in split.shards)
            splits[name] = dataclasses.replace(split, shards=shards)
            for shard in shards:
                if not _SHARD_NAME.fullmatch(shard.name):
                    raise UserError(f"{path}: {shard.name!r} is not a shard's name: {_REBUILD}.")
            if sum(shard.records for shard in shards) != split.windows:
                raise UserError(f"{path}: the shards of {name} do not add up to "
                                f"{split.windows} records: {_REBUILD}.")
        return dataclasses.replace(manifest, splits=splits)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of what training sees: the windows, whatever command made them."""
        seen = dataclasses.asdict(dataclasses.replace(self, flags={}))
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    def save(self, data_dir: str | os.PathLike) -> None:
        """Writes the manifest, which declares the folder finished: call it last."""
        write_json(os.path.join(data_dir, MANIFEST_NAME), dataclasses.asdict(self))


def _checked(cls: type, value: Any, where: str) -> Any:
    """`cls` from JSON; only kinds of values are checked, nested dataclasses stay as they are."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: a group of named values is wanted: {_REBUILD}.")
    fields = dataclasses.fields(cls)
    if set(value) != {field.name for field in fields}:
        odd = sorted(set(value) ^ {field.name for field in fields})
        raise UserError(f"{where}: {', '.join(odd)} missing or not known: {_REBUILD}.")
    for field in fields:
        kind = {int: int, str: str, tuple[Shard, ...]: list}.get(field.type, dict)
        got = value[field.name]
        if type(got) is not kind or (kind is int and got < 0):
            raise UserError(f"{where}: {field.name} cannot be {got!r:.40}: {_REBUILD}.")
    return cls(**value)


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


# Reading.


def parse(serialized, sequence_length: int) -> dict:
    """tf.string [B] -> {"token_ids": tf.int32 [B, T], "lengths": tf.int32 [B]}."""
    import tensorflow as tf  # pylint: disable=import-outside-toplevel
    features = tf.io.parse_example(serialized, {
        TOKEN_IDS: tf.io.FixedLenFeature([sequence_length], tf.int64),
        LENGTH: tf.io.FixedLenFeature([], tf.int64)})
    return {"token_ids": tf.cast(features[TOKEN_IDS], tf.int32),
            "lengths": tf.cast(features[LENGTH], tf.int32)}


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
      manifest: the folder's Manifest.
      lengths: int32 [N], real tokens of each record, known without reading the records.
    """

    def __init__(self, data_dir: str | os.PathLike, split: str):
        """Opens the split.

        Raises:
          UserError: no finished folder, no such split, or a shard missing or truncated.
        """
        self.manifest = Manifest.load(data_dir)
        if not getattr(self.manifest.splits.get(split), "windows", 0):
            full = [name for name, value in self.manifest.splits.items() if value.windows]
            raise UserError(f"{os.fspath(data_dir)} has no records for split {split!r}; it has "
                            f"{', '.join(full) or 'none'}.")
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
                f"Cannot read {error.filename}: {error.strerror}: {_REBUILD}.") from error
        if google_crc32c.value(data) != shard.index_crc32c:
            raise UserError(f"{index_path} was altered or truncated: {_REBUILD}.")
        index = np.frombuffer(data, INDEX_DTYPE, offset=len(data) - 12 * shard.records)
        if size < shard.bytes:
            record = max(0, int(np.searchsorted(index["offset"], size, side="right")) - 1)
            raise UserError(f"{path} is truncated in record {record}: it has {size} of "
                            f"{shard.bytes} bytes: {_REBUILD}.")
        return index

    def _read_one(self, shard: int, record: int) -> bytes:
        path, offsets = self._paths[shard], self._offsets[shard]
        start = int(offsets[record])
        end = (int(offsets[record + 1]) if record + 1 < len(offsets)
               else self._shards[shard].bytes)
        try:
            data = os.pread(self._open(path).number, end - start, start)
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}: {_REBUILD}.") from error
        payload = data[12:-4]
        if len(data) != end - start or data != frame(payload):
            raise UserError(f"{path}, record {record}: the bytes are not those that were "
                            f"written: {_REBUILD}.")
        return payload
