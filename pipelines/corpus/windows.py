"""Tokens -> windows: the records of a language model's data."""

import collections
import dataclasses
import os

import numpy as np

from gpt_tf.data import records
from gpt_tf.data.manifest import Shard, Split
from pipelines.building.shard_writer import ShardWriter


@dataclasses.dataclass(frozen=True)
class ShardTotals:
    """What one shard holds; `shard` is None when no window was written and no file made.

    tokens, unknown: of all documents, tokens of windows not written included.
    text_bytes: raw UTF-8 bytes of the documents.
    """

    shard: Shard | None
    documents: int = 0
    records: int = 0
    tokens: int = 0
    predicted_tokens: int = 0
    unknown: int = 0
    text_bytes: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """All fields but `shard`."""
        return {name: value for name, value in vars(self).items() if name != "shard"}


def cut_windows(tokens: np.ndarray, ends: np.ndarray,
                sequence_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of contiguous tokens that never cross documents.

    A document's last window is padded with 0, or left out if it would hold one token.

    Example: with T = 3, tokens [5, 6, 7, 8, 9, 1, 2, 3, 4] and ends [5, 9] (the documents 5 6 7 8 9
      and 1 2 3 4) give [[5, 6, 7], [8, 9, 0], [1, 2, 3]] and lengths [3, 2, 3].

    Args:
      tokens: int [n], whole documents one after the other.
      ends: int [D] ascending, where each document ends; the last is n.
      sequence_length: T.

    Returns:
      The windows, of the tokens' type, [N, T], and their lengths, int64 [N].
    """
    ends = np.asarray(ends, np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    sizes = ends - starts
    counts = sizes // sequence_length + (sizes % sequence_length >= 2)
    document = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(document)) - (np.cumsum(counts) - counts)[document]
    offsets = place * sequence_length
    lengths = np.minimum(sizes[document] - offsets, sequence_length)
    columns = np.arange(sequence_length)
    inside = columns < lengths[:, None]
    windows = np.zeros(inside.shape, tokens.dtype)
    windows[inside] = tokens[((starts[document] + offsets)[:, None] + columns)[inside]]
    return windows, lengths


class WindowWriter:
    """Writes the documents of one shard as windows.

    Args:
      folder, split, number: of the shard.
      sequence_length: T.
      unknown_id: that of `<unk>`, whose tokens are counted; None: there is none.

    Example:
      with WindowWriter("data/books", "train", 0, sequence_length=512) as writer:
          writer.add(tokens, ends=[700, 1400], text_bytes=6000)
          totals = writer.finish()
    """

    def __init__(self, folder: str | os.PathLike, split: str, number: int, sequence_length: int,
                 unknown_id: int | None = 0):
        self._shard = ShardWriter(folder, split, number)
        self._sequence_length = sequence_length
        self._unknown_id = unknown_id
        self._open_document = np.zeros(0, np.int32)
        self._counts = collections.Counter()

    def add(self, tokens: np.ndarray, ends: np.ndarray, text_bytes: int) -> None:
        """Appends documents; the last may stay open, to be continued by the next call.

        Args:
          tokens: int [n], at most a few hundred thousand at a time.
          ends: int [D] ascending, where a document ends; tokens behind the last end stay open.
          text_bytes: raw UTF-8 bytes of the text these tokens came from.
        """
        self._counts.update(documents=len(ends), tokens=len(tokens), text_bytes=text_bytes,
                            unknown=int(np.count_nonzero(tokens == self._unknown_id)))
        ends = np.asarray(ends, np.int64) + len(self._open_document)
        joined = np.concatenate([self._open_document, tokens])
        closed = int(ends[-1]) if len(ends) else 0
        whole = closed + ((len(joined) - closed) // self._sequence_length * self._sequence_length)
        if whole > closed:
            ends = np.append(ends, whole)
        windows, lengths = cut_windows(joined[:whole], ends, self._sequence_length)
        self._shard.write(records.encode(windows, lengths), lengths)
        self._counts.update(records=len(windows),
                            predicted_tokens=int(lengths.sum()) - len(lengths))
        self._open_document = joined[whole:]

    def finish(self) -> ShardTotals:
        """Gives the shard and its index their names."""
        return ShardTotals(self._shard.finish(), **self._counts)

    def __enter__(self) -> "WindowWriter":
        return self

    def __exit__(self, *exception) -> None:
        self._shard.__exit__(*exception)


def make_split(shards: list[ShardTotals]) -> Split:
    """The manifest's entry for the shards of one split, in order."""
    def total(name: str) -> int:
        return sum(getattr(shard, name) for shard in shards)
    return Split(
        shards=tuple(shard.shard for shard in shards if shard.shard is not None),
        documents=total("documents"), records=total("records"), tokens=total("tokens"),
        predicted_tokens=total("predicted_tokens"), text_bytes=total("text_bytes"))
