"""The labelled sets of the story grammar: what they ask, and their bytes.

What they are worth `make quickstart` checks: it trains on one of them.
"""

import collections
import hashlib
import json

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.tasks import forms
from pipelines import story_tasks
from pipelines.grammar.stories import generate
from pipelines.grammar.words import FEELINGS
from pipelines.story_tasks import TASKS, StoryTaskConfig, draw_rows, write
from pipelines.tasks import spec


def feelings_in(text):
    """The feelings whose words or signs stand in a text."""
    return {feeling for feeling, (words, signs) in FEELINGS.items()
            if any(f" {word} " in text.replace("!", " ").replace(".", " ") for word in words)
            or any(sign in text for sign in signs)}


@pytest.mark.parametrize("task, digest", [
    ("feeling", "575584b695556eac"),
    ("follows", "b72b475abb97179c"),
    ("retold", "efe896ee0f45d8c5"),
    ("ending", "f3bf94da31815886")])
def test_bytes_are_pinned(task, digest):
    """As with the stories: other rows are another set, to be measured anew."""
    text = json.dumps(draw_rows(task, 50, seed=1))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_all_forms_are_there():
    assert {task.form for task in TASKS.values()} == set(forms.FORMS)


@pytest.mark.parametrize("task", TASKS)
def test_every_label_is_drawn_and_rows_differ(task):
    rows = draw_rows(task, 400, seed=3)
    counts = collections.Counter(row["label"] for row in rows)
    assert set(counts) == set(TASKS[task].labels)
    assert min(counts.values()) > 400 / 16  # two of the 24 causes make jealous
    assert len({json.dumps(row) for row in rows}) == 400
    assert rows[:50] == draw_rows(task, 50, seed=3)
    assert rows[:50] != draw_rows(task, 50, seed=4)


def test_the_story_does_not_say_its_feeling():
    for row in draw_rows("feeling", 200, seed=2):
        assert not feelings_in(row["text"])


def test_a_reaction_that_follows_shows_the_feeling_of_the_cause():
    """The same cause is told with one feeling where it follows, and with others where not."""
    felt = collections.defaultdict(set)
    for row in draw_rows("follows", 400, seed=2):
        feelings = feelings_in(row["hypothesis"])
        assert len(feelings) == 1, row["hypothesis"]
        if "A dog has" in row["premise"] or "a dog came" in row["premise"]:
            felt[row["label"]] |= feelings
    assert felt["entailment"] == {"angry"} and "angry" not in felt["not_entailment"]


def test_the_right_outcome_is_marked():
    there, gone = 0, 0
    for row in draw_rows("ending", 400, seed=2):
        right = row["answers"][["first", "second"].index(row["label"])]
        if "in the end it was there" in row["context"]:
            assert "Nobody ever saw" not in right and "without the" not in right
            there += 1
        if "in the end it was gone" in row["context"]:
            assert "Nobody ever saw" in right or "without the" in right
            gone += 1
    assert min(there, gone) > 3  # the test sees what it is about


@pytest.mark.parametrize("task", TASKS)
def test_the_folder_describes_itself(task, tmp_path):
    config = StoryTaskConfig(task=task, output_dir=str(tmp_path / "set"), train_rows=5,
                             validation_rows=3, test_rows=2)
    write(config)
    row = spec.load(str(tmp_path / "set" / "spec.json"))
    assert row.form == TASKS[task].form and row.labels == TASKS[task].labels
    lines = [json.loads(line) for split in ("train", "validation", "test")
             for line in (tmp_path / "set" / f"{split}.jsonl").read_text().splitlines()]
    assert lines == draw_rows(task, 10, seed=1)
    with pytest.raises(UserError, match="there already.*--overwrite"):
        write(config)


def test_a_set_is_replaced_whole(tmp_path, monkeypatch):
    def config(**values):
        return StoryTaskConfig(output_dir=str(tmp_path), train_rows=5, validation_rows=3, **values)

    def stop(*_):
        raise KeyboardInterrupt

    write(config(task="retold"))
    with monkeypatch.context() as patch:
        patch.setattr(story_tasks, "draw_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            write(config(task="ending", overwrite=True))
    assert not (tmp_path / "spec.json").exists()
    write(config(task="ending"))
    assert spec.load(str(tmp_path / "spec.json")).name == "ending"


@pytest.mark.parametrize("flags", [{}, {"output_dir": "a", "train_rows": 0},
                                   {"output_dir": "a", "validation_rows": -1},
                                   {"output_dir": "a", "test_rows": 0}], ids=str)
def test_flags_out_of_range(flags):
    with pytest.raises(ValueError, match="--"):
        StoryTaskConfig(**flags)


def test_rows_are_not_told_in_the_corpus():
    texts = " ".join(text for _, text in generate(seed=1, num_bytes=500_000))
    assert not any(row["text"] in texts for row in draw_rows("feeling", 100, seed=1))
