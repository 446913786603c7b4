"""The shards of a task: a unit of work for each, made in this process or anywhere.

A row is read where it is needed: a task's files are small beside a corpus, so whoever makes a
shard reads its split from the start.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import itertools
import os

from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes
from pipelines.building.parcels import Parcel, ShardMaker
from pipelines.building.shard_writer import ShardWriter
from pipelines.tasks.description import TaskDescription
from pipelines.tasks.encoding import EncodedRows, RowChunk, RowEncoding, Totals, encode_rows
from pipelines.tasks.layouts import listed_paths
from pipelines.tasks.rows import RowSource, open_task
from pipelines.tasks.splits import ShardRows, SplitRows


@dataclasses.dataclass(frozen=True)
class TaskInput:
    """The rows of a task's input; the fields are the arguments of `rows.open_task`."""

    task: TaskDescription
    input: str
    tfds_dir: str
    on_bad_row: str
    encoding: str

    @functools.cached_property
    def sources(self) -> dict[str, RowSource]:
        """Split -> its rows; they are looked for when this is first asked for.

        Raises:
          UserError: see `rows.open_task`.
        """
        return open_task(self.task, self.input, self.tfds_dir, self.on_bad_row, self.encoding)

    def open(self) -> None:
        """Looks for `sources`; raises what they do."""
        self.sources  # noqa: B018

    def elsewhere(self) -> "TaskInput":
        """The same input for another machine: with whole paths, and not open."""
        tfds_dir = self.tfds_dir and os.path.abspath(os.path.expanduser(self.tfds_dir))
        return dataclasses.replace(self, input=_whole_input(self.input), tfds_dir=tfds_dir)


def _whole_input(given: str) -> str:
    if given.startswith("tfds:"):
        return given
    path = os.path.expanduser(given)
    if os.path.exists(path):
        return os.path.abspath(path)
    return ",".join(f"{split}={os.path.abspath(each)}"
                    for split, each in listed_paths(given).items())


@dataclasses.dataclass(frozen=True)
class RowParcel(Parcel):
    """The rows of one shard, and the split that they are of."""

    split: SplitRows
    shard: ShardRows

    @property
    def size(self) -> int:
        """Rows."""
        return self.shard.rows

    @property
    def digest(self) -> str:
        """Of the shard's rows."""
        return self.shard.digest

    def alone(self) -> "RowParcel":
        """See `Parcel.alone`: without the plan of all other shards."""
        return dataclasses.replace(self, split=dataclasses.replace(self.split, shards=()))


@dataclasses.dataclass(frozen=True)
class RecordMaker(ShardMaker):
    """Makes a record of each row of a task."""

    size_unit = " rows"

    input: TaskInput
    encoding: RowEncoding

    def unit(self, name: str, digest: str, tokenizer: Tokenizer) -> notes.Unit:
        """See `ShardMaker.unit`."""
        return notes.Unit.of(
            name, tokenizer, task=self.encoding.task.published.to_json(), rows=digest,
            max_length=self.encoding.max_length, on_bad_row=self.encoding.on_bad_row)

    def cut(self, parcels: list[RowParcel]) -> Iterator[RowChunk]:
        """See `ShardMaker.cut`."""
        for split, group in itertools.groupby(parcels, lambda parcel: parcel.split):
            rows, place = split.rows(self.input.sources), 0
            for parcel in group:
                shard = parcel.shard
                rows = itertools.islice(rows, shard.first - place, None)
                place = shard.first + shard.rows
                for chunk in shard.chunks(rows):
                    yield RowChunk(parcel.unit.name, chunk)

    def encoder(self) -> Callable[[RowChunk], EncodedRows]:
        """See `ShardMaker.encoder`."""
        return functools.partial(encode_rows, self.tokenizer_dir, self.encoding)

    def write(self, parcel: RowParcel, encoded: Iterable[EncodedRows]) -> notes.Made:
        """See `ShardMaker.write`."""
        totals, split = Totals(), parcel.split.name
        with ShardWriter(self.output_dir, split, parcel.shard.number) as writer:
            for chunk in encoded:
                writer.write(chunk.serialized, chunk.lengths)
                totals += chunk.totals
            return {split: (writer.finish(), totals.to_json())}

    def elsewhere(self) -> "RecordMaker":
        """See `ShardMaker.elsewhere`."""
        return dataclasses.replace(self, input=self.input.elsewhere())
