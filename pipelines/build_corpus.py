"""Makes a data folder for pre-training from raw text.

  python -m pipelines.build_corpus --input='books/*.txt' --tokenizer=bpe --output_dir=data/books

One .txt file, or one row of a .jsonl file, is one document (also .gz; or tfds:NAME, a prepared
data set of tensorflow-datasets). Windows of --sequence_length tokens never cross documents. Whole
documents go to validation; a corpus of one document gives its last part. The folder is all that
training needs; the same input and flags make the same bytes.
"""

import collections
from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import itertools
import os
import time

from gpt_tf import cli, records
from gpt_tf.config import option
from gpt_tf.files import Progress, UserError
from gpt_tf.tokenizer import Tokenizer
from pipelines import readers, splitting, writer
from pipelines.data_folder import DataFolder, FolderConfig
from pipelines.encoding import Encoded, Encoders


@dataclasses.dataclass(frozen=True)
class CorpusConfig(readers.InputConfig, FolderConfig):
    """What to read, how to cut it, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    sequence_length: int = option(512, "Tokens of a window, and of a record.")
    validation_fraction: float = option(0.05, "About this share of the documents is validation; "
                                        "0: none.")
    shard_megabytes: float = option(64.0, "Text of a shard in 10**6 bytes, at the least; whole "
                                    "documents.")

    def __post_init__(self):
        for name in ("input", "tokenizer", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"--{name} must be given. Try --help.")
        if self.sequence_length < 2:
            raise ValueError(f"--sequence_length={self.sequence_length} must be at least 2: one "
                             "token predicts nothing.")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"--validation_fraction={self.validation_fraction} must be at least "
                             "0 and below 1.")
        if self.shard_megabytes <= 0 or self.num_workers < 0:
            raise ValueError(f"--shard_megabytes={self.shard_megabytes} must be positive and "
                             f"--num_workers={self.num_workers} not negative.")


def write_slice(folder: str, number: int, encoded: Iterable[Encoded],
                sequence_length: int) -> dict[str, writer.ShardTotals]:
    """Writes the shards of one slice, a pure function of the slice and the flags.

    Returns:
      What was written, by split.
    """
    with contextlib.ExitStack() as stack:
        writers: dict[str, writer.WindowWriter] = {}
        for each in encoded:
            split = each.place.split
            if split not in writers:
                writers[split] = stack.enter_context(
                    writer.WindowWriter(folder, split, number, sequence_length))
            writers[split].add(each.tokens, each.ends, each.place.text_bytes)
        return {split: shard.finish() for split, shard in writers.items()}


def build(config: CorpusConfig) -> records.Manifest:
    """Makes the data folder; prints how far it is, and in the end what it made.

    Raises:
      UserError: anything wrong with input, tokenizer, flags or folder.
    """
    start = time.monotonic()
    folder = DataFolder(config, command="pipelines.build_corpus")
    corpus = config.open_corpus()
    # The processes start first: they load the tokenizer while this one imports TensorFlow.
    with contextlib.ExitStack() as stack:
        encoders = stack.enter_context(Encoders(config.tokenizer, config.num_workers))
        cli.import_tensorflow()
        tokenizer = Tokenizer.load(config.tokenizer)
        stack.enter_context(folder.own())
        rule = splitting.choose_rule(corpus, config.validation_fraction)
        folder.clear()
        tasks = splitting.cut_tasks(corpus.documents(), rule, int(config.shard_megabytes * 1e6))
        shards = _write_shards(config, _with_progress(encoders.encode(tasks), corpus.total_bytes))
        splits = {split: writer.make_split(shards[split])
                  for split in (splitting.TRAIN, splitting.VALIDATION)}
        if not splits[splitting.TRAIN].records:
            raise UserError("--input is too short: no document for training has two tokens.")
        manifest = records.Manifest(
            kind=records.LANGUAGE_MODEL, sequence_length=config.sequence_length,
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_fingerprint=tokenizer.fingerprint, splits=splits,
            flags=config.decisive_flags())
        folder.finish(tokenizer, manifest)
    _print_summary(config, shards, corpus, rule, time.monotonic() - start)
    return manifest


def _write_shards(config: CorpusConfig,
                  encoded: Iterable[Encoded]) -> dict[str, list[writer.ShardTotals]]:
    """All shards, by split and in order."""
    shards = collections.defaultdict(list)
    for number, group in itertools.groupby(encoded, lambda each: each.place.slice_number):
        written = write_slice(config.output_dir, number, group, config.sequence_length)
        for split, totals in written.items():
            shards[split].append(totals)
    return shards


def _with_progress(encoded: Iterable[Encoded], total_bytes: int | None) -> Iterator[Encoded]:
    with Progress(total_bytes, "B", "building") as progress:
        for each in encoded:
            yield each
            progress.update(each.place.source_bytes)


def _print_summary(config: CorpusConfig, shards: dict[str, list[writer.ShardTotals]],
                   corpus: readers.Corpus, rule: splitting.SplitRule, seconds: float) -> None:
    totals = {split: collections.Counter() for split in (splitting.TRAIN, splitting.VALIDATION)}
    for split, written in shards.items():
        for shard in written:
            counts = dataclasses.asdict(shard)
            totals[split].update({name: counts[name] for name in counts if name != "shard"})
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
    for reason, count in sorted(corpus.skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    if not totals[splitting.VALIDATION]["records"]:
        if config.validation_fraction:
            print("There is no validation: the text is too short or has no line to cut it at.")
    elif rule.tail_bytes:
        print("There is one document (or copies of one): its last part is the validation.")
    name = os.path.basename(os.path.normpath(config.output_dir))
    print("Next: python -m gpt_tf.pretrain --flagfile=gpt_tf/flagfiles/gpt1.flags "
          f"--data_dir={config.output_dir} --model_dir=runs/{name}")


def main() -> None:
    """Reads the flags and builds."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    build(cli.from_flags(CorpusConfig))


if __name__ == "__main__":
    cli.define_flags(CorpusConfig)
    cli.run(main)
