"""The shards of a corpus: a unit of work for each slice, made in this process or anywhere."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import dataclasses
import functools

from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes
from pipelines.building.parcels import Parcel, ShardMaker
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.documents import Position
from pipelines.corpus.encoding import EncodedText, TextChunk, encode_text
from pipelines.corpus.splitting import Slice, SplitRule, cut_chunks
from pipelines.corpus.windows import WindowWriter


@dataclasses.dataclass(frozen=True)
class SliceParcel(Parcel):
    """A slice, the files that it is in, and where in them it begins."""

    slice: Slice
    corpus: Corpus
    start: Position

    @property
    def size(self) -> int:
        """Bytes of the input."""
        return self.slice.source_bytes

    @property
    def digest(self) -> str:
        """Of the slice's text."""
        return self.slice.digest

    def alone(self) -> "SliceParcel":
        """See `Parcel.alone`: it holds the files of its slice and no others."""
        corpus, start = self.corpus.between(self.slice.first, self.slice.last)
        return dataclasses.replace(self, corpus=corpus, start=start)


@dataclasses.dataclass(frozen=True)
class WindowMaker(ShardMaker):
    """Makes windows of `sequence_length` tokens of the documents of slices.

    kind: of the tokenizer.
    """

    size_unit = "B"

    sequence_length: int
    rule: SplitRule
    kind: type[Tokenizer]

    def unit(self, name: str, digest: str, tokenizer: Tokenizer) -> notes.Unit:
        """See `ShardMaker.unit`."""
        return notes.Unit.of(
            name, tokenizer, kind=LANGUAGE_MODEL, text=digest,
            sequence_length=self.sequence_length, rule=dataclasses.asdict(self.rule))

    def cut(self, parcels: list[SliceParcel]) -> Iterator[TextChunk]:
        """See `ShardMaker.cut`."""
        documents, following = iter(()), None
        for parcel in parcels:
            if parcel.slice.number != following:
                documents = parcel.corpus.documents(parcel.start)
            following = parcel.slice.number + 1
            yield from cut_chunks(parcel.slice.read(documents), self.rule, self.kind.split_text,
                                  parcel.unit.name)

    def encoder(self) -> Callable[[TextChunk], EncodedText]:
        """See `ShardMaker.encoder`."""
        return functools.partial(encode_text, self.tokenizer_dir)

    def write(self, parcel: SliceParcel, encoded: Iterable[EncodedText]) -> notes.Made:
        """See `ShardMaker.write`: a shard for each split that the slice has text of."""
        with contextlib.ExitStack() as stack:
            writers: dict[str, WindowWriter] = {}
            for each in encoded:
                split = each.origin.split
                if split not in writers:
                    writers[split] = stack.enter_context(WindowWriter(
                        self.output_dir, split, parcel.slice.number, self.sequence_length,
                        self.kind.unknown_id))
                writers[split].add(each.tokens, each.ends, each.origin.text_bytes)
            totals = {split: writer.finish() for split, writer in writers.items()}
        return {split: (each.shard, each.counts) for split, each in totals.items()}
