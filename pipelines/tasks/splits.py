"""Which rows make which split, and which shard of it."""

import array
import collections
from collections.abc import Iterator
import dataclasses
import hashlib
import itertools

import numpy as np

from gpt_tf.tokenizer.languages import LetterSample
from pipelines.building.plan import HASHES, TRAIN, VALIDATION, both_sides, content_hash, take_same
from pipelines.tasks.rows import Row, RowSource

_CHUNK_ROWS = 256  # a worker's share at a time
_SHARD_ROWS = 64 * _CHUNK_ROWS
_DIGEST_BYTES = 8


@dataclasses.dataclass(frozen=True)
class ShardRows:
    """The rows of one shard: `rows` of its split from `first` on.

    digest: hexadecimal, of all that they say.
    """

    number: int
    first: int
    rows: int
    digest: str

    def chunks(self, rows: Iterator[Row]) -> Iterator[tuple[Row, ...]]:
        """Takes the shard's rows from those given, a worker's share at a time.

        Raises:
          UserError: they are not the ones that were seen when the shard was planned.
        """
        mine = take_same(rows, self.rows, _digest, self.digest)
        while chunk := tuple(itertools.islice(mine, _CHUNK_ROWS)):
            yield chunk


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """The rows of a source that make one split: those whose content's hash is in [low, high).

    name: of the split.
    source: the split of the input.
    left_out: reason -> rows of the source that are no rows of the task; of a source that makes two
      splits they count as training's.
    seen: rows whose texts stand in the training split, too.
    contradicted: rows whose texts stand in this split with another label, too.
    """

    name: str
    source: str
    low: int
    high: int
    shards: tuple[ShardRows, ...]
    left_out: collections.Counter[str]
    seen: int
    contradicted: int

    @property
    def is_part(self) -> bool:
        """Whether it is the part of the training rows that is the validation."""
        return self.high < HASHES

    def rows(self, sources: dict[str, RowSource]) -> Iterator[Row]:
        """The rows, in the source's order."""
        return (row for row in sources[self.source].rows() if self.low <= _hash(row) < self.high)


def _hash(row: Row) -> int:
    # Not of the label: the same text is never on both sides.
    return content_hash("\0".join(row.texts))


def _digest(row: Row) -> bytes:
    content = repr((row.index, row.texts, row.label)).encode("utf-8")
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def plan_splits(sources: dict[str, RowSource], fraction: float,
                letters: LetterSample) -> list[SplitRows]:
    """Reads all rows once, so that a bad one stops the build before anything is replaced.

    Where `sources` has no validation, about `fraction` of the training rows are it. `letters` takes
    some of every row.

    Raises:
      UserError: a bad row.
    """
    splits, trained = [], np.empty(0, np.uint64)
    is_divided = fraction > 0 and not any(name.startswith(VALIDATION) for name in sources)
    for source_name, source in sources.items():
        hashes, digests, answered = array.array("Q"), bytearray(), array.array("Q")
        for row in source.rows():
            letters.add(row.texts[0])
            hashes.append(_hash(row))
            digests += _digest(row)
            answered.append(content_hash(repr((row.texts, row.label))))
        texts = np.frombuffer(hashes, np.uint64)
        told = np.frombuffer(digests, f"V{_DIGEST_BYTES}")
        contradicted = _with_two(texts, np.frombuffer(answered, np.uint64))
        seen = np.isin(texts, trained)
        trained = texts if source_name == TRAIN else trained
        bounds = [(source_name, 0, HASHES)]
        if source_name == TRAIN and is_divided and hashes and min(hashes) < max(hashes):
            threshold = both_sides(int(fraction * HASHES), min(hashes), max(hashes))
            bounds = [(TRAIN, threshold, HASHES), (VALIDATION, 0, threshold)]
        for name, low, high in bounds:
            left_out = collections.Counter() if high < HASHES else +source.left_out
            mine = (texts >= low) & (texts <= high - 1)
            splits.append(SplitRows(
                name, source_name, low, high, _cut(told[mine]), left_out,
                int(seen[mine].sum()), int(contradicted[mine].sum())))
    return splits


def _with_two(texts: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Whether the texts of each row stand in another with another label, bool [N].

    Args:
      texts, answered: hashes of the texts, and of the texts with the label, uint64 [N].
    """
    _, first = np.unique(answered, return_index=True)
    values, counts = np.unique(texts[first], return_counts=True)
    return np.isin(texts, values[counts > 1])


def _cut(mine: np.ndarray) -> tuple[ShardRows, ...]:
    """The shards of rows with these digests."""
    shards = []
    for number, first in enumerate(range(0, len(mine), _SHARD_ROWS)):
        rows = mine[first:first + _SHARD_ROWS]
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
        shards.append(ShardRows(number, first, len(rows), digest))
    return tuple(shards)
