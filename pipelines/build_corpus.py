"""Makes a data folder for pre-training from raw text.

  python -m pipelines.build_corpus --input='books/*.txt' --tokenizer=bpe --output_dir=data/books

A text file, or one row of .jsonl or Parquet, is one document (also packed; a folder is all files in
it; tfds:NAME is a prepared data set of tensorflow-datasets). Windows of --sequence_length tokens
never cross documents. Whole documents go to validation; where there are few, or some are large,
their last part. The folder is all that training needs; the same input and flags make the same
bytes. The same command again goes on where it was stopped.

With --runner, Apache Beam makes the shards, on machines that see --input, --tokenizer and
--output_dir under the same names:

  python -m pipelines.build_corpus --input='books/*.txt' --tokenizer=bpe --output_dir=data/books \\
      --runner=DirectRunner --direct_num_workers=4 --direct_running_mode=multi_processing
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import os
import sys
import time

from gpt_tf.common import cli
from gpt_tf.config import ModelConfig, option
from gpt_tf.data.manifest import Manifest
from gpt_tf.sources import resolve
from pipelines.building.data_folder import DataFolder, FolderConfig
from pipelines.building.frame import Built, build_folder
from pipelines.building.plan import TRAIN, VALIDATION
from pipelines.corpus import next_run
from pipelines.corpus.census import is_near
from pipelines.corpus.corpus import InputConfig
from pipelines.corpus.plan import plan_corpus, shards_of


@dataclasses.dataclass(frozen=True)
class CorpusConfig(InputConfig, FolderConfig):
    """What to read, how to cut it, and where to put it.

    Raises:
      ValueError: a value is missing or out of range.
    """

    # One token predicts nothing.
    sequence_length: int = option(512, "Tokens of a window, and of a record.", at_least=2)
    validation_fraction: float = option(
        0.05, "About this share of the text is validation; 0: none, and training keeps its newest "
        "weights.", at_least=0, below=1)
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
    named = config.tokenizer
    config = dataclasses.replace(config, tokenizer=resolve.tokenizer_folder(named))
    folder = DataFolder(config, "pipelines.build_corpus", named)
    corpus = config.open_corpus()
    plan = functools.partial(plan_corpus, config, corpus, config.sequence_length,
                             config.validation_fraction, int(config.shard_megabytes * 1e6))
    built = build_folder(folder, plan, beam_options)
    _print_summary(config, built, time.monotonic() - start)
    return built.manifest


def _print_summary(config: CorpusConfig, built: Built, seconds: float) -> None:
    totals = {split: collections.Counter() for split in (TRAIN, VALIDATION)}
    for split, shards in shards_of(built.made).items():
        for shard in shards:
            totals[split].update(shard.counts)
    size = sum(count["text_bytes"] for count in totals.values()) / 1e6
    print(f"Built {config.output_dir} from {size:.1f} MB of text in {seconds:.1f} s "
          f"({size / built.seconds:.2f} MB/s in {built.seconds:.1f} s of work).")
    print(f"  {'':<10} {'documents':>10} {'windows':>10} {'tokens':>13} {'bytes/token':>12} "
          f"{'<unk>':>9}")
    for split, count in totals.items():
        tokens = max(1, count["tokens"])
        print(f"  {split:<10} {count['documents']:>10,} {count['records']:>10,} "
              f"{count['tokens']:>13,} {count['text_bytes'] / tokens:>12.3f} "
              f"{count['unknown'] / tokens:>9.4%}")
    for reason, count in sorted(built.plan.skipped.items()):
        if count:
            print(f"Skipped as {reason}: {count:,} documents.")
    _print_validation(config, built)
    print(next_step(config, built.manifest))


def _print_validation(config: CorpusConfig, built: Built) -> None:
    """What the validation is, and how much; on standard error where that is not what was asked."""
    asked, splits = config.validation_fraction, built.manifest.splits
    tokens = splits[VALIDATION].tokens
    share = tokens / (tokens + splits[TRAIN].tokens)
    if not asked:
        print("There is no validation, as --validation_fraction=0 asks.")
    elif not splits[VALIDATION].records:
        print("There is no validation: the text is too short to cut one off.", file=sys.stderr)
    else:
        cuts = len(built.plan.maker.rule.cuts)
        chosen = (f"the last part of {cuts:,} of the documents, for whole ones alone would be far "
                  "from that" if cuts else "whole documents")
        print(f"Validation is {share:.1%} of the tokens (--validation_fraction={asked:g}): "
              f"{chosen}.")
        if not is_near(share, asked):
            print(f"Validation is far from {asked:.1%} of the tokens: give more text, or another "
                  "--validation_fraction.", file=sys.stderr)


def next_step(config: CorpusConfig, manifest: Manifest) -> str:
    """What to type next, and how long it takes."""
    name = os.path.basename(os.path.normpath(config.output_dir))

    longer = manifest.sequence_length > ModelConfig.max_sequence_length

    def pretrain(flagfile: str) -> str:
        more = {"max_sequence_length": 0} if flagfile == next_run.PAPER and longer else {}
        if flagfile == next_run.SMALL_TEXT and not manifest.splits[VALIDATION].records:
            more["early_stopping"] = 0  # it counts validations
        return cli.command_line("gpt_tf.pretrain", flagfile=flagfile, data_dir=config.output_dir,
                                model_dir=f"runs/{name}", **more)

    flagfile, lines = next_run.suitable(manifest.splits[TRAIN].tokens), []
    if flagfile == next_run.PAPER:
        lines.append(f"Next, on GPUs: {pretrain(flagfile)}")
        flagfile = next_run.BOOKS
    lines.append(f"Next, about {next_run.duration(flagfile, manifest)} on the processors here: "
                 f"{pretrain(flagfile)}")
    return "\n".join(lines)


def main(beam_options: list[str]) -> None:
    """Reads the flags and builds."""
    # Nothing here is for a GPU, and TensorFlow would take all memory of one.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    build(cli.from_flags(CorpusConfig), beam_options)


if __name__ == "__main__":
    cli.define_flags(CorpusConfig)
    cli.run(main, passes_on="runner", makes_files=True)
