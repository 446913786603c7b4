"""Rows of a task -> records, in worker processes that never import TensorFlow."""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.data import records
from gpt_tf.tasks import forms, heuristics
from gpt_tf.tasks.tables import EMPTY, BadRow
from gpt_tf.tasks.task import Task, ZeroShotTask
from pipelines.building.encoders import load_tokenizer
from pipelines.tasks.description import NOTHING_SCORED
from pipelines.tasks.rows import Row


@dataclasses.dataclass(frozen=True)
class RowEncoding:
    """How rows become records: the task, and the flags."""

    task: Task
    max_length: int
    on_bad_row: str


@dataclasses.dataclass(frozen=True)
class RowChunk:
    """Consecutive rows of one shard, for one worker.

    unit: the name of the unit of work that makes the shard.
    """

    unit: str
    rows: tuple[Row, ...]


@dataclasses.dataclass
class Totals:
    """Sums over records; addable.

    counts: of "documents" (rows), "records", "tokens", "predicted_tokens", "text_bytes",
      "shortened".
    labels: label -> records; None: without one.
    left_out: reason -> rows.
    longest: tokens of the longest sequence.
    """

    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    labels: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    left_out: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    longest: int = 0

    def __iadd__(self, other: "Totals") -> "Totals":
        for mine, theirs in ((self.counts, other.counts), (self.labels, other.labels),
                             (self.left_out, other.left_out)):
            mine.update(theirs)
        self.longest = max(self.longest, other.longest)
        return self

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, where names are text and labels are not."""
        return vars(self) | {"labels": list(self.labels.items())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Totals":
        """What `to_json` made `value` of."""
        return cls(collections.Counter(value["counts"]), collections.Counter(dict(value["labels"])),
                   collections.Counter(value["left_out"]), value["longest"])


@dataclasses.dataclass(frozen=True)
class EncodedRows:
    """A chunk's records, and the length of the longest sequence of each, int64 [N]."""

    unit: str
    serialized: list[bytes]
    lengths: np.ndarray
    totals: Totals

    @property
    def size(self) -> int:
        """Rows of the chunk."""
        return self.totals.counts["documents"]


def encode_rows(tokenizer_dir: str, encoding: RowEncoding, chunk: RowChunk) -> EncodedRows:
    """Encodes the rows of a chunk with the tokenizer of a folder; a pure function.

    Raises:
      UserError: a text has no tokens, or of zero-shot data nothing can be scored, unless such
        rows are to be skipped.
    """
    tokenizer = load_tokenizer(tokenizer_dir)
    special = forms.SpecialTokens.after(tokenizer.vocabulary_size)
    encode = functools.cache(tokenizer.encode)  # the questions on a passage stand together
    task, totals = encoding.task, Totals()
    serialized, lengths = [], []
    for row in chunk.rows:
        totals.counts.update(documents=1, text_bytes=sum(len(t.encode()) for t in row.texts))
        try:
            sequences = _sequences(encoding, row.texts, encode, tokenizer.joined, special)
        except BadRow as bad:
            if encoding.on_bad_row == "stop":
                raise UserError(f"{row.where}: {bad}; correct or remove the row, or leave such "
                                "rows out with --on_bad_row=skip.") from bad
            totals.left_out[bad.reason] += 1
            continue
        serialized.append(records.encode_example(sequences.token_ids, row.label, row.index,
                                                 task.is_score, sequences.starts))
        sizes = list(map(len, sequences.token_ids))
        lengths.append(max(sizes))
        totals.counts.update(records=1, tokens=sum(sizes), shortened=sequences.shortened,
                             predicted_tokens=sum(sizes) - (sum(sequences.starts) or len(sizes)))
        totals.labels[row.label] += 1
    totals.longest = max(lengths, default=0)
    return EncodedRows(chunk.unit, serialized, np.array(lengths, np.int64), totals)


def _sequences(encoding: RowEncoding, texts: tuple[str, ...], encode: Callable[[str], list[int]],
               join: Callable[[Sequence[str]], list[str]],
               special: forms.SpecialTokens) -> forms.Sequences:
    task, max_length = encoding.task, encoding.max_length
    token_ids = [encode(text) for text in texts]
    if _lacks_text(task.form, token_ids):
        raise BadRow(EMPTY, "a text is empty")
    if not isinstance(task, ZeroShotTask):
        return forms.build(task.form, token_ids, special, max_length)
    pairs = [([token for part in prompt.context for token in encode(part)], encode(prompt.scored))
             for prompt in heuristics.prompts(task.heuristic, texts, task.prompt, task.words,
                                              join)]
    try:
        return heuristics.scored_sequences(pairs, max_length)
    except ValueError as error:
        raise BadRow(NOTHING_SCORED, f"{error}, and --max_length={max_length}") from error


def _lacks_text(form: str, texts: list[list[int]]) -> bool:
    """Whether a text has no tokens; the question of a multiple choice need not have any."""
    return not all(texts[:1] + texts[2:] if form == forms.MULTIPLE_CHOICE else texts)
