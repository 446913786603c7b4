"""A corpus as a data folder: what is planned, and what the manifest says of it."""

import dataclasses
import os
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.tokenizer import Tokenizer, WordTokenizer
from gpt_tf.tokenizer.languages import LetterSample
from pipelines.building import notes
from pipelines.building.data_folder import FolderConfig
from pipelines.building.parcels import Plan
from pipelines.building.plan import TRAIN, VALIDATION
from pipelines.corpus.census import Census
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.shards import SliceParcel, WindowMaker
from pipelines.corpus.splitting import SplitRule, plan_slices
from pipelines.corpus.windows import ShardTotals, make_split


@dataclasses.dataclass(frozen=True)
class CorpusPlan(Plan):
    """The slices of a corpus, and of what was skipped in it how much, by reason."""

    maker: WindowMaker
    skipped: dict[str, int]

    def contents(self, made: list[notes.Made]) -> dict[str, Any]:
        """See `Plan.contents`."""
        splits = {split: make_split(shards) for split, shards in shards_of(made).items()}
        if not splits[TRAIN].records:
            raise UserError("--input is too short: no document for training has two tokens.")
        return dict(kind=LANGUAGE_MODEL, sequence_length=self.maker.sequence_length, splits=splits)


def plan_corpus(config: FolderConfig, corpus: Corpus, sequence_length: int, fraction: float,
                slice_bytes: int, tokenizer: Tokenizer) -> CorpusPlan:
    """Reads a corpus once and says what is to be made of it; warns of letters of other languages.

    Args:
      config: the folders' names.
      corpus: the input.
      sequence_length: tokens of a window.
      fraction: about this share of the text is validation.
      slice_bytes: text of a slice at the least.
      tokenizer: of `config.tokenizer`.

    Raises:
      UserError: the input cannot be read or holds no text.
    """
    census, letters = Census(fraction), LetterSample()
    slices = plan_slices(corpus, slice_bytes, census, letters)
    if not slices:
        raise UserError("--input holds no text: every file and row is empty or was skipped.")
    if isinstance(tokenizer, WordTokenizer):
        letters.warn(tokenizer.language)
    rule = SplitRule(*census.choose())
    maker = WindowMaker(os.path.abspath(config.tokenizer), os.path.abspath(config.output_dir),
                        sequence_length, rule, type(tokenizer))
    parcels = [SliceParcel(maker.unit(f"slice-{each.number:05d}", each.digest, tokenizer),
                           each, corpus, each.first) for each in slices]
    return CorpusPlan(maker, parcels, dict(corpus.skipped))


def shards_of(made: list[notes.Made]) -> dict[str, list[ShardTotals]]:
    """All shards that were made, by split and in order."""
    return {split: [ShardTotals(shard, **counts)
                    for each in made if split in each for shard, counts in [each[split]]]
            for split in (TRAIN, VALIDATION)}
