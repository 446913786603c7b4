"""The shards of a task: a unit of work for each, made in this process or anywhere.

A row is read where it is needed: a task's files are small beside a corpus, so whoever makes a
shard reads its split from the start.
"""

import array
import collections
from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import itertools
import os

import numpy as np

from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes
from pipelines.building.encoders import load_tokenizer
from pipelines.building.plan import HASHES, TRAIN, VALIDATION, both_sides, content_hash, take_same
from pipelines.building.shard_writer import ShardWriter
from pipelines.tasks import rows as task_readers
from pipelines.tasks.description import TaskRow
from pipelines.tasks.encoding import Chunk, EncodedChunk, RowEncoding, Totals, encode_chunk
from pipelines.tasks.rows import Row, RowSource

_CHUNK_ROWS = 256  # a worker's share at a time
_SHARD_ROWS = 64 * _CHUNK_ROWS
_DIGEST_BYTES = 8


@dataclasses.dataclass(frozen=True)
class ShardRows:
    """The rows of one shard: `rows` of its share from `first` on.

    digest: hexadecimal, of all that they say.
    """

    number: int
    first: int
    rows: int
    digest: str

    def read(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Takes the shard's rows from those given.

        Raises:
          UserError: they are not the ones that were seen when the shard was planned.
        """
        return take_same(rows, self.rows, _digest, self.digest)


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows of a source that make one split: those whose content's hash is in [low, high).

    source: the split of the input.
    left_out: reason -> rows of the source that are no rows of the task; of a source that is shared
      they count as training's.
    """

    split: str
    source: str
    low: int
    high: int
    shards: tuple[ShardRows, ...]
    left_out: collections.Counter[str]

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


def plan_shares(sources: dict[str, RowSource], fraction: float) -> list[Share]:
    """Reads all rows once, so that a bad one stops the build before anything is replaced.

    Training rows are shared with the validation where `sources` has none.

    Raises:
      UserError: a bad row.
    """
    shares = []
    shared = fraction > 0 and not any(name.startswith(VALIDATION) for name in sources)
    for split, source in sources.items():
        hashes, digests = array.array("Q"), bytearray()
        for row in source.rows():
            hashes.append(_hash(row))
            digests += _digest(row)
        every = np.frombuffer(hashes, np.uint64), np.frombuffer(digests, f"V{_DIGEST_BYTES}")
        bounds = [(split, 0, HASHES)]
        if split == TRAIN and shared and hashes and min(hashes) < max(hashes):
            threshold = both_sides(int(fraction * HASHES), min(hashes),
                                             max(hashes))
            bounds = [(split, threshold, HASHES), (VALIDATION, 0, threshold)]
        for name, low, high in bounds:
            left_out = collections.Counter() if high < HASHES else +source.left_out
            shares.append(Share(name, split, low, high, _cut(*every, low, high), left_out))
    return shares


def _cut(hashes: np.ndarray, digests: np.ndarray, low: int, high: int) -> tuple[ShardRows, ...]:
    """The shards of the rows whose hash, uint64 [N], is in [low, high)."""
    mine = digests[(hashes >= low) & (hashes <= high - 1)]
    shards = []
    for number, first in enumerate(range(0, len(mine), _SHARD_ROWS)):
        rows = mine[first:first + _SHARD_ROWS]
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
        shards.append(ShardRows(number, first, len(rows), digest))
    return tuple(shards)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all shards of a task have in common.

    task, input, tfds_dir: as of `rows.open_task`.
    encoding: how rows become records, and the tokenizer's folder.
    """

    task: TaskRow
    input: str
    tfds_dir: str
    encoding: RowEncoding
    output_dir: str

    def open(self) -> dict[str, RowSource]:
        """See `rows.open_task`."""
        return task_readers.open_task(self.task, self.input, self.tfds_dir,
                                      self.encoding.on_bad_row)

    def unit(self, share: Share, shard: ShardRows, tokenizer: Tokenizer) -> notes.Unit:
        """The work on a shard."""
        return notes.Unit.of(
            f"{share.split}-{shard.number:05d}", task=dataclasses.asdict(self.encoding.task),
            rows=shard.digest, tokenizer=tokenizer.fingerprint,
            max_length=self.encoding.max_length, on_bad_row=self.encoding.on_bad_row)


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A unit and which rows it is made of."""

    unit: notes.Unit
    share: Share
    shard: ShardRows


def alone(parcel: Parcel) -> Parcel:
    """A parcel that does not carry the plan of all other shards along."""
    return dataclasses.replace(parcel, share=dataclasses.replace(parcel.share, shards=()))


def make_parcel(settings: Settings, parcel: Parcel) -> None:
    """Makes one shard, wherever this runs.

    Raises:
      UserError: a row is bad, or input or tokenizer are not those that the work was planned with.
    """
    tokenizer = load_tokenizer(settings.encoding.tokenizer_dir)
    notes.require_same(parcel.unit, settings.unit(parcel.share, parcel.shard, tokenizer))
    rows = itertools.islice(parcel.share.rows(settings.open()), parcel.shard.first, None)
    chunks = _chunks(parcel.share, parcel.shard, rows)
    encoded = (encode_chunk(settings.encoding, chunk) for chunk in chunks)
    write_shards(settings.output_dir, [parcel], encoded)


def cut_chunks(sources: dict[str, RowSource], work: list[Parcel]) -> Iterator[Chunk]:
    """The chunks of shards, which are in order; those between are passed over."""
    for share, parcels in itertools.groupby(work, lambda parcel: parcel.share):
        rows, place = share.rows(sources), 0
        for parcel in parcels:
            rows = itertools.islice(rows, parcel.shard.first - place, None)
            place = parcel.shard.first + parcel.shard.rows
            yield from _chunks(share, parcel.shard, rows)


def _chunks(share: Share, shard: ShardRows, rows: Iterator[Row]) -> Iterator[Chunk]:
    mine = shard.read(rows)
    while chunk := tuple(itertools.islice(mine, _CHUNK_ROWS)):
        yield Chunk(share.split, shard.number, chunk)


def write_shards(folder: str, work: list[Parcel], encoded: Iterable[EncodedChunk]) -> None:
    """Writes the shards of `work`, which are in order, and a note when one is finished."""
    groups = itertools.groupby(encoded, lambda each: (each.split, each.shard))
    for parcel, ((split, number), group) in zip(work, groups, strict=True):
        totals = Totals()
        with ShardWriter(folder, split, number) as writer:
            for chunk in group:
                writer.write(chunk.serialized, chunk.lengths)
                totals += chunk.totals
            shard = writer.finish()
        notes.write(folder, parcel.unit, {split: (shard, totals.to_json())})


def whole_input(given: str) -> str:
    """--input as any machine finds it: with whole paths."""
    if given.startswith("tfds:"):
        return given
    path = os.path.expanduser(given)
    if os.path.exists(path):
        return os.path.abspath(path)
    pairs = [pair.strip().partition("=") for pair in given.split(",")]
    return ",".join(f"{split}={os.path.abspath(os.path.expanduser(name))}"
                    for split, _, name in pairs)
