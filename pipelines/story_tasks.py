"""Draws a labelled set from the story grammar, one for each form of the paper's tasks.

  python -m pipelines.story_tasks --task=ending --output_dir=stories/ending

  feeling  classification   what does the hero feel when things go wrong?
  follows  entailment       does it follow that the hero then feels and does so?
  retold   similarity       is the second the same story in other words?
  ending   multiple choice  which of two outcomes follows on the ending?

The labels are few and hang on what belongs together in the stories, not on single words: a wrong
ending is told in the very words of the right one, put together otherwise. So a bag of words sees
little, and a model that has read stories sees much.
The folder holds train.jsonl, validation.jsonl (to choose the best weights by), test.jsonl (to
measure them on) and, last, the spec.json that describes them to `pipelines.build_task`: it is also
an example of a task of one's own. The same flags give the same
bytes.
"""

from collections.abc import Callable
import dataclasses
import itertools
import json
import os
import random
from typing import Any

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write, make_folder
from gpt_tf.common.names import unused
from gpt_tf.common.small_files import write_json
from gpt_tf.config import Options, option
from gpt_tf.tasks import forms
from pipelines.grammar.stories import OPPOSED, PLOTS, Story, draw_story, tell

_TROUBLE = ("opening", "friend", "want", "cause")
_STORY = (*_TROUBLE, "offer", "journey", "result")
_CORE = ("want", "cause", "result")
_OPPOSITES = {(plot, one): other for plot, *pair in OPPOSED
              for one, other in (pair, reversed(pair))}

Texts = dict[str, str | list[str]]


def _other(story: Story, rng: random.Random) -> Story:
    """The story with another cause, and so another first feeling, and with the opposed ending."""
    causes = [cause for cause in PLOTS[story.plot].causes if cause != story.cause]
    return dataclasses.replace(story, cause=causes[int(rng.random() * len(causes))],
                               ending=_OPPOSITES[story.plot, story.ending])


def _sentences(story: Story, rng: random.Random, *roles: str) -> str:
    """What one telling, in which nothing is left out, says in these roles."""
    return " ".join(sentence for paragraph in tell(story, rng, whole=True)
                    for role, sentence in paragraph if role in roles)


def _feeling(story: Story, rng: random.Random) -> tuple[Texts, str]:
    return {"text": _sentences(story, rng, *_TROUBLE)}, story.first_feeling


def _follows(story: Story, rng: random.Random) -> tuple[Texts, str]:
    follows = rng.random() < 0.5
    told = story if follows else _other(story, rng)
    return ({"premise": _sentences(story, rng, *_TROUBLE),
             "hypothesis": _sentences(told, rng, "reaction")},
            "entailment" if follows else "not_entailment")


def _retold(story: Story, rng: random.Random) -> tuple[Texts, str]:
    same = rng.random() < 0.5
    told = story if same else _other(story, rng)
    return ({"first": _sentences(story, rng, *_CORE), "second": _sentences(told, rng, *_CORE)},
            "same" if same else "other")


def _ending(story: Story, rng: random.Random) -> tuple[Texts, str]:
    opposed = dataclasses.replace(story, ending=_OPPOSITES[story.plot, story.ending])
    answers = [_sentences(story, rng, "after"), _sentences(opposed, rng, "after")]
    is_first = rng.random() < 0.5
    return ({"context": _sentences(story, rng, *_STORY),
             "answers": answers if is_first else answers[::-1]},
            "first" if is_first else "second")


@dataclasses.dataclass(frozen=True)
class StoryTask:
    """A labelled set. make: (story, random numbers) -> texts by field, and a label."""

    form: str
    labels: tuple[str, ...]
    make: Callable[[Story, random.Random], tuple[Texts, str]]

    def spec(self, name: str) -> dict[str, Any]:
        """The spec.json that tells `pipelines.build_task` about the files."""
        fields = {field: field for field in forms.FIELDS[self.form] if field != "question"}
        return {"name": name, "form": self.form, "fields": fields, "label": "label",
                "labels": list(self.labels), "metrics": ["accuracy"]}


