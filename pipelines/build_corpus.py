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
import re
import time

from gpt_tf import cli, records
from gpt_tf.config import option
from gpt_tf.files import Progress, UserError, atomic_write, lock_folder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer_files import is_tokenizer_file
from pipelines import readers, splitting, writer
from pipelines.encoding import Encoded, Encoders

# Stands in a folder from the first byte written to the manifest; names what may be replaced.
_UNFINISHED = "UNFINISHED"
# The last part is of a file that was being written.
_SHARD_FILE = re.compile(r"(train|validation)-\d{5,}\.(tfrecord|index\.npy)(\.part-\d+)?")


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What to read, how to cut it, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    input: str = option("", "Globs of .txt or .jsonl files (or .gz of them), or tfds:NAME, "
                        "separated by commas.")
    tokenizer: str = option("", "Folder with the tokenizer's files.")
    output_dir: str = option("", "Folder to make.")
    sequence_length: int = option(512, "Tokens of a window, and of a record.")
    validation_fraction: float = option(0.05, "About this share of the documents is validation; "
                                        "0: none.")
    shard_megabytes: float = option(64.0, "Text of a shard in 10**6 bytes, at the least; whole "
                                    "documents.")
    text_field: str = option("text", "Field of a .jsonl row, or of an example of a tfds data set, "
                             "that holds its text.")
    on_bad_utf8: str = option("stop", "What to do about a file or row that is not UTF-8.",
                              choices=("stop", "skip"))
    tfds_dir: str = option("", "Where tensorflow-datasets has prepared its data sets; empty: its "
                           "own place, ~/tensorflow_datasets.")
    num_workers: int = option(0, "Tokenizing processes; 0: one for each core.", resumable=True)
    overwrite: bool = option(False, "Replace the data folder that stands in --output_dir.",
                             resumable=True)

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

    def decisive_flags(self) -> dict[str, int | float | str]:
        """The flags that decide the data; the others change speed or place."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                if not field.metadata["resumable"] and field.name != "output_dir"}


def write_slice(folder: str, number: int, encoded: Iterable[Encoded],
                sequence_length: int) -> dict[str, writer.ShardTotals]:
    """Writes the shards of one slice, a pure function of the slice and the flags.

    Returns:
      What was written, by split.
    """
    with contextlib.ExitStack() as stack:
        writers: dict[str, writer.ShardWriter] = {}
        for each in encoded:
            split = each.place.split
            if split not in writers:
                writers[split] = stack.enter_context(
                    writer.ShardWriter(folder, split, number, sequence_length))
            writers[split].add(each.tokens, each.ends, each.place.text_bytes)
        return {split: shard.finish() for split, shard in writers.items()}


def build(config: CorpusConfig) -> records.Manifest:
    """Makes the data folder; prints how far it is, and in the end what it made.

    Raises:
      UserError: anything wrong with input, tokenizer, flags or folder.
    """
    start = time.monotonic()
    _check_folder(config)
    corpus = readers.open_corpus(config.input, config.text_field, config.on_bad_utf8,
                                 config.tfds_dir)
    # The processes start first: they load the tokenizer while this one imports TensorFlow.
    with contextlib.ExitStack() as stack:
        encoders = stack.enter_context(Encoders(config.tokenizer, config.num_workers))
        cli.import_tensorflow()
        tokenizer = Tokenizer.load(config.tokenizer)
        stack.enter_context(lock_folder(config.output_dir))
        _check_folder(config)
        rule = splitting.choose_rule(corpus, config.validation_fraction)
        _clear_folder(config)
        tasks = splitting.cut_tasks(corpus.documents(), rule, int(config.shard_megabytes * 1e6))
        shards = _write_shards(config, _with_progress(encoders.encode(tasks), corpus.total_bytes))
        splits = {split: writer.make_split(shards[split])
                  for split in (splitting.TRAIN, splitting.VALIDATION)}
        if not splits[splitting.TRAIN].windows:
            raise UserError("--input is too short: no document for training has two tokens.")
        manifest = records.Manifest(
            kind=records.LANGUAGE_MODEL, sequence_length=config.sequence_length,
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_fingerprint=tokenizer.fingerprint, splits=splits,
            flags=config.decisive_flags())
        tokenizer.save(config.output_dir)
        manifest.save(config.output_dir)
        os.unlink(os.path.join(config.output_dir, _UNFINISHED))
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


def _check_folder(config: CorpusConfig) -> None:
    """Refuses a folder that is finished, unless it may be replaced, or that is not ours."""
    folder = config.output_dir
    names = set(os.listdir(folder)) - {".lock"} if os.path.isdir(folder) else set()
    if not names or _UNFINISHED in names and records.MANIFEST_NAME not in names:
        return
    if records.MANIFEST_NAME not in names or not any(map(_SHARD_FILE.fullmatch, names)):
        raise UserError(f"--output_dir={folder} holds other files, such as {min(names)}; name a "
                        "new or empty folder.")
    if not config.overwrite:
        raise UserError(f"--output_dir={folder} holds a finished data folder; name another, or "
                        "replace this one with --overwrite.")


def _clear_folder(config: CorpusConfig) -> None:
    """Removes what an earlier build made, the manifest first, so that no half counts as whole."""
    folder = config.output_dir
    with atomic_write(os.path.join(folder, _UNFINISHED)) as stream:
        stream.write(b"This data folder is being built, or its building was stopped: run the same "
                     b"pipelines.build_corpus again.\n")
    names = os.listdir(folder)
    old = [name for name in names if _SHARD_FILE.fullmatch(name)]
    # A folder may be built again with the tokenizer that it holds.
    if not os.path.samefile(config.tokenizer, folder):
        old += [name for name in names if is_tokenizer_file(name)]
    if records.MANIFEST_NAME in names:
        old.insert(0, records.MANIFEST_NAME)
    for name in old:
        os.unlink(os.path.join(folder, name))


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
        print(f"  {split:<10} {count['documents']:>10,} {count['windows']:>10,} "
              f"{count['tokens']:>13,} {count['text_bytes'] / tokens:>12.3f} "
              f"{count['unknown'] / tokens:>9.4%}")
    for reason, count in sorted(corpus.skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    if not totals[splitting.VALIDATION]["windows"]:
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
