"""Makes a data folder for pre-training from raw text.

  python -m pipelines.build_corpus --input='books/*.txt' --tokenizer=bpe --output_dir=data/books

One .txt file, or one row of a .jsonl file, is one document (also .gz; or tfds:NAME, a prepared
data set of tensorflow-datasets). Windows of --sequence_length tokens never cross documents. Whole
documents go to validation; a corpus of one document gives its last part. The folder is all that
training needs; the same input and flags make the same bytes. The same command again goes on
where it was stopped.

With --runner, Apache Beam makes the shards, on machines that see --input, --tokenizer and
--output_dir under the same names:

  python -m pipelines.build_corpus --input='books/*.txt' --tokenizer=bpe --output_dir=data/books \\
      --runner=DirectRunner --direct_num_workers=4 --direct_running_mode=multi_processing
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import os
import time

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.config import option
from gpt_tf.data.manifest import LANGUAGE_MODEL, Manifest
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import notes, with_beam
from pipelines.building.data_folder import DataFolder, FolderConfig
from pipelines.building.encoders import Encoders
from pipelines.building.plan import TRAIN, VALIDATION
from pipelines.corpus import corpus as readers
from pipelines.corpus import shards as corpus_shards
from pipelines.corpus import splitting
from pipelines.corpus.encoding import Encoded, encode_task
from pipelines.corpus.windows import ShardTotals, make_split


@dataclasses.dataclass(frozen=True)
class CorpusConfig(readers.InputConfig, FolderConfig):
    """What to read, how to cut it, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    # One token predicts nothing.
    sequence_length: int = option(512, "Tokens of a window, and of a record.", at_least=2)
    validation_fraction: float = option(0.05, "About this share of the documents is validation; "
                                        "0: none.", at_least=0, below=1)
    shard_megabytes: float = option(64.0, "Text of a shard in 10**6 bytes, at the least; whole "
                                    "documents.", above=0)


def build(config: CorpusConfig, beam_options: Sequence[str] = ()) -> Manifest:
    """Makes the data folder; prints how far it is, and in the end what it made.

    What an earlier call with the same values had finished before it was stopped stays as it is.

    Args:
      config: the flags.
      beam_options: with `config.runner`, Beam's own flags.

    Raises:
      UserError: anything wrong with input, tokenizer, flags or folder.
    """
    start = time.monotonic()
    folder = DataFolder(config, command="pipelines.build_corpus")
    corpus = config.open_corpus()
    # The processes start first: they load the tokenizer while this one imports TensorFlow.
    with contextlib.ExitStack() as stack:
        make = _make_with_beam(config, beam_options) if config.runner else _make_here(
            stack.enter_context(Encoders(config.tokenizer, config.num_workers)))
        cli.import_tensorflow()
        tokenizer = Tokenizer.load(config.tokenizer)
        stack.enter_context(folder.own())
        rule = splitting.choose_rule(corpus, config.validation_fraction)
        slices = splitting.plan_slices(corpus, int(config.shard_megabytes * 1e6))
        skipped = dict(corpus.skipped)
        settings = corpus_shards.Settings(os.path.abspath(config.tokenizer), os.path.abspath(
            config.output_dir), config.sequence_length, rule)
        units = [settings.unit(slice_, tokenizer) for slice_ in slices]
        unmade = folder.begin(units)
        make(settings, corpus, [each for each in zip(slices, units) if each[1] in unmade])
        shards = _shards_of(notes.collect(config.output_dir, units))
        splits = {split: make_split(shards[split]) for split in shards}
        if not splits[TRAIN].records:
            raise UserError("--input is too short: no document for training has two tokens.")
        manifest = Manifest(
            kind=LANGUAGE_MODEL, sequence_length=config.sequence_length,
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_fingerprint=tokenizer.fingerprint, splits=splits,
            flags=config.decisive_flags())
        folder.finish(tokenizer, manifest)
    _print_summary(config, shards, skipped, rule, time.monotonic() - start)
    return manifest


# Makes the shards of slices and their notes.
_Make = Callable[[corpus_shards.Settings, readers.Corpus,
                  list[tuple[splitting.Slice, notes.Unit]]], None]


def _make_here(encoders: Encoders) -> _Make:
    def make(settings, corpus, work):
        slices = [slice_ for slice_, _ in work]
        total = sum(slice_.source_bytes for slice_ in slices)
        tasks = corpus_shards.cut_slices(settings.rule, corpus, slices)
        encode = functools.partial(encode_task, settings.tokenizer)
        corpus_shards.write_slices(settings, {slice_.number: unit for slice_, unit in work},
                                   _with_progress(encoders.map(encode, tasks), total))
    return make


def _make_with_beam(config: CorpusConfig, beam_options: Sequence[str]) -> _Make:
    pipeline = with_beam.Pipeline(config, beam_options)

    def make(settings, corpus, work):
        pipeline.run(functools.partial(corpus_shards.make_parcel, settings),
                     list(corpus_shards.make_parcels(work, corpus)), settings.output_dir)
    return make


def _shards_of(made: list[notes.Made]) -> dict[str, list[ShardTotals]]:
    """All shards, by split and in order."""
    return {split: [ShardTotals(shard, **counts)
                    for each in made if split in each for shard, counts in [each[split]]]
            for split in (TRAIN, VALIDATION)}


def _with_progress(encoded: Iterable[Encoded], total_bytes: int) -> Iterator[Encoded]:
    with Progress(total_bytes, "B", "building") as progress:
        for each in encoded:
            yield each
            progress.update(each.place.source_bytes)


def _print_summary(config: CorpusConfig, shards: dict[str, list[ShardTotals]],
                   skipped: dict[str, int], rule: splitting.SplitRule, seconds: float) -> None:
    totals = {split: collections.Counter() for split in (TRAIN, VALIDATION)}
    for split, written in shards.items():
        for shard in written:
            totals[split].update(shard.counts)
    size = sum(count["text_bytes"] for count in totals.values()) / 1e6
    print(f"Built {config.output_dir} from {size:.1f} MB of text in {seconds:.1f} s "
          f"({size / seconds:.2f} MB/s).")
    print(f"  {'':<10} {'documents':>10} {'windows':>10} {'tokens':>13} {'bytes/token':>12} "
          f"{'<unk>':>9}")
    for split, count in totals.items():
        tokens = max(1, count["tokens"])
        print(f"  {split:<10} {count['documents']:>10,} {count['records']:>10,} "
              f"{count['tokens']:>13,} {count['text_bytes'] / tokens:>12.3f} "
              f"{count['unknown'] / tokens:>9.4%}")
    for reason, count in sorted(skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    if not totals[VALIDATION]["records"]:
        if config.validation_fraction:
            print("There is no validation: the text is too short or has no line to cut it at.")
    elif rule.tail_bytes:
        print("There is one document (or copies of one): its last part is the validation.")
    name = os.path.basename(os.path.normpath(config.output_dir))
    print("Next: python -m gpt_tf.pretrain --flagfile=gpt_tf/flagfiles/gpt1.flags "
          f"--data_dir={config.output_dir} --model_dir=runs/{name}")


def main(beam_options: list[str]) -> None:
    """Reads the flags and builds."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    build(cli.from_flags(CorpusConfig), beam_options)


if __name__ == "__main__":
    cli.define_flags(CorpusConfig)
    cli.run(main, passes_on="runner")