TASKS = {
    "feeling": StoryTask(forms.CLASSIFICATION, ("sad", "angry", "worried", "sorry", "afraid",
                                                "jealous"), _feeling),
    "follows": StoryTask(forms.ENTAILMENT, ("entailment", "not_entailment"), _follows),
    "retold": StoryTask(forms.SIMILARITY, ("other", "same"), _retold),
    "ending": StoryTask(forms.MULTIPLE_CHOICE, ("first", "second"), _ending)}


def draw_rows(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a task: its texts by field, and "label"; more rows begin with fewer.

    Args:
      task: one of `TASKS`.
      count: how many.
      seed: of the stories; those of `stories.generate` are others.
    """
    # Strings seed alike in every process and version of Python.
    rng = random.Random(f"{task} {seed}")
    rows = []
    while len(rows) < count:
        story = draw_story(rng)
        if (story.plot, story.ending) in _OPPOSITES:
            texts, label = TASKS[task].make(story, rng)
            rows.append(texts | {"label": label})
    return rows


@dataclasses.dataclass(frozen=True)
class StoryTaskConfig(Options):
    """Which set, how large, and where.

    Raises:
      ValueError: a value is missing or out of range.
    """

    task: str = option("ending", "Which set to draw.", choices=tuple(TASKS))
    output_dir: str = option("", "Folder to make.", required=True, path=True)
    train_rows: int = option(400, "Labelled rows to train on.", at_least=1)
    validation_rows: int = option(400, "Rows to choose the best weights by.", at_least=1)
    test_rows: int = option(400, "Rows to measure on.", at_least=1)
    seed: int = option(1, "Other seeds draw other rows.")
    overwrite: bool = option(False, "Replace the set that stands in --output_dir.")

    @property
    def rows(self) -> dict[str, int]:
        """Rows by split, in the order in which they are drawn."""
        return {"train": self.train_rows, "validation": self.validation_rows,
                "test": self.test_rows}


# Where a model of the sample stories is, after the commands that `stories` leads to, or make
# quickstart.
_STORY_RUNS = ("runs/stories", "quickstart/run")


def write(config: StoryTaskConfig) -> None:
    """Makes the folder; spec.json, which names the set, comes last.

    Raises:
      UserError: the set is there already, or cannot be written.
    """
    spec = os.path.join(config.output_dir, "spec.json")
    if os.path.exists(spec):
        if not config.overwrite:
            raise UserError(f"{spec} is there already; name another --output_dir, or replace it "
                            "with --overwrite.")
        os.unlink(spec)
    make_folder(config.output_dir)
    rows = iter(draw_rows(config.task, sum(config.rows.values()), config.seed))
    for split, count in config.rows.items():
        with atomic_write(os.path.join(config.output_dir, f"{split}.jsonl")) as stream:
            stream.write("".join(json.dumps(row) + "\n"
                                 for row in itertools.islice(rows, count)).encode("utf-8"))
    write_json(spec, TASKS[config.task].spec(config.task))


def main() -> None:
    """The command."""
    config = cli.from_flags(StoryTaskConfig)
    write(config)
    print(f"Wrote {config.train_rows:,} rows to train on, {config.validation_rows:,} to validate "
          f"on and {config.test_rows:,} to test on to {config.output_dir}.")
    print(next_step(config))


def next_step(config: StoryTaskConfig) -> str:
    """What to type next: the set is for a model of the sample stories, where there is one."""
    runs = [run for run in _STORY_RUNS if os.path.exists(os.path.join(run, "model.json"))]
    build = cli.command_line(
        "pipelines.build_task", task=os.path.join(config.output_dir, "spec.json"),
        input=config.output_dir, tokenizer=[*runs, _STORY_RUNS[0]][0],
        output_dir=unused(f"data/{config.task}"))
    if runs:
        return f"Next: {build}"
    stories = cli.command_line("pipelines.stories", output="stories.jsonl")
    return (f"Next: {stories}\nand what that and the following commands print, until there is "
            f"{_STORY_RUNS[0]}, a model of the sample stories; then\n      {build}")


if __name__ == "__main__":
    cli.define_flags(StoryTaskConfig)
    cli.run(main, makes_files=True)
