"""A task as a data folder: what is planned, and what the manifest says of it."""

import dataclasses
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.data.manifest import TASK, ZERO_SHOT, TaskSplit
from gpt_tf.tasks import forms
from gpt_tf.tasks.task import Task, ZeroShotTask
from gpt_tf.tokenizer import Tokenizer, WordTokenizer
from gpt_tf.tokenizer.languages import LetterSample
from pipelines.building import notes
from pipelines.building.parcels import Plan
from pipelines.tasks.description import TaskDescription
from pipelines.tasks.encoding import Totals
from pipelines.tasks.shards import RecordMaker, RowParcel
from pipelines.tasks.splits import SplitRows, plan_splits
from pipelines.tasks.table import TASKS


def task_of(description: TaskDescription, zero_shot: bool) -> Task:
    """What the manifest says of a task.

    Raises:
      UserError: the paper does not fine-tune on it, or does not answer it zero-shot.
    """
    if zero_shot and description.zero_shot is None:
        known = ", ".join(name for name, each in TASKS.items() if each.zero_shot)
        raise UserError(f"--zero_shot: the paper has no heuristic for {description.name}, only "
                        f"for {known}; leave the flag out to make data for fine-tuning.")
    if not zero_shot and description.form not in forms.FORMS:
        raise UserError(f"--task={description.name} is only measured as it is: nothing is "
                        "fine-tuned on it; add --zero_shot.")
    return description.zero_shot_task() if zero_shot else description.task()


@dataclasses.dataclass(frozen=True)
class TaskPlan(Plan):
    """The shards of a task; a split without rows has none."""

    maker: RecordMaker
    splits: list[SplitRows]

    def totals(self, made: list[notes.Made]) -> dict[str, Totals]:
        """Split -> what its shards hold."""
        totals = {split.name: Totals() for split in self.splits}
        for parcel, each in zip(self.parcels, made):
            _, counts = each[parcel.split.name]
            totals[parcel.split.name] += Totals.from_json(counts)
        return totals

    def contents(self, made: list[notes.Made]) -> dict[str, Any]:
        """See `Plan.contents`."""
        totals = self.totals(made)
        splits = {split.name: _make_split(split, made, totals[split.name])
                  for split in self.splits}
        if not any(split.records for split in splits.values()):
            raise UserError("--input holds no row with text in it.")
        encoding, source = self.maker.encoding, next(iter(self.maker.input.sources.values()))
        if isinstance(encoding.task, ZeroShotTask):
            kind, task = ZERO_SHOT, encoding.task
        else:
            kind, task = TASK, dataclasses.replace(encoding.task, columns=source.columns)
        return dict(kind=kind, sequence_length=encoding.max_length, task=task, splits=splits)


def _make_split(split: SplitRows, made: list[notes.Made], totals: Totals) -> TaskSplit:
    shards = (each[split.name][0] for each in made if split.name in each)
    counts, left_out = totals.counts, totals.left_out + split.left_out
    return TaskSplit(
        shards=tuple(shard for shard in shards if shard is not None),
        documents=counts["documents"] + split.left_out.total(),
        labelled=None not in totals.labels, left_out=dict(sorted(left_out.items())),
        **{name: counts[name] for name in ("records", "tokens", "predicted_tokens", "text_bytes",
                                           "shortened")})


def plan_task(maker: RecordMaker, fraction: float, tokenizer: Tokenizer) -> TaskPlan:
    """Reads a task's rows once and says what is to be made of them; warns of letters of other
    languages.

    Args:
      maker: of the records.
      fraction: see `plan_splits`.
      tokenizer: the maker's.

    Raises:
      UserError: a row is bad, or there is none.
    """
    letters = LetterSample()
    splits = plan_splits(maker.input.sources, fraction, letters)
    if isinstance(tokenizer, WordTokenizer):
        letters.warn(tokenizer.language)
    parcels = [RowParcel(maker.unit(f"{split.name}-{shard.number:05d}", shard.digest, tokenizer),
                         split, shard) for split in splits for shard in split.shards]
    if not parcels:
        raise UserError(f"--input={maker.input.input} holds no rows: every one is bad or its files "
                        "are empty.")
    return TaskPlan(maker, parcels, splits)
