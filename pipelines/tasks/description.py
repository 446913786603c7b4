"""What is said of a task: its form, where its files keep what, and how a pre-trained model answers
it as it is."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from gpt_tf.tasks import forms, heuristics
from gpt_tf.tasks.tables import Column
from gpt_tf.tasks.task import HIGHEST, MEAN, THRESHOLD, Task, ZeroShotTask

# Kinds of sources beside those of `gpt_tf.tasks.tables`. WINOGRAD is blocks of four lines
# (sentence, pronoun, candidates with a comma between, the right one) with a blank one between. ANY
# is the kind that the ending of a file's name says.
ANY = "any"
RACE = "race"
WINOGRAD = "winograd"
TFDS = "tfds"

# Why a row is left out, in the manifest's words, beside the reasons of `gpt_tf.tasks.tables`.
NO_LABEL = "no label"
NO_GOLD = "no gold label"
NO_PRONOUN = "no such pronoun"
NOTHING_SCORED = "nothing to score, or too much"
BAD_LABEL = "unknown label"


@dataclasses.dataclass(frozen=True)
class DrawnPart:
    """One side of a random parting of a file's rows.

    It is scikit-learn's train_test_split(rows, test_size=held_out, random_state=seed) where the
    file has `rows` rows, and holds out the same share of a file of another size.
    """

    held_out: int
    rows: int
    seed: int
    is_held_out: bool

    def numbers(self, rows: int) -> np.ndarray:
        """int64 [N]: the numbers, in their order, of the rows of a file of `rows` rows."""
        order = np.random.RandomState(self.seed).permutation(rows)
        first = round(rows * self.held_out / self.rows)
        return order[:first] if self.is_held_out else order[first:]


@dataclasses.dataclass(frozen=True)
class ListedPart:
    """The rows of a file that another one lists, or the rows it does not.

    file: tab-separated; its first columns are the listed rows' `columns`.
    """

    file: str
    columns: tuple[str, ...]
    is_listed: bool


@dataclasses.dataclass(frozen=True)
class Source:
    """Where one split stands, and where in its rows the texts and the label do.

    texts: for each text of the form, in order, its columns, joined by a space; none: an empty
      text. A column that holds a list is as many texts.
    paths: files under the input's folder, one after the other (of RACE a folder; of TFDS the name
      of its split; of ANY that, until its files are found).
    widths: allowed numbers of columns, in a file without a header; empty: as its first row.
    part: which rows of the file; None: all.
    index: column with the number of a row in its split; None: rows stand in their order.
    """

    kind: str
    texts: tuple[tuple[Column, ...], ...]
    label: Column
    paths: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    part: DrawnPart | ListedPart | None = None
    index: Column | None = None

    @property
    def has_header(self) -> bool:
        """Whether the first line of the file names its columns."""
        return any(isinstance(column, str) for column in self.columns)

    @property
    def columns(self) -> list[Column]:
        """Those of the texts; the label's stands apart, as a test split may lack it."""
        return [column for columns in self.texts for column in columns]

    def required(self, may_lack_label: bool) -> list[Column]:
        """Those that a file must have; one that may lack labels need not have their column."""
        listed = self.part.columns if isinstance(self.part, ListedPart) else ()
        return [*self.columns, *listed, *(() if may_lack_label else (self.label,))]


# Forms whose texts are two and then one for each label.
_CHOICES = (forms.MULTIPLE_CHOICE, heuristics.PRONOUN)

# Split -> its source, in the order train, validation, test.
Layout = Mapping[str, Source]


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """How a pre-trained model answers a task as it is; the fields are `task.ZeroShotTask`'s."""

    heuristic: str
    score: str = MEAN
    decision: str = HIGHEST
    prompt: str = ""
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TaskDescription:
    """A task: one of `table.TASKS`, or what a user's own spec.json says.

    form: one of `forms.FORMS`; or `heuristics.PRONOUN`, for a sentence, its pronoun and the
      candidates, on which nothing is fine-tuned.
    labels: the classes as the files and GLUE's site spell them, in the order of their ids; of
      multiple choice one for each answer; of scores ().
    score_range: (low, high), whole numbers, of scores; of classes ().
    metrics: names in `gpt_tf.tasks.metrics.METRICS`; the first chooses the best checkpoint.
    layouts: the published ways to lay its files out in a folder.
    catalogue: tensorflow-datasets' name -> where it keeps what.
    label_names: its names of the classes, which people are shown, in our order; empty: the same
      as `labels`.
    no_gold: what published files write for the label of a row on which its annotators did not
      agree; it is left out and counted.
    defects: reasons of bad rows that the published files are known to have; left out and counted.
    exported: files with the columns that data hubs export, or a user's own; of kind ANY, and one
      or more for each split.
    zero_shot: None where the paper has no heuristic for the task.
    """

    name: str
    form: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    score_range: tuple[int, ...] = ()
    layouts: tuple[Layout, ...] = ()
    catalogue: Mapping[str, Layout] = dataclasses.field(default_factory=dict)
    label_names: tuple[str, ...] = ()
    no_gold: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    exported: Layout = dataclasses.field(default_factory=dict)
    zero_shot: ZeroShot | None = None

    @property
    def is_own(self) -> bool:
        """Whether a user's spec.json describes it."""
        return not self.layouts

    @property
    def num_texts(self) -> int:
        """Texts of a row: those of the form's fields, each answer or candidate on its own."""
        if self.form in _CHOICES:
            return 2 + len(self.labels)
        return len(forms.FIELDS[self.form])

    def task(self) -> Task:
        """What the manifest says of the task."""
        sequences = forms.num_sequences(self.form, len(self.labels))
        return Task(self.name, self.form, sequences, self.labels, self.score_range, self.metrics,
                    label_names=self.label_names)

    def zero_shot_task(self) -> ZeroShotTask:
        """What the manifest of zero-shot data says of the task, which must have a heuristic."""
        is_threshold = self.zero_shot.decision == THRESHOLD
        return ZeroShotTask(
            self.name, self.form, 1 if is_threshold else len(self.labels), self.labels,
            self.score_range, self.metrics, **dataclasses.asdict(self.zero_shot),
            label_names=self.label_names)
