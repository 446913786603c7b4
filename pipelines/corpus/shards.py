"""The shards of a corpus: a unit of work for each slice, made in this process or anywhere."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import itertools

from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes
from pipelines.building.encoders import load_tokenizer
from pipelines.corpus import splitting
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.encoding import Encoded, Task, encode_task
from pipelines.corpus.sources import Position
from pipelines.corpus.windows import WindowWriter


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all shards of a corpus have in common: the tokenizer's folder, the data folder, T."""

    tokenizer: str
    output_dir: str
    sequence_length: int
    rule: splitting.SplitRule

    def unit(self, slice_: splitting.Slice, tokenizer: Tokenizer) -> notes.Unit:
        """The work on a slice."""
        return notes.Unit.of(
            f"slice-{slice_.number:05d}", kind=LANGUAGE_MODEL, text=slice_.digest,
            tokenizer=tokenizer.fingerprint, sequence_length=self.sequence_length,
            rule=dataclasses.asdict(self.rule))


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A unit with all that another machine needs to make it: the files of its slice."""

    unit: notes.Unit
    slice: splitting.Slice
    corpus: Corpus
    start: Position


def make_parcels(work: Iterable[tuple[splitting.Slice, notes.Unit]],
                 corpus: Corpus) -> Iterator[Parcel]:
    """Parcels of slices of a corpus."""
    for slice_, unit in work:
        yield Parcel(unit, slice_, *corpus.between(slice_.first, slice_.last))


def make_parcel(settings: Settings, parcel: Parcel) -> None:
    """Makes the shards of one slice, wherever this runs.

    Raises:
      UserError: the input or the tokenizer are not those that the work was planned with.
    """
    tokenizer = load_tokenizer(settings.tokenizer)
    notes.require_same(parcel.unit, settings.unit(parcel.slice, tokenizer))
    documents = parcel.slice.read(parcel.corpus.documents(parcel.start))
    tasks = splitting.cut_tasks(documents, settings.rule, parcel.slice.number)
    encoded = map(functools.partial(encode_task, settings.tokenizer), tasks)
    write_slices(settings, {parcel.slice.number: parcel.unit}, encoded)


def cut_slices(rule: splitting.SplitRule, corpus: Corpus,
               slices: list[splitting.Slice]) -> Iterator[Task]:
    """The tasks of some slices of a corpus, in order; those between are passed over."""
    documents, following = iter(()), None
    for slice_ in slices:
        if slice_.number != following:
            documents = corpus.documents(slice_.first)
        following = slice_.number + 1
        yield from splitting.cut_tasks(slice_.read(documents), rule, slice_.number)


def write_slices(settings: Settings, units: Mapping[int, notes.Unit],
                 encoded: Iterable[Encoded]) -> None:
    """Writes the shards of slices, by number, and a note when those of one are finished."""
    for number, group in itertools.groupby(encoded, lambda each: each.place.slice_number):
        with contextlib.ExitStack() as stack:
            writers: dict[str, WindowWriter] = {}
            for each in group:
                split = each.place.split
                if split not in writers:
                    writers[split] = stack.enter_context(WindowWriter(
                        settings.output_dir, split, number, settings.sequence_length))
                writers[split].add(each.tokens, each.ends, each.place.text_bytes)
            totals = {split: shard.finish() for split, shard in writers.items()}
        notes.write(settings.output_dir, units[number],
                    {split: (each.shard, each.counts) for split, each in totals.items()})
