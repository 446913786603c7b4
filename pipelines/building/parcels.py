"""What a data folder is made of: its shards, cut into parcels that can be made anywhere."""

import abc
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
from typing import Any, Protocol

from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes
from pipelines.building.encoders import load_tokenizer


@dataclasses.dataclass(frozen=True)
class Parcel(abc.ABC):
    """A unit of work with all that is needed to make it."""

    unit: notes.Unit

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How much of the input it is, in the maker's `size_unit`."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Hexadecimal, of the input that it is made of."""

    @abc.abstractmethod
    def alone(self) -> "Parcel":
        """The same parcel for another machine: as small as can be, its paths whole."""


class Encoded(Protocol):
    """A chunk of a parcel's input that was encoded.

    unit: the name of the parcel's unit. size: how much of the input it is.
    """

    unit: str
    size: int


@dataclasses.dataclass(frozen=True)
class ShardMaker(abc.ABC):
    """How parcels become shards; a pure function of the parcels and of the fields.

    tokenizer_dir, output_dir: the tokenizer's folder and the data folder, by paths that any
      process finds.
    """

    size_unit = ""  # of progress

    tokenizer_dir: str
    output_dir: str

    @abc.abstractmethod
    def unit(self, name: str, digest: str, tokenizer: Tokenizer) -> notes.Unit:
        """The unit of that name whose input has that digest, as this process would make it."""

    @abc.abstractmethod
    def cut(self, parcels: list[Any]) -> Iterator[Any]:
        """The chunks of parcels, which are in order; what lies between them is passed over.

        Raises:
          UserError: the input is bad, or not what the work was planned with.
        """

    @abc.abstractmethod
    def encoder(self) -> Callable[[Any], Encoded]:
        """What encodes a chunk in any process: a `functools.partial` of a module's function."""

    @abc.abstractmethod
    def write(self, parcel: Any, encoded: Iterable[Any]) -> notes.Made:
        """Writes the shards of one parcel from its chunks, in order."""

    def elsewhere(self) -> "ShardMaker":
        """The same maker for another machine, its paths whole."""
        return self

    def make(self, parcels: list[Any], encoded: Iterable[Encoded]) -> None:
        """Writes the shards of parcels from their chunks, and a note when one's are finished."""
        groups = itertools.groupby(encoded, lambda each: each.unit)
        for parcel, (_, group) in zip(parcels, groups, strict=True):
            notes.write(self.output_dir, parcel.unit, self.write(parcel, group))

    def make_here(self, parcels: list[Any], encode_all: Callable[..., Iterator[Encoded]]) -> None:
        """Makes parcels in this process and shows how far it is.

        Args:
          parcels: in order.
          encode_all: as `map`, perhaps by other processes.
        """
        total = sum(parcel.size for parcel in parcels)
        encoded = encode_all(self.encoder(), self.cut(parcels))
        self.make(parcels, _with_progress(encoded, total, self.size_unit))

    def make_alone(self, parcel: Any) -> None:
        """Makes one parcel, wherever this runs.

        Raises:
          UserError: the input or the tokenizer are not those that the work was planned with.
        """
        tokenizer = load_tokenizer(self.tokenizer_dir)
        notes.require_same(parcel.unit, self.unit(parcel.unit.name, parcel.digest, tokenizer))
        self.make([parcel], map(self.encoder(), self.cut([parcel])))


def _with_progress(encoded: Iterable[Encoded], total: int, unit: str) -> Iterator[Encoded]:
    with Progress(total, unit, "building") as progress:
        for each in encoded:
            yield each
            progress.update(each.size)


@dataclasses.dataclass(frozen=True)
class Plan(abc.ABC):
    """All that is to be made, in order, and how; what the data folder will say of it."""

    maker: ShardMaker
    parcels: list[Any]

    @abc.abstractmethod
    def contents(self, made: list[notes.Made]) -> dict[str, Any]:
        """The fields of the manifest that the parcels decide.

        Args:
          made: of each parcel.

        Raises:
          UserError: nothing that can be used was made.
        """
